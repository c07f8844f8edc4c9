// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverproc"
)

// sweepTimeout bounds removing what dead hosts left behind.
const sweepTimeout = 5 * time.Second

// services are what a Host does while it runs drivers: it clears up behind dead hosts, writes
// its status down for others to read, and listens for the wish to reload.
type services struct {
	host   *Host
	cancel context.CancelFunc
	loops  sync.WaitGroup
	wake   chan struct{} // of capacity one: the status changed

	mu   sync.Mutex
	last map[processKey]ReloadResult // guarded by mu
}

func startServices(h *Host) *services {
	ctx, cancel := context.WithCancel(context.Background())
	sv := &services{host: h, cancel: cancel, wake: make(chan struct{}, 1), last: make(map[processKey]ReloadResult)}
	// Before the status names the signal: whoever sends it too early would end the program.
	if h.opts.ReloadSignal != nil {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, h.opts.ReloadSignal)
		sv.loops.Go(func() {
			defer signal.Stop(signals)
			sv.reloadOn(ctx, signals)
		})
	}
	base, err := driverproc.OpenBase(h.opts.RuntimeDir, os.Getenv)
	if err == nil { // otherwise the launch that follows says why, with what to do
		sv.loops.Go(func() { sv.sweep(ctx, base) })
		sv.loops.Go(func() { sv.keepStatus(ctx, base) })
	}
	if h.opts.WatchFiles {
		sv.loops.Go(func() { sv.watchFiles(ctx) })
	}
	return sv
}

// stop ends the services and waits for them.
func (sv *services) stop() {
	sv.cancel()
	sv.loops.Wait()
}

// sweep removes what dead hosts left behind.
func (sv *services) sweep(ctx context.Context, base *driverproc.Base) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if n, err := base.Sweep(ctx); n > 0 || err != nil && ctx.Err() == nil {
		sv.host.opts.Logger.Debug("what dead hosts left behind", "removed", n, "err", err)
	}
}

// reloadOn reloads all drivers each time the signal comes.
func (sv *services) reloadOn(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case sig := <-signals:
			sv.host.opts.Logger.Info("reloading drivers", "signal", sig.String())
			sv.reload(ctx, "")
		case <-ctx.Done():
			return
		}
	}
}

// reloadTimeout bounds the wait for a reload that nobody else waits for.
const reloadTimeout = time.Minute

// reload reloads a driver; what becomes of it is in the log and in the status.
func (sv *services) reload(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	if err := sv.host.Reload(ctx, name); err != nil && ctx.Err() == nil {
		sv.host.opts.Logger.Error("reloading failed", "driver", name, "err", err.Error())
	}
}
