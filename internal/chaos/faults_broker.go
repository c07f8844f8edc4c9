// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// restartBroker takes the broker down and up again. It is finished whatever happens to ctx.
func (r *runner) restartBroker(ctx context.Context, f *fault) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	down, up := r.broker.StopApp, r.broker.StartApp
	if f.kind == KillBroker {
		down, up = func(context.Context) error { return r.broker.Kill() }, r.broker.Restart
	}
	r.onBroker.Lock()
	defer r.onBroker.Unlock()
	err := down(ctx)
	f.start = r.ledger.now()
	f.err = errors.Join(err, up(ctx))
	f.what = fmt.Sprintf("down for %v", round(r.ledger.now()-f.start))
}

// cutNetwork disturbs an end's connections to the broker, in one of four ways: they are reset at
// once; nothing comes through for a while, and then they are reset, so that what was under way is
// lost; the same, but what the broker sends does come through, so that it is acknowledged, and the
// broker never learns; or nothing comes through for a while, and then everything.
func (r *runner) cutNetwork(ctx context.Context, f *fault, e *end) {
	hole := f.between(200*time.Millisecond, 2*time.Second)
	way := f.variant(4)
	switch way {
	case 0:
		hole = 0
	case 2:
		e.proxy.PauseClients()
	default:
		e.proxy.Pause()
	}
	f.what = []string{"reset", "black hole, then reset", "half open, then reset", "black hole"}[way]
	f.start = r.ledger.now()
	pause(ctx, hole)
	if way < 3 {
		f.what += fmt.Sprintf(", %d connections", e.proxy.CutAll())
	}
	e.proxy.Resume()
	f.what += fmt.Sprintf(", after %v", round(hole))
}
