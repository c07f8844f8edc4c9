// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parleymq/parley/messaging"
)

// serveEcho registers the methods of serve --echo.
func serveEcho(ep *messaging.Endpoint) {
	ep.HandleRaw("echo", func(_ context.Context, args json.RawMessage) (any, error) { return args, nil })
	ep.HandleFunc("ping", func(context.Context, map[string]any) (any, error) { return "pong", nil })
	ep.HandleFunc("sleep", sleep)
	ep.HandleFunc("fail", func(_ context.Context, args map[string]any) (any, error) { return nil, raise(args) })
}

// Names of Python's exceptions, which callers in both languages know.
const (
	builtins     = "builtins"
	typeError    = "TypeError"
	runtimeError = "RuntimeError"
	timeoutError = "TimeoutError"
)

// maxSleep keeps a number from being more than a time can be.
const maxSleep = 24 * 60 * 60

// sleep waits for so many seconds and returns the number.
func sleep(ctx context.Context, args map[string]any) (any, error) {
	seconds, ok := number(args["seconds"])
	if !ok || seconds < 0 || seconds > maxSleep {
		return nil, messaging.Expected(&messaging.RemoteError{Module: builtins, Class: typeError,
			Message: "sleep() needs seconds, a number from 0 to 86400: write seconds:=1.5"})
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return args["seconds"], nil
	case <-ctx.Done():
		return nil, messaging.Expected(&messaging.RemoteError{Module: builtins, Class: timeoutError,
			Message: "sleep was cut short: " + context.Cause(ctx).Error()})
	}
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, v == v // not NaN
	default:
		return 0, false
	}
}

// raise makes the error that fail is asked for.
func raise(args map[string]any) error {
	text := func(key, def string) string {
		if s, ok := args[key].(string); ok && s != "" {
			return s
		}
		return def
	}
	return messaging.Expected(&messaging.RemoteError{
		Module: text("module", builtins), Class: text("class", runtimeError), Message: text("message", "asked to fail"),
	})
}
