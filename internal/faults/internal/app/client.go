// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/messaging"
)

// errorPause keeps callers that fail at once from going round in circles.
const errorPause = 20 * time.Millisecond

// call lets the callers call until ctx ends. Calls that have begun are finished.
func call(ctx context.Context, t *messaging.Transport, s settings, p *printer) {
	c := messaging.NewRPCClient(t, messaging.Target{Topic: s.Topic}, &messaging.RPCClientOptions{Timeout: s.Timeout})
	// A token on every call, of which no log may show anything, whatever happens to it.
	carrying := messaging.WithRequestContext(context.Background(), messaging.RequestContext{"auth_token": "S3cr3t-token"})
	var next atomic.Int64
	next.Store(int64(s.First) - 1)
	p.print(event{Event: "ready"})
	var wg sync.WaitGroup
	for range s.Callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if !one(carrying, c, int(next.Add(1)), p) {
					pause(ctx, errorPause)
				}
			}
		})
	}
	wg.Wait()
}

// one makes one call and reports whether it was answered.
func one(ctx context.Context, c *messaging.RPCClient, n int, p *printer) bool {
	start := time.Now()
	got, err := do.Call(ctx, c, doArgs{n})
	if err == nil && got != n {
		err = fmt.Errorf("the answer of call %d is %d", n, got)
	}
	e := event{Event: "call", N: n, Start: start.UnixNano(), Took: time.Since(start)}
	if err != nil {
		e.Code, e.Error = codeOf(err), err.Error()
	}
	p.print(e)
	return err == nil
}

func codeOf(err error) string {
	if _, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return "remote"
	}
	if code := messaging.CodeOf(err); code != "" {
		return string(code)
	}
	return "wrong"
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
