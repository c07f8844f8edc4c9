// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// minHeartbeat keeps a caller that asks for a tiny monitor time from getting a flood.
	minHeartbeat = 10 * time.Millisecond
	// heartbeatsLost is how many heartbeats in a row find no caller before it is taken for gone.
	heartbeatsLost = 2
)

// heartbeats tell a caller every half of its monitor time that its request is in good hands. A
// goroutine sends them; it ends with stop, when the caller's time is over, and when the caller
// is gone. Upstream's server (oslo_messaging/rpc/dispatcher.py, _watchdog) goes on for ever when
// no method was found, and refuses monitor times below 2 seconds.
type heartbeats struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// startHeartbeats starts them for a job whose caller asked for them.
func (j *job) startHeartbeats() {
	if !j.isCall || j.delivery.MonitorTimeout <= 0 || j.beats != nil {
		return
	}
	ctx, cancel := context.WithCancel(j.sv.replyCtx)
	if !j.deadline.IsZero() {
		cancel()
		ctx, cancel = context.WithDeadline(j.sv.replyCtx, j.deadline)
	}
	h := &heartbeats{cancel: cancel, done: make(chan struct{})}
	j.beats = h
	go func() {
		defer close(h.done)
		j.beat(ctx, max(j.delivery.MonitorTimeout/2, minHeartbeat))
	}()
}

// stopHeartbeats ends them and waits for the last one.
func (j *job) stopHeartbeats() {
	if j.beats == nil {
		return
	}
	j.beats.cancel()
	<-j.beats.done
}

func (j *job) beat(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for lost := 0; lost < heartbeatsLost; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := j.sendHeartbeat(ctx, every)
		switch {
		case err == nil:
			lost = 0
			continue
		case ctx.Err() != nil:
			return
		case hasNoRoute(err):
			lost++
		default: // says nothing about the caller
		}
		j.sv.s.opts.Logger.LogAttrs(&j.context, slog.LevelDebug, "heartbeat not sent",
			shown("call_id", j.delivery.CallID), slog.Bool("caller_gone", lost == heartbeatsLost), errorAttr(err))
	}
}

func (j *job) sendHeartbeat(ctx context.Context, every time.Duration) error {
	m := &driver.Message{
		Kind: driver.Heartbeat, ReplyTo: j.delivery.ReplyTo, CallID: j.delivery.CallID, UniqueID: newID(), TimeLeft: every,
	}
	sending, cancel := context.WithTimeout(ctx, every)
	defer cancel()
	return driver.MessageErr(j.sv.s.t.conn.Send(sending, []*driver.Message{m}), 0)
}
