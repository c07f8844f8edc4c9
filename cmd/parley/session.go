// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// closeTimeout bounds the closing of a transport.
const closeTimeout = 5 * time.Second

// session is an open transport and what its driver said of the broker.
type session struct {
	*messaging.Transport
	close func()

	mu     sync.Mutex // guards the rest
	wasUp  bool
	lastly messaging.State
}

// open starts the driver of a URL and opens a transport. The broker need not be there.
func (a *app) open(ctx context.Context, h *messaging.Host, raw string) (*session, error) {
	s := &session{}
	t, err := messaging.Open(ctx, raw, &messaging.Options{
		Host: h, Aliases: a.aliases, AppName: "parley", Logger: a.logger, OnState: s.note,
	})
	if err != nil {
		return nil, a.openError(h, raw, err)
	}
	s.Transport = t
	s.close = func() { a.closeTransport(ctx, t) }
	return s, nil
}

// closeTransport gives the transport its time even when ctx has ended.
func (a *app) closeTransport(ctx context.Context, t *messaging.Transport) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		a.logger.Debug("closing the transport failed", "err", err)
	}
}

func (s *session) note(state messaging.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastly = state
	s.wasUp = s.wasUp || state.Phase != messaging.PhaseConnecting && state.Phase != messaging.PhaseClosed
}

// explain makes of a time that ran out the broker that was never there, if that is the cause.
func (s *session) explain(err error) error {
	e, ok := errors.AsType[*messaging.Error](err)
	if !ok || e.Code != messaging.CodeNoReply && e.Code != messaging.CodeExpired {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wasUp || s.lastly.Phase != messaging.PhaseConnecting {
		return err
	}
	away := &messaging.Error{Code: messaging.CodeUnavailable, Op: e.Op, Target: e.Target, Err: e,
		Message: "no connection to the broker in time", Hint: "run parley doctor with the same URL to see where it ends"}
	if cause := s.lastly.Err; cause != nil {
		d := driver.AsError(cause)
		away.Message += ": " + d.Message
		if d.Hint != "" {
			away.Hint = d.Hint
		}
	}
	return away
}

// openError tells a driver that is not to be had from a configuration that is wrong: the
// library has one code for both, the exit status has two.
func (a *app) openError(h *messaging.Host, raw string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && messaging.CodeOf(err) == "" {
		return &messaging.Error{Code: messaging.CodeUnavailable, Op: "open", Message: "the driver was not ready in time", Err: err,
			Hint: "raise --timeout, or run: parley doctor"}
	}
	e, ok := errors.AsType[*messaging.Error](err)
	if !ok || e.Code != messaging.CodeConfig {
		return err
	}
	u, parseErr := messaging.ParseURL(raw, a.aliases)
	if parseErr != nil {
		return err
	}
	if f := chosen(h.CheckDrivers(), u.Driver); f != nil && f.TrustWhy == "" {
		return err
	}
	c := *e
	c.Code = messaging.CodeUnavailable
	return &c
}

// chosen returns the file that is started for a driver's name, or nil.
func chosen(files []messaging.DriverFile, name string) *messaging.DriverFile {
	for i, f := range files {
		if f.Name == name && f.Status == statusChosen {
			return &files[i]
		}
	}
	return nil
}
