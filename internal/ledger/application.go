// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// Limits bound what an application does on a busy machine.
type Limits struct {
	// Ready bounds its start, End its end and the swap of its driver.
	Ready, End time.Duration
}

// Settings are what every application is told.
type Settings struct {
	Role, Name, URL  string
	Drivers, Runtime string
	Ledger, Log      string // files
}

// Application is what every application has.
type Application struct {
	Transport *messaging.Transport
	Ledger    *File
	Orders    *testbed.Orders

	name   string
	limits Limits

	mu       sync.Mutex
	last     map[string]int64 // when the last request began that came through, by what it was; guarded by mu
	sabotage []string         // guarded by mu
}

// Act is an application until it is told to stop: act gets it with a transport that is open, and a
// context that ends when it should be ready.
func Act(s Settings, orders *testbed.Orders, limits Limits, supervision messaging.Supervision, act func(context.Context, *Application) error) error {
	log, err := appendTo(s.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	file, err := Create(s.Ledger)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := &Application{Ledger: file, Orders: orders, name: s.Name, limits: limits, last: make(map[string]int64)}
	host := messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{s.Drivers}, RuntimeDir: s.Runtime, Trust: messaging.TrustOff, Logger: logger, Supervision: supervision,
	})
	ctx, cancel := context.WithTimeout(context.Background(), limits.Ready)
	defer cancel()
	if a.Transport, err = messaging.Open(ctx, s.URL, &messaging.Options{Host: host, Logger: logger, AppName: s.Name}); err != nil {
		return err
	}
	return act(ctx, a)
}

// Close ends the transport.
func (a *Application) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.limits.End)
	defer cancel()
	return a.Transport.Close(ctx)
}

// obey follows the orders of the test until it is told to stop: to swap the driver, and to say what
// came through last, besides commands.
func (a *Application) obey(commands map[string]testbed.Command) error {
	commands["reload"] = testbed.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), a.limits.End)
		defer cancel()
		return a.Transport.Reload(ctx)
	})
	commands["last"] = testbed.Say(func() (map[string]int64, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		all := make(map[string]int64, len(a.last))
		for what, at := range a.last {
			all[what] = at
		}
		return all, nil
	})
	return a.Orders.Obey(commands)
}

// Last asks an application when the last requests began that came through. A server has them by kind
// and client ("cast c1"), a client by kind and the server they were for ("call s1", "call ").
func Last(app *testbed.App) (map[string]int64, error) {
	var all map[string]int64
	err := app.Do("last", nil, &all)
	return all, err
}

// through notes that a request came through.
func (a *Application) through(what string, began int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[what] = max(a.last[what], began)
}

// Spoil makes the application break promises on purpose, each as often as it is named.
func (a *Application) Spoil(sabotage ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sabotage = slices.Clone(sabotage)
}

// Spoils reports whether the application is to break this promise now.
func (a *Application) Spoils(how string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.sabotage, how)
	if i < 0 {
		return false
	}
	a.sabotage = slices.Delete(a.sabotage, i, i+1)
	return true
}

// LastWords are what an application says of itself as it stops.
type LastWords struct {
	Stats      string
	Duplicates uint64 // requests that a server had run before
}
