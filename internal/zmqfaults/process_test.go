// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	*testbed.App
	id    string // its name and which of that name it is
	ready time.Time
	ended time.Time // when it was told to stop, or with its driver was no more
}

// start starts an application and does not wait for it.
func start(t *testing.T, s settings, id, runtime string) *app {
	t.Helper()
	a := &app{settings: s, id: id}
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
func (a *app) stop() (said ledger.LastWords, err error) {
	a.ended = time.Now()
	err = a.Stop(startTimeout, &said)
	return said, err
}

// source is its ledger.
func (a *app) source() ledger.Source {
	return ledger.Source{ID: a.id, Name: a.Name, File: a.Ledger, Serves: a.Role == roleServer}
}
