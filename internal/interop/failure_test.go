// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// kwargs are nested, and have falsy values.
func kwargs() map[string]any {
	return map[string]any{"code": int64(7), "detail": map[string]any{"list": []any{int64(1), nil, "é"}}, "reason": "test", "retry": false}
}

// sameKwargs compares where 7 and 7.0 are the same: the Python client's side has only floats.
func sameKwargs(a, b map[string]any) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && string(left) == string(right)
}

// failing are arguments of "fail".
func failing(kind string, more map[string]any) map[string]any {
	args := map[string]any{"kind": kind, "message": "böom"}
	for name, value := range more {
		args[name] = value
	}
	return args
}

// goFails lets a Go client call what fails in Python. An empty message, nil args and nil kwargs
// are not compared.
func goFails(t *testing.T, p *peers, method string, args map[string]any, want messaging.RemoteError, opts ...messaging.CallOption) messaging.RemoteError {
	t.Helper()
	err := p.goClient.With(opts...).Call(soon(t), method, args, nil)
	got, ok := errors.AsType[*messaging.RemoteError](err)
	if !ok || !errors.Is(err, &messaging.RemoteError{Module: want.Module, Class: want.Class}) || messaging.CodeOf(err) != "" {
		t.Fatalf("got %v, want %v", err, &want)
	}
	if errors.Is(err, &messaging.RemoteError{Module: "else", Class: want.Class}) {
		t.Error("its module is not compared")
	}
	if want.Message != "" && got.Message != want.Message || want.Args != nil && !reflect.DeepEqual(got.Args, want.Args) {
		t.Errorf("got message %q and args %v, want %q and %v", got.Message, got.Args, want.Message, want.Args)
	}
	if want.Kwargs != nil && !reflect.DeepEqual(got.Kwargs, want.Kwargs) {
		t.Errorf("got kwargs %v, want %v", got.Kwargs, want.Kwargs)
	}
	if text := strings.Join(got.Traceback, ""); !strings.Contains(text, "Traceback (most recent call last)") || !strings.Contains(text, got.Class) {
		t.Errorf("the traceback is %q", got.Traceback)
	}
	return *got
}

// pythonFails lets a Python client call what fails in Go. What is empty in want is not
// compared, but for ExcType.
func pythonFails(t *testing.T, p *peers, r peertest.Request, want peertest.PythonError) peertest.PythonError {
	t.Helper()
	reply, err := p.call(t, r)
	got, ok := errors.AsType[*peertest.PythonError](err)
	if !ok {
		t.Fatalf("got %s, %v, want %v", reply.Result, err, &want)
	}
	if got.Class != want.Class || want.Module != "" && got.Module != want.Module ||
		got.ExcType != want.ExcType || want.Value != "" && got.Value != want.Value {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want.Message != "" && !strings.Contains(got.Message, want.Message) || want.Args != nil && !reflect.DeepEqual(got.Args, want.Args) {
		t.Errorf("got message %q and args %v, want %q and %v", got.Message, got.Args, want.Message, want.Args)
	}
	return *got
}

// remoteError is what a Python client raises for what it must not rebuild.
func remoteError(class, value string) peertest.PythonError {
	return peertest.PythonError{Class: "RemoteError", Module: "oslo_messaging.rpc.client", ExcType: class, Value: value}
}

func pythonFailing(kind string, more map[string]any) peertest.Request {
	return peertest.Request{Method: "fail", Args: failing(kind, more)}
}

func testGoGetsBuiltin(t *testing.T, p *peers) {
	goFails(t, p, "fail", failing("builtin", nil), messaging.RemoteError{
		Module: "builtins", Class: "ValueError", Message: "böom", Args: []any{"böom"}, Kwargs: map[string]any{},
	})
	goFails(t, p, "fail", failing("os", nil), messaging.RemoteError{
		Module: "builtins", Class: "FileNotFoundError", Message: "[Errno 2] böom", Args: []any{int64(2), "böom"},
	})
	goFails(t, p, "value", map[string]any{"w": 1}, messaging.RemoteError{Module: "builtins", Class: "TypeError"})
}

// A builtin exception is rebuilt without a suffix; its first argument is the text with the
// traceback.
func testPythonGetsBuiltin(t *testing.T, p *peers) {
	pythonFails(t, p, pythonFailing("builtin", nil), peertest.PythonError{
		Class: "ValueError", Module: "builtins", Message: "böom", Args: []any{"böom\n"},
	})
	got := pythonFails(t, p, pythonFailing("os", nil), peertest.PythonError{Class: "FileNotFoundError", Module: "builtins"})
	if len(got.Args) != 2 || got.Args[1] != "böom" {
		t.Errorf("got args %v", got.Args)
	}
	pythonFails(t, p, peertest.Request{Method: "fail", Args: failing("unserializable", nil)}, peertest.PythonError{Class: "TypeError", Module: "builtins"})
}

func testGoGetsOwn(t *testing.T, p *peers) {
	goFails(t, p, "fail", failing("own", nil), messaging.RemoteError{
		Module: trusted, Class: "PeerError", Message: "böom", Args: []any{"böom"}, Kwargs: map[string]any{},
	})
}

func testPythonGetsOwn(t *testing.T, p *peers) {
	pythonFails(t, p, pythonFailing("own", nil), peertest.PythonError{
		Class: "PeerError_Remote", Module: trusted + "_Remote", Message: "böom", Args: []any{"böom"},
	})
}

// A Go client builds nothing from a name, so no module is disallowed: it tells them apart.
func testGoGetsStranger(t *testing.T, p *peers) {
	got := goFails(t, p, "fail", failing("stranger", nil), messaging.RemoteError{
		Module: "peerstrangers", Class: "StrangerError", Message: "böom", Args: []any{"böom"},
	})
	if !errors.Is(&got, errStranger) || errors.Is(&got, errPeer) {
		t.Errorf("%v is not what it is", &got)
	}
}

// A Python client has the module of the first, and of no other; it may rebuild neither.
func testPythonGetsStranger(t *testing.T, p *peers) {
	got := pythonFails(t, p, pythonFailing("stranger", nil), remoteError("StrangerError", "böom"))
	if want := []string{"first line\n", "second line\n"}; !reflect.DeepEqual(got.Traceback, want) {
		t.Errorf("got the traceback %q, want %q", got.Traceback, want)
	}
	pythonFails(t, p, pythonFailing("go", nil), remoteError("goError", "while failing: böom"))
	pythonFails(t, p, pythonFailing("panic", nil), remoteError("Panic", "panic: böom"))
}

func testGoGetsKwargs(t *testing.T, p *peers) {
	goFails(t, p, "fail", failing("own", kwargs()), messaging.RemoteError{
		Module: trusted, Class: "PeerError", Message: "böom", Args: []any{"böom"}, Kwargs: kwargs(),
	})
}

func testPythonGetsKwargs(t *testing.T, p *peers) {
	got := pythonFails(t, p, pythonFailing("own", kwargs()), peertest.PythonError{
		Class: "PeerError_Remote", Module: trusted + "_Remote", Message: "böom", Args: []any{"böom"},
	})
	if !sameKwargs(got.Kwargs, kwargs()) {
		t.Errorf("it was rebuilt with %v, want %v", got.Kwargs, kwargs())
	}
	// No builtin takes them: it is not rebuilt, and nothing else of it is lost.
	pythonFails(t, p, pythonFailing("builtin with kwargs", kwargs()), remoteError("ValueError", "böom"))
}

const (
	noMethod  = "Endpoint does not support RPC method nosuch"
	noVersion = "Endpoint does not support RPC version 3.0. Attempted method: echo"
)

func testGoGetsRefused(t *testing.T, p *peers) {
	method, version := *messaging.ErrNoSuchMethod, *messaging.ErrUnsupportedVersion
	goFails(t, p, "_private", nil, method)
	method.Message, version.Message = noMethod, noVersion
	goFails(t, p, "nosuch", nil, method)
	goFails(t, p, "echo", nil, version, messaging.Version("3.0"))
}

func testPythonGetsRefused(t *testing.T, p *peers) {
	pythonFails(t, p, peertest.Request{Method: "nosuch"}, remoteError("NoSuchMethod", noMethod))
	pythonFails(t, p, peertest.Request{Method: "_private"}, remoteError("NoSuchMethod", ""))
	pythonFails(t, p, peertest.Request{Method: "echo", Version: "3.0"}, remoteError("UnsupportedVersion", noVersion))
}

// An expected failure is one like any other to the caller, and none to the server's log.
func testGoGetsExpected(t *testing.T, p *peers) {
	py1 := messaging.Server("py1")
	goFails(t, p, "fail", map[string]any{"kind": "expected", "message": "a quiet failure"}, messaging.RemoteError{
		Module: trusted, Class: "ExpectedPeerError", Args: []any{"a quiet failure"}, Kwargs: map[string]any{},
	}, py1)
	goFails(t, p, "fail", map[string]any{"kind": "own", "message": "a loud failure"}, *errPeer, py1)
	logged := func() string { return p.pythonServers["py1"].Output() }
	testbed.Eventually(t, patience, "the server logs a failure", func() bool { return strings.Contains(logged(), "a loud failure") })
	if strings.Contains(logged(), "a quiet failure") {
		t.Error("the server logged the expected failure")
	}
}

func testPythonGetsExpected(t *testing.T, p *peers) {
	r := pythonFailing("expected", nil)
	r.Server = "go1"
	pythonFails(t, p, r, peertest.PythonError{
		Class: "ExpectedPeerError_Remote", Module: trusted + "_Remote", Message: "böom", Args: []any{"böom"},
	})
	lines := p.goLogs.Lines("ExpectedPeerError")
	if len(lines) == 0 {
		t.Error("nothing is logged")
	}
	for _, line := range lines {
		if !strings.Contains(line, "level=DEBUG") {
			t.Errorf("logged: %s", line)
		}
	}
}
