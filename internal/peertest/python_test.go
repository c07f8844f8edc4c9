// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

func TestPythonPeers(t *testing.T) {
	rmq := RunSharedRabbitMQ(t)
	pythons := Pythons(t)
	for _, server := range pythons {
		for _, client := range pythons {
			t.Run(client.Name+" calls "+server.Name, func(t *testing.T) {
				testPythonPeers(t, rmq.URL(rmq.NewVhost(t)), client, server, nil)
			})
		}
	}
}

// TestPythonPeersAMQP1 is the same with the last release that speaks AMQP 1.0.
func TestPythonPeersAMQP1(t *testing.T) {
	b := RunSharedBrokerJ(t)
	python := PythonAMQP1(t)
	testPythonPeers(t, b.PythonURL("peers"), python, python, AMQP1Conf())
	testPythonNotifications(t, b.PythonURL("peers"), python, python, AMQP1Conf())
}

func testPythonPeers(t *testing.T, url string, clientPython, serverPython Python, conf map[string]map[string]any) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	serverConf := map[string]map[string]any{"DEFAULT": {"rpc_ping_enabled": true}}
	maps.Copy(serverConf, conf)
	server := RunPythonServer(t, serverPython, PythonServerOptions{URL: url, Topic: "t", Server: "s1", Conf: serverConf})
	client := RunPythonClient(t, clientPython, PythonClientOptions{URL: url, AllowedRemoteModules: []string{"peererrors"}, Conf: conf})

	// The amqp driver is told in the message itself how long its client waits, not in its context.
	wantContext := `{"client_timeout": null, "user": "alice"}`
	if _, amqp1 := conf["oslo_messaging_amqp"]; amqp1 {
		wantContext = `{"user": "alice"}`
	}
	call := func(r Request) (string, error) {
		r.Topic, r.Timeout = "t", 10*time.Second
		reply, err := client.Call(ctx, r)
		return string(reply.Result), err
	}
	for _, test := range []struct {
		request Request
		want    string
	}{
		{Request{Method: "echo", Args: map[string]any{"a": 1}}, `{"a": 1}`},
		{Request{Method: "value"}, `null`},
		{Request{Method: "ping"}, `"pong"`},
		{Request{Method: "whoami", Server: "s1"}, `"s1"`},
		{Request{Method: "version"}, `"1.0"`},
		{Request{Method: "version", Version: "2.1"}, `"/2.3"`},
		{Request{Method: "version", Namespace: "ns1", Version: "1.5"}, `"ns1/1.5"`},
		{Request{Method: "version", Namespace: "ns0", Version: "1.0"}, `"ns1/1.5"`},
		{Request{Method: "context", Ctxt: map[string]any{"user": "alice"}}, wantContext},
		{Request{Method: "sleep", Args: map[string]any{"seconds": 0.01}, Monitor: 2 * time.Second}, `0.01`},
		{Request{Method: "version", Namespace: "ns4", Version: "4.1"}, `"ns2/4.2"`},
		{Request{Method: "version", Version: "4.1"}, `"ns2/4.2"`},
		{Request{Method: "typeof", ArgsJSON: `{"v": NaN}`}, `"float"`},
		{Request{Method: "relay", Args: map[string]any{"topic": "t", "server": "s1", "to": "whoami", "args": map[string]any{}}}, `"s1"`},
		{Request{Method: "oslo_rpc_server_ping"}, `"pong"`},
	} {
		got, err := call(test.request)
		if err != nil || !sameJSON(t, got, test.want) {
			t.Errorf("call %+v: got %s, %v, want %s", test.request, got, err, test.want)
		}
	}

	for _, test := range []struct {
		request Request
		want    PythonError
	}{
		{Request{Method: "fail"}, PythonError{Class: "ValueError", Module: "builtins"}},
		{Request{Method: "fail", Args: map[string]any{"kind": "own", "message": "m", "code": 7}}, PythonError{Class: "PeerError_Remote", Module: "peererrors_Remote"}},
		{Request{Method: "fail", Args: map[string]any{"kind": "expected"}}, PythonError{Class: "ExpectedPeerError_Remote", Module: "peererrors_Remote"}},
		{Request{Method: "nosuch"}, PythonError{Class: "RemoteError", Module: "oslo_messaging.rpc.client", ExcType: "NoSuchMethod"}},
		{Request{Method: "echo", Version: "3.0"}, PythonError{Class: "RemoteError", Module: "oslo_messaging.rpc.client", ExcType: "UnsupportedVersion"}},
	} {
		_, err := call(test.request)
		var got *PythonError
		if !errors.As(err, &got) || got.Class != test.want.Class || got.Module != test.want.Module || got.ExcType != test.want.ExcType {
			t.Errorf("call %+v: got %v, want %v", test.request, err, &test.want)
		}
	}

	testPythonErrors(t, call)

	record := Request{Topic: "t", Method: "record", Args: map[string]any{"n": 1}}
	if err := client.Cast(ctx, record); err != nil {
		t.Fatal(err)
	}
	if err := client.Fanout(ctx, record); err != nil {
		t.Fatal(err)
	}
	records, err := server.WaitReceived(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Server != "s1" || r.Endpoint != "1.0" || !sameJSON(t, string(r.Args), `{"n": 1}`) {
			t.Errorf("the server recorded %+v", r)
		}
	}

	bench, err := client.Bench(ctx, Bench{Request: Request{Topic: "t"}, Size: 100, Concurrency: 4, Calls: 40})
	if err != nil {
		t.Fatal(err)
	}
	if bench.Calls != 40 || bench.Errors != 0 || bench.P50 <= 0 || bench.P99 < bench.P50 || bench.CPU <= 0 {
		t.Errorf("bench measured %+v", bench)
	}
	t.Logf("%+v", bench)
}

// testPythonErrors looks at what a failure is made of.
func testPythonErrors(t *testing.T, call func(Request) (string, error)) {
	_, err := call(Request{Method: "fail", Args: map[string]any{"kind": "own", "message": "m", "code": 7}})
	var got *PythonError
	if !errors.As(err, &got) || !slices.Equal(got.Args, []any{"m"}) || !maps.Equal(got.Kwargs, map[string]any{"code": 7.0}) {
		t.Errorf("got %+v", err)
	}
	_, err = call(Request{Method: "fail", Args: map[string]any{"kind": "stranger", "message": "m"}})
	if !errors.As(err, &got) || got.ExcType != "StrangerError" || got.Value != "m" || len(got.Traceback) < 3 {
		t.Errorf("got %+v", err)
	}
}

func TestPythonPeerLeavesNothing(t *testing.T) {
	for _, python := range Pythons(t) {
		t.Run(python.Name, func(t *testing.T) {
			client, err := StartPythonClient(t.Context(), python, PythonClientOptions{URL: "rabbit://127.0.0.1:1/"})
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			if pids := marked(client.peer.dir); len(pids) != 0 {
				t.Errorf("processes %v are left after Close", pids)
			}
			if _, err := os.Stat(client.peer.dir); !os.IsNotExist(err) {
				t.Errorf("directory %s is left after Close: %v", client.peer.dir, err)
			}
		})
	}
}

func TestPythonPeerStartFails(t *testing.T) {
	for _, python := range Pythons(t) {
		if _, err := StartPythonClient(t.Context(), python, PythonClientOptions{URL: "nosuch://h/"}); err == nil {
			t.Errorf("%s: a client with an unknown driver started", python.Name)
		}
	}
}

// TestPythonNotifications: each notifier reaches each listener.
func TestPythonNotifications(t *testing.T) {
	rmq := RunSharedRabbitMQ(t)
	pythons := Pythons(t)
	for _, from := range pythons {
		for _, to := range pythons {
			t.Run(from.Name+" notifies "+to.Name, func(t *testing.T) {
				testPythonNotifications(t, rmq.URL(rmq.NewVhost(t)), from, to, nil)
			})
		}
	}
}

func testPythonNotifications(t *testing.T, url string, from, to Python, conf map[string]map[string]any) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := RunPythonListener(t, to, PythonListenerOptions{URL: url, Targets: []PythonListenTo{{Topic: "t"}}, Conf: conf})
	n := RunPythonNotifier(t, from, PythonNotifierOptions{URL: url, Conf: conf})
	for i, driver := range []string{"messaging", "messagingv2"} {
		e := Event{Driver: driver, PublisherID: "p", Topics: []string{"t"}, Level: "warn", EventType: "e", Payload: driver}
		if err := n.Notify(ctx, e); err != nil {
			t.Fatal(err)
		}
		all, err := l.WaitReceived(ctx, "e", i+1)
		if err != nil || len(all) != i+1 {
			t.Fatal(len(all), err)
		}
		if got := all[i]; got.Level != "warn" || *got.PublisherID != "p" || got.Payload != `"`+driver+`"` || len(got.Metadata["message_id"]) != 36 {
			t.Errorf("got %+v", got)
		}
	}
}
