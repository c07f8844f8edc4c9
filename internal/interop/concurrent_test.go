// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

const (
	callers        = 16
	callsPerCaller = 25
)

// TestConcurrentCallers lets 16 callers of each language mix calls, failures and casts to a
// Python and a Go server at the same time. Each answer must be that of its own call.
func TestConcurrentCallers(t *testing.T) {
	eachMeeting(t, func(t *testing.T, m *meeting) {
		url := m.wire.New(t).URL
		pythonServer := pythonServers(t, m, url, "python", "py1")["py1"]
		serving, _ := bed.Open(t, url)
		goSide := goServer(t, serving, "go", "go1")
		calling, _ := bed.Open(t, url)
		pythonClient := peertest.RunPythonClient(t, m.python, peertest.PythonClientOptions{URL: m.pythonURL(url), Conf: m.conf()})

		var wg sync.WaitGroup
		ctx := soon(t)
		for caller := range callers {
			wg.Go(func() { goCaller(ctx, t, calling, fmt.Sprintf("go-%d", caller)) })
			wg.Go(func() { pythonCaller(ctx, t, pythonClient, fmt.Sprintf("py-%d", caller)) })
		}
		wg.Wait()
		casts := 2 * callers * (callsPerCaller / 5)
		counts{
			"py1": func() int { return pythonSaw(t, pythonServer, "cast") },
			"go1": func() int { return goSide.saw("cast") },
		}.want(t, map[string]int{"py1": casts / 2, "go1": casts / 2})
	})
}

// target alternates between the two servers.
func target(i int) string { return [...]string{"python", "go"}[i%2] }

// castTarget alternates between them over the casts, and differs between callers.
func castTarget(caller string, i int) string { return target(int(caller[len(caller)-1]) + i/5) }

func goCaller(ctx context.Context, t *testing.T, tr *messaging.Transport, name string) {
	c := messaging.NewRPCClient(tr, messaging.Target{}, &messaging.RPCClientOptions{Timeout: patience})
	for i := range callsPerCaller {
		to := c.With(messaging.Topic(target(i)))
		label := fmt.Sprintf("%s-%d", name, i)
		var err error
		switch i % 5 {
		case 0:
			err = c.With(messaging.Topic(castTarget(name, i))).Cast(ctx, "record", note("cast"))
		case 1:
			err = to.Call(ctx, "fail", map[string]any{"message": label}, nil)
			if remote, ok := errors.AsType[*messaging.RemoteError](err); ok && errors.Is(err, errValue) && remote.Message == label {
				err = nil
			}
		default:
			var got any
			want := map[string]any{"label": label, "list": []any{int64(i), 1.0}}
			if err = to.Call(ctx, "echo", want, &got); err == nil && !reflect.DeepEqual(got, want) {
				err = fmt.Errorf("got %v", got)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", label, err)
		}
	}
}

func pythonCaller(ctx context.Context, t *testing.T, c *peertest.PythonClient, name string) {
	for i := range callsPerCaller {
		label := fmt.Sprintf("%s-%d", name, i)
		r := peertest.Request{Topic: target(i), Timeout: patience}
		var err error
		switch i % 5 {
		case 0:
			r.Topic, r.Method, r.Args = castTarget(name, i), "record", note("cast")
			err = c.Cast(ctx, r)
		case 1:
			r.Method, r.Args = "fail", map[string]any{"message": label}
			_, err = c.Call(ctx, r)
			if failure, ok := errors.AsType[*peertest.PythonError](err); ok && failure.Class == "ValueError" {
				err = nil
			}
		default:
			want := map[string]any{"label": label, "list": []any{i, nil}}
			r.Method, r.Args = "echo", want
			var reply peertest.Reply
			if reply, err = c.Call(ctx, r); err == nil {
				if text, _ := json.Marshal(want); !sameJSON(t, reply.Result, text) {
					err = fmt.Errorf("got %s", reply.Result)
				}
			}
		}
		if err != nil {
			t.Errorf("%s: %v", label, err)
		}
	}
}
