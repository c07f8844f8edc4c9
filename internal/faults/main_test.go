// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

const (
	callers = 16
	topic   = "ledger"
	// patience bounds every wait for what must happen, on a machine that does other things.
	patience = 40 * time.Second
	// recoveryLimit is the promise: calls succeed again within it.
	recoveryLimit = 5 * time.Second
	// returnSlack is how much later than its timeout a call may return on such a machine.
	returnSlack = time.Second
	// driverEnd is the promise for the drivers of an application that was killed.
	driverEnd = 2 * time.Second
)

var (
	bed     = testbed.Bed{Also: []string{"zmq", "qpid"}}
	figures summaries
)

func TestMain(m *testing.M) {
	if err := testbed.EndQuickly(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := bed.Main(m, testbed.Programs{"app": "internal/faults/internal/app"})
	if err := figures.write(os.Getenv("PARLEY_FAULTS_JSON")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// summaries collects the figures of all tests.
type summaries struct {
	mu  sync.Mutex
	all []summary
}

func (s *summaries) add(one summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

// write writes them to a file, unless it has no name.
func (s *summaries) write(file string) error {
	if file == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.MarshalIndent(s.all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}
