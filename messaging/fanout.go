// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/parleymq/parley/plugin/driver"
)

// maxScoped is how long exchange and topic may be together for a scoped fanout, in bytes: a
// driver makes one name of both and of a uuid.
const maxScoped = 200

// address is where a request of target goes.
func (t *Transport) address(target Target) driver.Target {
	a := target.address(t.opts.DefaultExchange)
	a.Scoped = t.opts.ScopedFanout && target.Fanout
	return a
}

// source is what a server of target listens to.
func (t *Transport) source(target Target) driver.Target {
	a := target.address(t.opts.DefaultExchange)
	a.Scoped = t.opts.ScopedFanout
	return a
}

// checkScope fails when a scoped fanout is asked for and cannot be had.
func (t *Transport) checkScope(target Target, op operation) error {
	if !t.opts.ScopedFanout {
		return nil
	}
	if err := t.requires(driver.CapScopedFanout, "fanout within an exchange", op); err != nil {
		return err
	}
	if a := t.address(target); len(a.Exchange)+len(a.Topic) > maxScoped {
		return target.invalid(fmt.Sprintf("exchange and topic are longer than %d bytes together", maxScoped),
			"choose shorter names, or do without ScopedFanout")
	}
	return nil
}

// unscopedFanout is what warnUnscoped has said already.
type unscopedFanout struct {
	topic string
	sent  bool
}

// warnUnscoped logs, once for each topic, where a fanout crosses exchanges and the application
// seems to count on them: it names another exchange than the default. Sending one is worth a
// warning; a server that could hear another exchange's may never do so.
func (t *Transport) warnUnscoped(ctx context.Context, target Target) {
	if t.opts.ScopedFanout || target.Exchange == "" || target.Exchange == t.opts.DefaultExchange {
		return
	}
	if info, _ := t.info(); !info.Has(driver.CapUnscopedFanout) {
		return
	}
	if _, warned := t.unscoped.LoadOrStore(unscopedFanout{target.Topic, target.Fanout}, true); warned {
		return
	}
	level := slog.LevelInfo
	if target.Fanout {
		level = slog.LevelWarn
	}
	t.opts.Logger.LogAttrs(ctx, level,
		"fanout is not scoped by exchange: servers of this topic in every exchange hear it; use a topic of its own, or ScopedFanout between Parley peers",
		slog.String("topic", target.Topic), slog.String("exchange", target.Exchange))
}
