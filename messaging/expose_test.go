// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"strings"
	"testing"
)

type calculator struct{ calls int }

func (c *calculator) Reset(context.Context) error { c.calls = 0; return nil }

func (c *calculator) Count(context.Context) (int, error) { return c.calls, nil }

func (c *calculator) Fail(_ context.Context, args startArgs) error {
	return errNotFound.Withf("%s", args.ID)
}

func (c *calculator) Echo(_ context.Context, args map[string]any) (map[string]any, error) {
	c.calls++
	return args, nil
}

func (c *calculator) Start(_ context.Context, args *startArgs) (*startReply, error) {
	return &startReply{Host: args.ID}, nil
}

func (c *calculator) Info(ctx context.Context) (string, error) {
	info, _ := RequestInfoFrom(ctx)
	return info.Method, nil
}

func (*calculator) NoContext() error                               { return nil }
func (*calculator) NoError(context.Context) int                    { return 0 }
func (*calculator) Nothing(context.Context)                        {}
func (*calculator) TwoArgs(context.Context, int, int) error        { return nil }
func (*calculator) ThreeResults(context.Context) (int, int, error) { return 0, 0, nil }
func (*calculator) Variadic(context.Context, ...int) error         { return nil }
func (*calculator) Channel(context.Context, chan int) error        { return nil }
func (*calculator) Interface(context.Context, error) error         { return nil }
func (*calculator) hidden(context.Context) error                   { return nil }

var _ = (*calculator).hidden

func TestExpose(t *testing.T) {
	ep := NewEndpoint(nil)
	ep.Expose(&calculator{}, map[string]string{
		"reset": "Reset", "count": "Count", "fail": "Fail", "echo": "Echo", "start_instance": "Start", "info": "Info", "count_again": "Count",
	}, ExpectErrors(errNotFound))
	s := newStage(t, nil, ep)
	for _, tt := range []struct{ method, args, want string }{
		{"count", `{}`, "0"},
		{"echo", `{"a":1.0}`, `{"a": 1.0}`},
		{"count_again", `{}`, "1"},
		{"reset", `{}`, "null"},
		{"count", `{}`, "0"},
		{"start_instance", `{"instance_id":"i"}`, `{"host":"i"}`},
		{"start_instance", `{"id":"i"}`, "TypeError: start_instance() got an unexpected keyword argument 'id'"},
		{"start_instance", `{"instance_id":1}`, "TypeError: start_instance() argument 'instance_id' must be string, not number"},
		{"count", `{"x":1}`, "TypeError: count() got an unexpected keyword argument 'x'"},
		{"fail", `{"instance_id":"i"}`, "InstanceNotFound: i"},
		{"info", `{}`, `"info"`},
		{"Echo", `{}`, "NoSuchMethod: Endpoint does not support RPC method Echo"},
		{"hidden", `{}`, "NoSuchMethod: Endpoint does not support RPC method hidden"},
	} {
		id := newID()
		s.deliver(callOf(id, tt.method, tt.args))
		if got := s.reply(t, id); got != tt.want {
			t.Errorf("%s(%s) = %s, want %s", tt.method, tt.args, got, tt.want)
		}
	}
	if !strings.Contains(s.logged(), `level=DEBUG msg="handler failed" method=fail`) {
		t.Error("the option has no effect")
	}
}

func TestExposeRefuses(t *testing.T) {
	taken := NewEndpoint(nil)
	taken.HandleFunc("taken", func(context.Context, map[string]any) (any, error) { return nil, nil })
	var none any
	for _, tt := range []struct {
		name, method string
		receiver     any
		want         string
	}{
		{"m", "Missing", &calculator{}, "has no exported method Missing"},
		{"m", "hidden", &calculator{}, "has no exported method hidden"},
		{"m", "Count", calculator{}, "has no exported method Count"},
		{"m", "NoContext", &calculator{}, "is a func() error: want func(context.Context"},
		{"m", "NoError", &calculator{}, "want func"},
		{"m", "Nothing", &calculator{}, "want func"},
		{"m", "TwoArgs", &calculator{}, "want func"},
		{"m", "ThreeResults", &calculator{}, "want func"},
		{"m", "Variadic", &calculator{}, "want func"},
		{"m", "Channel", &calculator{}, "want func"},
		{"m", "Interface", &calculator{}, "want func"},
		{"m", "Count", none, "the receiver is nil"},
		{"", "Count", &calculator{}, "the method has no name"},
		{"_m", "Count", &calculator{}, "private"},
		{"taken", "Count", &calculator{}, "has this method already"},
	} {
		err := taken.TryExpose(tt.receiver, map[string]string{tt.name: tt.method, "a_good_one": "Count"})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.name, tt.method, err)
		}
		if taken.find("a_good_one") != nil {
			t.Fatalf("%s %s: registered in part", tt.name, tt.method)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Expose did not panic")
		}
	}()
	NewEndpoint(nil).Expose(&calculator{}, map[string]string{"m": "Missing"})
}
