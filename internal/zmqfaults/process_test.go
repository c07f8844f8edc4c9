// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	*testbed.App
	id      string // its name and which of that name it is
	started time.Time
	ready   time.Time
	ended   time.Time // when it was told to stop, or with its driver was no more
}

// start starts an application and does not wait for it.
func start(t *testing.T, s settings, id, runtime string) *app {
	t.Helper()
	a := &app{settings: s, id: id, started: time.Now()}
	// Nodes put their sockets into the directory for temporary files.
	a.App = testbed.StartApp(t, testbed.AppOptions{Name: id, Settings: s, Env: []string{"TMPDIR=" + runtime}, Drivers: s.Drivers})
	return a
}

// killWithDriver ends the application as a crash would.
func (a *app) killWithDriver() error {
	err := a.KillWithDriver()
	a.ended = time.Now()
	return err
}

// stop ends it in an orderly way.
func (a *app) stop() (said lastWords, err error) {
	a.ended = time.Now()
	err = a.Stop(startTimeout, &said)
	return said, err
}

// read returns the whole lines of the ledger, the last of which may be cut off in one that was
// killed.
func (a *app) read() ([]line, error) {
	text, err := os.ReadFile(a.Ledger)
	if err != nil {
		return nil, err
	}
	var all []line
	for raw := range bytes.Lines(text) {
		if !bytes.HasSuffix(raw, []byte("\n")) {
			break
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Ledger, err)
		}
		all = append(all, l)
	}
	return all, nil
}
