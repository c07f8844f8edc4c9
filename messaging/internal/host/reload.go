// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"

	"github.com/parleymq/parley/plugin/driver"
)

// reload is a wish to replace a process. Its answer is given once.
type reload struct{ done chan error }

// answer tells what became of it; a nil reload is nobody's.
func (r *reload) answer(err error) {
	if r != nil {
		r.done <- err
	}
}

// reload asks the supervisor's goroutine for another process, and waits for the outcome. ctx
// bounds the wait alone.
func (s *supervisor) reload(ctx context.Context) error {
	r := &reload{done: make(chan error, 1)}
	select {
	case s.reloads <- r:
	case <-s.ended:
		return errStopped(s.key.driver)
	case <-ctx.Done():
		return notReloaded(ctx, s.key.driver)
	}
	select {
	case err := <-r.done:
		return err
	case <-s.ended:
		return errStopped(s.key.driver)
	case <-ctx.Done():
		return notReloaded(ctx, s.key.driver)
	}
}

func notReloaded(ctx context.Context, name string) error {
	return &driver.Error{
		Reason: driver.ReasonOf(ctx.Err()), Err: ctx.Err(),
		Message: "driver " + name + " was not reloaded in time; a swap that has begun goes on",
	}
}

// Reload replaces the processes of a driver, or of all for an empty name, by ones of the file
// that is found now, without a message lost. When the new one does not start the old one goes on.
func (h *Host) Reload(ctx context.Context, name string) error {
	all := h.supervisors(func(s *supervisor) bool { return name == "" || s.key.driver == name })
	results := make(chan error, len(all))
	for _, s := range all {
		go func() { results <- s.reload(ctx) }() // each ends with ctx at the latest
	}
	errs := make([]error, 0, len(all))
	for range all {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// Reload replaces the process that the connection is in.
func (c *Conn) Reload(ctx context.Context) error { return c.super.reload(ctx) }

// Reset closes the breaker of a driver, or of all for an empty name: what is broken is started at
// once, and nothing else happens.
func (h *Host) Reset(ctx context.Context, name string) error {
	broken := h.supervisors(func(s *supervisor) bool {
		return s.phase() == Broken && (name == "" || s.key.driver == name)
	})
	errs := make([]error, 0, len(broken))
	for _, s := range broken {
		errs = append(errs, s.reload(ctx))
	}
	return errors.Join(errs...)
}
