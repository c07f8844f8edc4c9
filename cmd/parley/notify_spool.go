// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/parleymq/parley/messaging"
)

// How long notify waits for its spool to be sent: as long as it gets emptier at all.
const (
	spoolPatience = 3 * time.Second
	spoolLook     = 20 * time.Millisecond
)

// useSpool opens the spool of --spool, if any. The function returned waits for what can be sent
// of it, and says what is left.
func (a *app) useSpool(ctx context.Context, f *notifyFlags, s *session, p *preparedNotification) (end func(), err error) {
	if f.spool == "" {
		return func() {}, nil
	}
	spool, err := messaging.OpenSpool(s.Transport, &messaging.SpoolOptions{Dir: f.spool})
	if err != nil {
		return nil, err
	}
	p.opts.Spool = spool
	return func() {
		emptied(ctx, f.timeout, func() int { return spool.Stats().Waiting })
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := spool.Close(closing); err != nil {
			a.warn(err.Error())
		}
		a.sayWaiting(f.spool, spool.Stats())
	}, nil
}

// sayWaiting says what is left on disk.
func (a *app) sayWaiting(dir string, st messaging.SpoolStats) {
	if st.Waiting > 0 {
		a.warn(fmt.Sprintf("waiting in %s: %d; the next notify with the same --spool sends that first", dir, st.Waiting))
	}
	if st.Aside > 0 {
		a.warn(fmt.Sprintf("refused by the broker and set aside in %s: %d", dir, st.Aside))
	}
}

// emptied waits until nothing is left, and no longer than limit, or than it stays the same for a
// while.
func emptied(ctx context.Context, limit time.Duration, left func() int) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	look := time.NewTicker(spoolLook)
	defer look.Stop()
	last, since := left(), time.Now()
	for last > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if n := left(); n != last {
			last, since = n, time.Now()
		} else if time.Since(since) > spoolPatience {
			return
		}
	}
}
