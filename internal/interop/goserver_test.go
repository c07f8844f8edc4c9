// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// The failures of the Python server, as sentinels.
var (
	errValue    = &messaging.RemoteError{Module: "builtins", Class: "ValueError"}
	errPeer     = &messaging.RemoteError{Module: "peererrors", Class: "PeerError"}
	errExpected = &messaging.RemoteError{Module: "peererrors", Class: "ExpectedPeerError"}
	errStranger = &messaging.RemoteError{Module: "peerstrangers", Class: "StrangerError"}
	errOS       = &messaging.RemoteError{Module: "builtins", Class: "OSError"}
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
	server  string
	calling *messaging.Transport // of the method "relay"

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

// endpoints are those of server.py: the null namespace in versions 1.0 and 2.3, ns1, which is
// also ns0, in version 1.5, and ns2, which had three other names, in version 4.2.
func endpoints(r *recorder) []*messaging.Endpoint {
	plain := messaging.NewEndpoint(nil)
	common(plain, r, "1.0")
	onlyPlain(plain, r)
	second := messaging.NewEndpoint(&messaging.EndpointOptions{Version: "2.3"})
	common(second, r, "/2.3")
	namespaced := messaging.NewEndpoint(&messaging.EndpointOptions{Namespace: "ns1", Version: "1.5", LegacyNamespaces: []string{"ns0"}})
	common(namespaced, r, "ns1/1.5")
	renamed := messaging.NewEndpoint(&messaging.EndpointOptions{
		Namespace: "ns2", Version: "4.2", LegacyNamespaces: []string{"ns3", "ns4", ""},
	})
	common(renamed, r, "ns2/4.2")
	return []*messaging.Endpoint{plain, second, namespaced, renamed}
}

func common(e *messaging.Endpoint, r *recorder, version string) {
	e.HandleFunc("echo", func(_ context.Context, args map[string]any) (any, error) { return args, nil })
	e.HandleRaw("value", value)
	e.HandleFunc("whoami", func(context.Context, map[string]any) (any, error) { return r.server, nil })
	e.HandleFunc("version", func(context.Context, map[string]any) (any, error) { return version, nil })
	e.HandleFunc("record", func(ctx context.Context, args map[string]any) (any, error) {
		ctxt, _ := messaging.RequestContextFrom(ctx)
		r.add(record{r.server, version, ctxt, args})
		return nil, nil
	})
}

// value returns its argument as it came, byte by byte; echo has it decoded and encoded.
func value(_ context.Context, args json.RawMessage) (any, error) {
	fields, err := pyjson.Fields(nil, args)
	if err != nil || len(fields) == 0 {
		return nil, err
	}
	if len(fields) != 1 || string(fields[0].Key) != "v" {
		return nil, errors.New("value takes v alone")
	}
	return json.RawMessage(fields[0].Value), nil
}

func onlyPlain(e *messaging.Endpoint, r *recorder) {
	e.HandleFunc("ping", func(context.Context, map[string]any) (any, error) { return "pong", nil })
	e.HandleFunc("context", func(ctx context.Context, _ map[string]any) (any, error) {
		ctxt, _ := messaging.RequestContextFrom(ctx)
		return map[string]any(ctxt), nil
	})
	e.HandleFunc("sleep", sleep)
	e.HandleFunc("fail", fail)
	e.HandleFunc("typeof", func(_ context.Context, args map[string]any) (any, error) {
		return fmt.Sprintf("%T", args["v"]), nil
	})
	e.HandleFunc("relay", r.relay)
}

// relay passes a call on to another server, with headers, and with what comes of it.
func (r *recorder) relay(ctx context.Context, args map[string]any) (any, error) {
	topic, _ := args["topic"].(string)
	server, _ := args["server"].(string)
	method, _ := args["to"].(string)
	var result any
	c := messaging.NewRPCClient(r.calling, messaging.Target{Topic: topic, Server: server}, &messaging.RPCClientOptions{
		Middleware: []messaging.ClientMiddleware{withHeaders},
	})
	err := c.Call(ctx, method, args["args"], &result)
	return result, err
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
	case "os":
		e := errOS.Withf("[Errno 2] %s", message)
		e.Args = []any{2, message}
		return nil, e
	case "own":
		return nil, withKwargs(errPeer.Withf("%s", message), args)
	case "builtin with kwargs":
		return nil, withKwargs(errValue.Withf("%s", message), args)
	case "stranger":
		e := errStranger.Withf("%s", message)
		e.Traceback = []string{"first line\n", "second line\n"}
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

// withKwargs gives an error what else the method "fail" was told.
func withKwargs(e *messaging.RemoteError, args map[string]any) *messaging.RemoteError {
	e.Kwargs = maps.Clone(args)
	delete(e.Kwargs, "kind")
	delete(e.Kwargs, "message")
	return e
}
