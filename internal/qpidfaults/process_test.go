// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"testing"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	*testbed.App
	proxy *peertest.TCPProxy
}

// start starts an application and waits until it is ready.
func start(t *testing.T, s settings, p *peertest.TCPProxy) *app {
	t.Helper()
	a := &app{settings: s, proxy: p}
	a.App = testbed.StartApp(t, testbed.AppOptions{Name: s.Name, Settings: s, Env: []string{"TMPDIR=" + s.Runtime}, Drivers: s.Drivers})
	testbed.Must(t, a.Await(startTimeout))
	return a
}

// last is when the last requests began that came through, by what they were.
func (a *app) last(t *testing.T) map[string]int64 {
	t.Helper()
	all, err := ledger.Last(a.App)
	testbed.Must(t, err)
	return all
}

// source is its ledger.
func (a *app) source() ledger.Source {
	return ledger.Source{ID: a.Name, Name: a.Name, File: a.Ledger, Serves: a.Role == roleServer}
}
