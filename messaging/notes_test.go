// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// The project began with a page of notes: what the messaging library of OpenStack lacked in
// 2013. Each bullet about RPC has its answer proven here, under its own name; the table in
// docs/COMPATIBILITY.md points here. What is more than a few lines is tested where it lives.

// "apps need to be able to register backwards compat aliases for entry point names"
func TestNotesAliases(t *testing.T) {
	aliases := map[string]string{
		"nova.openstack.common.rpc.impl_kombu": "rabbit",
		"nova.openstack.common.rpc.impl_qpid":  "qpid",
		"nova.openstack.common.rpc.impl_zmq":   "zmq",
	}
	for name, want := range aliases {
		for _, given := range []map[string]string{aliases, nil} { // they are built in as well
			u, err := ParseURL(name+"://h/", given)
			if err != nil || u.Driver != want || u.String() != want+"://h/" {
				t.Errorf("%s: %v, %v", name, u, err)
			}
		}
	}
}

// requestUser is what an application makes of a request's context.
type requestUser struct{ Name string }

type requestUserKey struct{}

type requestUsers struct{ JSON }

func (requestUsers) UnmarshalContext(ctx context.Context, rc RequestContext) (context.Context, error) {
	name, ok := rc["user"].(string)
	if !ok {
		return nil, errors.New("no user")
	}
	return context.WithValue(ctx, requestUserKey{}, requestUser{name}), nil
}

// "some way for the dispatcher to take the incoming context dict and instantiate a
// user-supplied request context object with it"
func TestNotesRequestContextObject(t *testing.T) {
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.HandleFunc("who", func(ctx context.Context, _ map[string]any) (any, error) {
		return ctx.Value(requestUserKey{}).(requestUser).Name, nil
	})
	serve(t, r.Transport, computeTarget, &RPCServerOptions{Serializer: requestUsers{}}, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	var name string
	if err := c.Call(WithRequestContext(t.Context(), RequestContext{"user": "alice"}), "who", nil, &name); err != nil || name != "alice" {
		t.Errorf("%q, %v", name, err)
	}
	// What cannot be one is answered, not dropped.
	err := c.Call(t.Context(), "who", nil, &name)
	if e, ok := errors.AsType[*RemoteError](err); !ok || !strings.Contains(e.Message, "no user") {
		t.Errorf("%v", err)
	}
}

// twoMethods has methods of which one is handed over.
type twoMethods struct{}

func (twoMethods) Start(context.Context) (string, error) { return "started", nil }
func (twoMethods) Wipe(context.Context) (string, error)  { return "wiped", nil }

// "@expose decorator"
func TestNotesExpose(t *testing.T) {
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.Expose(twoMethods{}, map[string]string{"start": "Start"})
	serve(t, r.Transport, computeTarget, nil, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	var got string
	if err := c.Call(t.Context(), "start", nil, &got); err != nil || got != "started" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"Start", "Wipe", "wipe", "_wipe"} {
		if err := c.Call(t.Context(), name, nil, nil); !errors.Is(err, ErrNoSuchMethod) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// closing notes that a listener was closed.
type closing struct {
	driver.Listener
	closed *atomic.Bool
}

func (c closing) Close(ctx context.Context) error {
	c.closed.Store(true)
	return c.Listener.Close(ctx)
}

// "when shutting down a dispatcher, do we need to invoke a cleanup method on the listener?"
func TestNotesListenerCleanup(t *testing.T) {
	var closed atomic.Bool
	r := newRig(t, nil, func(f *faults) {
		f.wrap = func(src driver.Source, l driver.Listener) driver.Listener { return closing{l, &closed} }
	})
	s := serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	if err := s.Shutdown(t.Context()); err != nil || !closed.Load() {
		t.Errorf("%v; the listener is closed: %t", err, closed.Load())
	}
}

// "ClientException - e.g. the executor should handle this being raised by the dispatcher"
func TestNotesClientException(t *testing.T) {
	sentinel := &RemoteError{Module: "nova.exception", Class: "NotFound"}
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	fail := func(wrap func(error) error) func(context.Context, map[string]any) (any, error) {
		return func(context.Context, map[string]any) (any, error) { return nil, wrap(sentinel.Withf("no i-1")) }
	}
	same := func(err error) error { return err }
	ep.HandleFunc("plain", fail(same))
	ep.HandleFunc("marked", fail(Expected))
	ep.HandleFunc("declared", fail(same), ExpectErrors(sentinel))
	serve(t, r.Transport, computeTarget, nil, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	var texts []string
	for _, method := range []string{"plain", "marked", "declared"} {
		before := len(r.log.all())
		err := c.Call(t.Context(), method, nil, nil)
		if !errors.Is(err, sentinel) {
			t.Errorf("%s: %v", method, err)
		}
		texts = append(texts, err.Error())
		logged := strings.Join(r.log.all()[before:], "")
		if loud := strings.Contains(logged, "level=WARN") || strings.Contains(logged, "level=ERROR"); loud != (method == "plain") {
			t.Errorf("%s was logged as\n%s", method, logged)
		}
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("the caller sees a difference: %q", texts)
	}
}

// "the InvalidTarget checks seem like they're generic preconditions that all drivers would want
// enforced": TestTargetTable has them all.
func TestNotesInvalidTarget(t *testing.T) {
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(context.Context, *driver.Message) (bool, error) { t.Error("a driver was asked"); return false, nil }
	})
	err := NewRPCClient(r.Transport, Target{}, nil).Cast(t.Context(), "m", nil)
	if !errors.Is(err, ErrInvalidTarget) {
		t.Errorf("%v", err)
	}
}

// "_safe_log() logs sanitized message data"
func TestNotesSafeLog(t *testing.T) {
	var log recorder
	log.logger().Info("message", "data", Redacted(map[string]any{
		"name": "i-1", "_context_auth_token": "S3cr3t-1", "args": []any{map[string]any{"new_pass": "S3cr3t-2"}},
	}))
	line := strings.Join(log.all(), "")
	if strings.Contains(line, "S3cr3t") || !strings.Contains(line, "i-1") || strings.Count(line, "***") != 2 {
		t.Error(line)
	}
}

// "unique_id used to reject duplicate messages"
func TestNotesUniqueID(t *testing.T) {
	var ran atomic.Int64
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.HandleFunc("count", func(context.Context, map[string]any) (any, error) { return ran.Add(1), nil })
	s := serve(t, r.Transport, computeTarget, nil, ep)
	m := driver.Message{
		Kind: driver.Cast, Target: driver.Target{Exchange: DefaultExchange, Topic: "compute"},
		UniqueID: newID(), Body: []byte(`{"method": "count"}`),
	}
	for range 3 {
		again := m
		if err := r.conn.Send(t.Context(), []*driver.Message{&again}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all have been received", func() bool { return s.Stats().Received == 3 && s.Stats().Running == 0 })
	if ran.Load() != 1 || s.Stats().Duplicates != 2 {
		t.Errorf("ran %d times, %+v", ran.Load(), s.Stats())
	}
}

// "how to make sure the context of the currently dispatching rpc is available to logging"
func TestNotesContextInLogging(t *testing.T) {
	var log recorder
	logger := slog.New(NewLogHandler(slog.NewTextHandler(&log, nil), nil))
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.HandleFunc("work", func(ctx context.Context, _ map[string]any) (any, error) {
		logger.InfoContext(ctx, "working")
		return nil, nil
	})
	serve(t, r.Transport, computeTarget, nil, ep)
	ctx := WithRequestContext(t.Context(), RequestContext{"request_id": "req-1", "user_id": "u-1", "auth_token": "S3cr3t"})
	if err := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil).Call(ctx, "work", nil, nil); err != nil {
		t.Fatal(err)
	}
	line := strings.Join(log.all(), "")
	for _, want := range []string{"req-1", "u-1", "work", "compute"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Contains(line, "S3cr3t") {
		t.Error(line)
	}
}

// "I'm not sure listener.done() is really needed - can't we ack the message before returning it
// from poll()?" Both, for they lose differently: see AckPolicy.
func TestNotesDoneOrPoll(t *testing.T) {
	for policy, want := range map[AckPolicy]driver.Settle{AckBeforeDispatch: driver.SettleOnPoll, AckAfterHandler: driver.SettleOnDone} {
		var got atomic.Int64
		r := newRig(t, nil, func(f *faults) {
			f.onListen = func(src driver.Source) error {
				if src.Kind == driver.SourceServer {
					got.Store(int64(src.Settle))
				}
				return nil
			}
		})
		serve(t, r.Transport, computeTarget, &RPCServerOptions{Ack: policy}, echoEndpoint())
		if driver.Settle(got.Load()) != want {
			t.Errorf("policy %d: settled by %d", policy, got.Load())
		}
	}
}

// "There's something about using a context manager for prepare() that I like [...] but it seems
// a bit nonsensical", and "CallContext - we already abuse the term context enough"
func TestNotesPrepare(t *testing.T) {
	r := newRig(t, nil)
	c := NewRPCClient(r.Transport, Target{Topic: "compute", Namespace: "ns", Version: "2.0"}, nil)
	derived := c.With(Version("2.6"), NoNamespace()).With(Server("host1"))
	if got := derived.Target(); got != (Target{Topic: "compute", Version: "2.6", Server: "host1"}) {
		t.Errorf("derived %s", got)
	}
	if got := c.Target(); got != (Target{Topic: "compute", Namespace: "ns", Version: "2.0"}) {
		t.Errorf("the client it came from is now %s", got)
	}
}

// "endpoints - better than api_objs, callbacks, proxyobj, etc.": the first in order wins.
func TestNotesEndpoints(t *testing.T) {
	r := newRig(t, nil)
	endpoint := func(name string, methods ...string) *Endpoint {
		ep := NewEndpoint(nil)
		for _, m := range methods {
			ep.HandleFunc(m, func(context.Context, map[string]any) (any, error) { return name, nil })
		}
		return ep
	}
	serve(t, r.Transport, computeTarget, nil, endpoint("first", "both"), endpoint("second", "both", "own"))
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	for method, want := range map[string]string{"both": "first", "own": "second"} {
		var got string
		if err := c.Call(t.Context(), method, nil, &got); err != nil || got != want {
			t.Errorf("%s: %q, %v", method, got, err)
		}
	}
}

// "we probably won't use BlockingRPCExecutor anywhere, but I think it does a good job of showing
// the basic job": one request after another, in the order they came.
func TestNotesBlockingExecutor(t *testing.T) {
	var mu sync.Mutex
	var order []string
	running := 0
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.HandleFunc("work", func(_ context.Context, args map[string]any) (any, error) {
		mu.Lock()
		running++
		if running > 1 {
			t.Error("two at once")
		}
		order = append(order, fmt.Sprint(args["n"]))
		mu.Unlock()
		mu.Lock()
		running--
		mu.Unlock()
		return nil, nil
	})
	s := serve(t, r.Transport, computeTarget, &RPCServerOptions{Concurrency: 1}, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	var want []string
	for n := range 50 {
		want = append(want, strconv.Itoa(n))
		if err := c.Cast(t.Context(), "work", map[string]any{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are handled", func() bool { return s.Stats().Handled == 50 })
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(order, want) {
		t.Errorf("%v", order)
	}
}
