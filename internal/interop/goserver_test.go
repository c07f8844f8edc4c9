// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

// The failures of the Python server, as sentinels.
var (
	errValue    = &messaging.RemoteError{Module: "builtins", Class: "ValueError"}
	errPeer     = &messaging.RemoteError{Module: "peererrors", Class: "PeerError"}
	errExpected = &messaging.RemoteError{Module: "peererrors", Class: "ExpectedPeerError"}
)

// goError is an error that only Go knows.
type goError struct{ text string }

func (e *goError) Error() string { return e.text }

// record is one call of the method "record".
type record struct {
	server   string
	endpoint string
	ctxt     messaging.RequestContext
	args     map[string]any
}

// recorder keeps what a server was told to record.
type recorder struct {
	server string

	mu      sync.Mutex
	records []record
}

func (r *recorder) add(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec)
}

func (r *recorder) all() []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record(nil), r.records...)
}

// endpoints are those of server.py: the null namespace in versions 1.0 and 2.3, and ns1, which
// is also ns0, in version 1.5.
func endpoints(r *recorder) []*messaging.Endpoint {
	plain := messaging.NewEndpoint(nil)
	common(plain, r, "1.0")
	onlyPlain(plain)
	second := messaging.NewEndpoint(&messaging.EndpointOptions{Version: "2.3"})
	common(second, r, "/2.3")
	namespaced := messaging.NewEndpoint(&messaging.EndpointOptions{Namespace: "ns1", Version: "1.5", LegacyNamespaces: []string{"ns0"}})
	common(namespaced, r, "ns1/1.5")
	return []*messaging.Endpoint{plain, second, namespaced}
}

func common(e *messaging.Endpoint, r *recorder, version string) {
	e.HandleFunc("echo", func(_ context.Context, args map[string]any) (any, error) { return args, nil })
	e.HandleFunc("value", func(_ context.Context, args map[string]any) (any, error) { return args["v"], nil })
	e.HandleFunc("whoami", func(context.Context, map[string]any) (any, error) { return r.server, nil })
	e.HandleFunc("version", func(context.Context, map[string]any) (any, error) { return version, nil })
	e.HandleFunc("record", func(ctx context.Context, args map[string]any) (any, error) {
		ctxt, _ := messaging.RequestContextFrom(ctx)
		r.add(record{r.server, version, ctxt, args})
		return nil, nil
	})
}

func onlyPlain(e *messaging.Endpoint) {
	e.HandleFunc("ping", func(context.Context, map[string]any) (any, error) { return "pong", nil })
	e.HandleFunc("context", func(ctx context.Context, _ map[string]any) (any, error) {
		ctxt, _ := messaging.RequestContextFrom(ctx)
		return map[string]any(ctxt), nil
	})
	e.HandleFunc("sleep", sleep)
	e.HandleFunc("fail", fail)
	// What server.py has not: how a value looks from here, and a result that JSON has not.
	e.HandleFunc("typeof", func(_ context.Context, args map[string]any) (any, error) {
		return fmt.Sprintf("%T", args["v"]), nil
	})
	e.HandleFunc("nan", func(context.Context, map[string]any) (any, error) { return math.NaN(), nil })
}

func sleep(ctx context.Context, args map[string]any) (any, error) {
	var seconds float64
	switch n := args["seconds"].(type) {
	case int64:
		seconds = float64(n)
	case float64:
		seconds = n
	default:
		return nil, errors.New("sleep needs seconds")
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return args["seconds"], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func fail(_ context.Context, args map[string]any) (any, error) {
	message, _ := args["message"].(string)
	if message == "" {
		message = "boom"
	}
	switch args["kind"] {
	case nil, "builtin":
		return nil, errValue.Withf("%s", message)
	case "own":
		e := errPeer.Withf("%s", message)
		e.Kwargs = maps.Clone(args)
		delete(e.Kwargs, "kind")
		delete(e.Kwargs, "message")
		return nil, e
	case "expected":
		return nil, messaging.Expected(errExpected.Withf("%s", message))
	case "go":
		return nil, fmt.Errorf("while failing: %w", &goError{message})
	case "unserializable":
		return make(chan int), nil
	case "panic":
		panic(message)
	}
	return nil, fmt.Errorf("no failure of kind %v", args["kind"])
}
