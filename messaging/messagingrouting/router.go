// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/messaging"
)

// Options are the settings of a [Router]. Nil, and every zero field, mean the default.
type Options struct {
	// Outlets are the application's outlets by name. They win over those of
	// [messaging.NamedOutlet], which are known without being here.
	Outlets map[string]messaging.Outlet
	// Logger is told when the file was read anew, or could not be, and is that of the outlet "log".
	// Default: [slog.Default] at the time of the record.
	Logger *slog.Logger
	// CheckInterval is how often the file is looked at when the system tells of no change, as on
	// network file systems. Default: 30 seconds.
	CheckInterval time.Duration
}

const defaultCheckInterval = 30 * time.Second

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Outlets = maps.Clone(c.Outlets)
	if c.CheckInterval <= 0 {
		c.CheckInterval = defaultCheckInterval
	}
	return c
}

func (o *Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}

// Router is an outlet that gives notifications to others, by rules. It may be used by any number
// of goroutines. A change of its file is seen as a whole: each notification is routed by one state
// of it.
type Router struct {
	opts  Options
	table atomic.Pointer[table]

	mu     sync.Mutex
	status Status // guarded by mu

	stop func() // ends watching and waits; does nothing without a file
}

var _ messaging.OutletChooser = (*Router)(nil)

// table is what routes by: rules with their outlets.
type table struct {
	routes  *Routes
	outlets []messaging.Outlet // by number
	enabled bool
}

// Status is what a [Router] goes by.
type Status struct {
	// Routes are the rules in force.
	Routes *Routes
	// Loaded is when they were read.
	Loaded time.Time
	// Loads counts how often rules came into force, the first time included.
	Loads uint64
	// Err is why the file as it is now is not in force; nil when it is. It is an
	// [messaging.ErrConfig], or what reading the file failed with.
	Err error
}

// New returns a router by rules that never change. It fails with [messaging.ErrConfig] when an outlet
// is not known.
func New(routes *Routes, opts *Options) (*Router, error) {
	r := &Router{opts: opts.withDefaults(), stop: func() {}}
	if err := r.use(routes); err != nil {
		return nil, err
	}
	return r, nil
}

// Open reads a file and returns a router by its rules, which follow the file until Close: a file that
// was written to, replaced by another, or reached over symbolic links that were turned, as those of
// a mounted ConfigMap, is in force within a second, or after [Options.CheckInterval] where the
// system tells of no change. While the file is wrong or missing, the rules before it stay in force;
// that is logged once and shown by Status.
//
// Open fails with [messaging.ErrConfig] when there is something wrong in the file, and otherwise with
// what reading it failed with.
func Open(path string, opts *Options) (*Router, error) {
	r := &Router{opts: opts.withDefaults()}
	w, err := newFileWatch(path, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r, nil
}

// Close ends following the file, and waits for that. The router goes on by the rules it has. It
// always returns nil, and may be called more than once.
func (r *Router) Close() error {
	r.stop()
	return nil
}

// Status returns what the router goes by now.
func (r *Router) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Enabled reports whether there is any outlet that brings notifications somewhere. A notifier with
// no other outlets is enabled as long as this is.
func (r *Router) Enabled() bool { return r.table.Load().enabled }

// Choose implements [messaging.OutletChooser].
func (r *Router) Choose(_ context.Context, n *messaging.Notification) []messaging.Outlet {
	t := r.table.Load()
	taken := t.routes.match(n.EventType, n.Priority)
	chosen := make([]messaging.Outlet, 0, len(taken))
	for i, o := range t.outlets {
		if taken[i] {
			chosen = append(chosen, o)
		}
	}
	return chosen
}

// Notify implements [messaging.Outlet]. All outlets get the notification, and their errors are
// joined.
func (r *Router) Notify(ctx context.Context, n *messaging.Notification) error {
	var errs []error
	for _, o := range r.Choose(ctx, n) {
		if err := o.Notify(ctx, n); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// use puts rules into force.
func (r *Router) use(routes *Routes) error {
	t := &table{routes: routes}
	p := problems{file: routes.name}
	for _, m := range routes.outlets {
		o, err := r.outlet(m.name)
		if err != nil {
			p.add(m.line, "there are "+r.known(), "nobody knows the outlet %q", shown(m.name))
			continue
		}
		t.outlets = append(t.outlets, o)
		t.enabled = t.enabled || isEnabled(o)
	}
	if err := p.err(); err != nil {
		return err
	}
	r.table.Store(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = Status{Routes: routes, Loaded: time.Now(), Loads: r.status.Loads + 1}
	return nil
}

// refuse notes why what the file is now is not in force.
func (r *Router) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Err = err
}

func (r *Router) outlet(name string) (messaging.Outlet, error) {
	if o, ok := r.opts.Outlets[name]; ok && o != nil {
		return o, nil
	}
	o, err := messaging.NamedOutlet(name, r.opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("outlet %q: %w", name, err)
	}
	return o, nil
}

// known lists the names of outlets.
func (r *Router) known() string {
	names := []string{"messaging", "messagingv2", "log", "noop"}
	for _, name := range slices.Sorted(maps.Keys(r.opts.Outlets)) {
		if !slices.Contains(names, name) {
			names = append(names, shown(name))
		}
	}
	return strings.Join(names, ", ")
}

// isEnabled reports whether an outlet brings notifications anywhere.
func isEnabled(o messaging.Outlet) bool {
	if e, ok := o.(interface{ Enabled() bool }); ok {
		return e.Enabled()
	}
	return o != messaging.NoopOutlet()
}
