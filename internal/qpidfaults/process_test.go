// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	*testbed.App
	proxy *proxy
}

// start starts an application and waits until it is ready.
func start(t *testing.T, s settings, p *proxy) *app {
	t.Helper()
	a := &app{settings: s, proxy: p}
	a.App = testbed.StartApp(t, testbed.AppOptions{Name: s.Name, Settings: s, Env: []string{"TMPDIR=" + s.Runtime}, Drivers: s.Drivers})
	must(t, a.Await(startTimeout))
	return a
}

// last is when the last requests began that came through, by what they were.
func (a *app) last(t *testing.T) map[string]int64 {
	t.Helper()
	var all map[string]int64
	must(t, a.Do("last", nil, &all))
	return all
}

// read returns the lines of the ledger.
func (a *app) read() ([]line, error) {
	text, err := os.ReadFile(a.Ledger)
	if err != nil {
		return nil, err
	}
	var all []line
	for raw := range bytes.Lines(text) {
		if !bytes.HasSuffix(raw, []byte("\n")) {
			break // it is being written
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Ledger, err)
		}
		all = append(all, l)
	}
	return all, nil
}
