// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// What the recorded peers are called.
const (
	topic      = "compute"
	serverName = "host1"
)

// scenario records one server and one client, each through a proxy of its own,
// so that it is known who sent what.
type scenario struct {
	ctx    context.Context
	node   *peertest.RabbitMQ
	python peertest.Python
}

// message is a published message that stands for its kind.
type message struct {
	name   string
	method peertest.Method
}

// record returns what a server sends when it starts, what a client sends with
// its first call, and one message of each kind.
func (s scenario) record() (server, client []peertest.Method, messages []message, err error) {
	serverProxy, err := peertest.StartAMQPProxy(s.node.Addr())
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, serverProxy.Close()) }()
	clientProxy, err := peertest.StartAMQPProxy(s.node.Addr())
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, clientProxy.Close()) }()

	python, err := peertest.StartPythonServer(s.ctx, s.python, peertest.PythonServerOptions{
		URL: s.node.URLAt(serverProxy.Addr(), "/"), Topic: topic, Server: serverName,
		Conf: map[string]map[string]any{"DEFAULT": {"rpc_ping_enabled": true}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, python.Close()) }()
	// The server consumes in another thread than the one that started it. The
	// fanout queue is the third and last.
	if _, err := serverProxy.WaitFor(s.ctx, func(m peertest.Method) bool {
		return m.Name == "basic.consume-ok" && m.Args["consumer_tag"] == "3"
	}); err != nil {
		return nil, nil, nil, err
	}
	server = sent(serverProxy)

	caller, err := peertest.StartPythonClient(s.ctx, s.python, peertest.PythonClientOptions{
		URL: s.node.URLAt(clientProxy.Addr(), "/"),
	})
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, caller.Close()) }()

	for i, step := range steps() {
		clientProxy.Reset()
		serverProxy.Reset()
		found, err := s.play(caller, clientProxy, serverProxy, step)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", step.request, err)
		}
		if i == 0 {
			client = sent(clientProxy)
		}
		messages = append(messages, found...)
	}
	return server, client, messages, nil
}

// step is one operation of the client and the names of the messages in it. An
// empty name leaves a message out.
type step struct {
	op        string // call, cast or fanout
	arg       peertest.Request
	request   string
	reply     string
	heartbeat string
}

func steps() []step {
	fail := func(kind string, more map[string]any) peertest.Request {
		args := map[string]any{"kind": kind, "message": "boom"}
		maps.Copy(args, more)
		return peertest.Request{Method: "fail", Args: args}
	}
	// Keys are sorted on their way to the client, and oslo.messaging keeps the
	// order, so the text of a body is the same each time.
	echo := map[string]any{
		"flag":   true,
		"list":   []any{1, 2.5, nil},
		"nested": map[string]any{"k": "v"},
		"text":   "h\u00e9llo \u2603",
	}
	return []step{
		{op: "call", request: "call", reply: "reply_ok", arg: peertest.Request{Method: "echo", Args: echo}},
		{op: "call", request: "call_server", arg: peertest.Request{Server: serverName, Method: "whoami"}},
		{op: "call", request: "call_namespaced", arg: peertest.Request{Namespace: "ns1", Version: "1.2", Method: "version"}},
		{op: "cast", request: "cast", arg: peertest.Request{Method: "record", Args: echo}},
		{op: "cast", request: "cast_server", arg: peertest.Request{Server: serverName, Method: "record"}},
		{op: "fanout", request: "fanout", arg: peertest.Request{Method: "record"}},
		{op: "call", request: "call_no_arguments", reply: "reply_null", arg: peertest.Request{Method: "value"}},
		{op: "call", request: "call_fail_builtin", reply: "reply_failure_builtin", arg: fail("builtin", nil)},
		{op: "call", request: "call_fail_own", reply: "reply_failure_own", arg: fail("own", map[string]any{"code": 7, "reason": "test"})},
		{op: "call", request: "call_fail_expected", reply: "reply_failure_expected", arg: fail("expected", nil)},
		{op: "call", request: "call_no_such_method", reply: "reply_no_such_method", arg: peertest.Request{Method: "nosuch"}},
		{op: "call", request: "call_unsupported_version", reply: "reply_unsupported_version", arg: peertest.Request{Method: "echo", Version: "3.0"}},
		{op: "call", request: "call_monitored", reply: "reply_monitored", heartbeat: "heartbeat",
			arg: peertest.Request{Method: "sleep", Args: map[string]any{"seconds": 1.5}, Monitor: 2 * time.Second}},
		{op: "call", request: "call_legacy_namespace", reply: "reply_legacy_namespace",
			arg: peertest.Request{Namespace: "ns0", Version: "1.5", Method: "version"}},
		{op: "cast", request: "cast_namespaced", arg: peertest.Request{Namespace: "ns1", Version: "1.2", Method: "record", Args: echo}},
		{op: "call", request: "call_fail_kwargs", reply: "reply_failure_kwargs", arg: fail("own", map[string]any{
			"code": 7, "detail": map[string]any{"list": []any{1, nil, "h\u00e9"}}, "reason": "test", "retry": false,
		})},
		{op: "call", request: "call_fail_stranger", reply: "reply_failure_stranger", arg: fail("stranger", nil)},
		{op: "call", request: "call_server_ping", reply: "reply_server_ping", arg: peertest.Request{Method: "oslo_rpc_server_ping"}},
		{op: "call", request: "call_huge_integers", reply: "reply_huge_integers",
			arg: peertest.Request{Method: "value", ArgsJSON: `{"v": [1180591620717411303424, -1180591620717411303424, 1, 1.0]}`}},
		{op: "call", request: "call_nan", reply: "reply_nan",
			arg: peertest.Request{Method: "value", ArgsJSON: `{"v": [NaN, Infinity, -Infinity]}`}},
		{op: "call", request: "call_surrogates", reply: "reply_surrogates",
			arg: peertest.Request{Method: "value", ArgsJSON: `{"v": ["\ud800", "a\udfffb", "\ude00\ud83d", "\ud83d\ude00"]}`}},
		{op: "call", request: "call_odd_names", reply: "reply_odd_names",
			arg: peertest.Request{Method: "echo", ArgsJSON: `{"": 1, "a b": 2, "class": {}, "sch\u00fcssel": [], "\ud83d\ude00": null}`}},
	}
}

// play runs one step and returns its messages.
func (s scenario) play(caller *peertest.PythonClient, clientProxy, serverProxy *peertest.AMQPProxy, step step) ([]message, error) {
	request := step.arg
	request.Topic = topic
	request.Ctxt = map[string]any{"is_admin": true, "none": nil, "request_id": "req-1", "roles": []string{"member"}, "user": "alice"}
	var err error
	switch step.op {
	case "call":
		request.Timeout = 10 * time.Second
		_, err = caller.Call(s.ctx, request)
	case "cast":
		err = caller.Cast(s.ctx, request)
	case "fanout":
		err = caller.Fanout(s.ctx, request)
	}
	// Some steps end in a failure, which is what they are for.
	var failure *peertest.PythonError
	if err != nil && !errors.As(err, &failure) {
		return nil, err
	}

	published := publishes(clientProxy)
	if len(published) != 1 {
		return nil, errors.Join(fmt.Errorf("the client published %d messages, want 1", len(published)), err)
	}
	messages := []message{{step.request, published[0]}}
	if step.op != "call" {
		return messages, nil
	}
	answers := publishes(serverProxy)
	if len(answers) == 0 {
		return nil, errors.Join(errors.New("the server published nothing"), err)
	}
	if step.heartbeat != "" {
		if len(answers) < 2 {
			return nil, errors.New("the server published no heartbeat")
		}
		messages = append(messages, message{step.heartbeat, answers[0]})
	}
	if step.reply != "" {
		messages = append(messages, message{step.reply, answers[len(answers)-1]})
	}
	return messages, nil
}

func publishes(proxy *peertest.AMQPProxy) []peertest.Method {
	return slices.DeleteFunc(proxy.Methods(), func(m peertest.Method) bool {
		return m.Name != "basic.publish"
	})
}

// sent returns the methods that came from the client's side of a proxy.
// Acknowledgements are left out: they may still be on their way.
func sent(proxy *peertest.AMQPProxy) []peertest.Method {
	return slices.DeleteFunc(proxy.Methods(), func(m peertest.Method) bool {
		return !m.FromClient || m.Name == "basic.ack"
	})
}
