// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	*testbed.App
	id      string // its name and which of that name it is
	said    string // its last words
	proxied bool
}

// start starts an application and does not wait for it.
func start(t *testing.T, s settings, id, runtime string) *app {
	t.Helper()
	return &app{settings: s, id: id, App: testbed.StartApp(t, testbed.AppOptions{
		Name: id, Settings: s, Env: []string{"TMPDIR=" + runtime}, Drivers: s.Drivers,
	})}
}

// stop ends it in an orderly way, within the limit.
func (a *app) stop(limit time.Duration) error { return a.Stop(limit, &a.said) }
