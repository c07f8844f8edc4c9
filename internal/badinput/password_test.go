// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// TestPlantedPassword uses one password in every way that can go wrong and looks for it in
// all that comes out: errors, logs of host and drivers at debug level, everything that prints
// a URL, and the arguments and environments of the drivers.
func TestPlantedPassword(t *testing.T) {
	broker := bed.Broker(t)
	addr := broker.Addr()
	vhost := broker.NewVhost(t)
	core := "S3cr3t" + rand.Text()
	password := core + "/@:?#" // so that it has to be escaped
	escaped := url.QueryEscape(password)
	user := "planted-" + strings.ToLower(rand.Text()[:8])
	if err := broker.AddUser(t.Context(), user, password); err != nil {
		t.Fatal(err)
	}
	if err := broker.Allow(t.Context(), user, vhost); err != nil {
		t.Fatal(err)
	}
	login := user + ":" + escaped + "@"
	for _, tc := range []struct {
		name string
		url  string
		do   func(t *testing.T, tr *messaging.Transport)
		open bool // Open succeeds
	}{
		{"good login", "rabbit://" + login + addr + "/" + vhost, callItself, true},
		{"good login in plain", "rabbit://" + login + addr + "/" + vhost + "?rabbit_login_method=PLAIN", callItself, true},
		{"driver killed", "rabbit://" + login + addr + "/" + vhost, crash(syscall.SIGKILL), true},
		{"driver dumped", "rabbit://" + login + addr + "/" + vhost, crash(syscall.SIGQUIT), true},
		{"wrong password", "rabbit://guest:" + escaped + "@" + addr + "/" + vhost, mustFail, true},
		{"password for the user name", "rabbit://u:" + escaped + "@" + addr + "/" + vhost, mustFail, true},
		{"refused", "rabbit://" + login + "127.0.0.1:1/", mustFail, true},
		{"missing vhost", "rabbit://" + login + addr + "/no-such", mustFail, true},
		{"many hosts", "rabbit://" + login + "127.0.0.1:1," + login + addr + "/" + vhost, callItself, true},
		{"unknown option", "rabbit://" + login + addr + "/?nosuch=1", nil, false},
		{"password as an option", "rabbit://" + addr + "/?password=" + escaped, nil, false},
		{"option of another type", "rabbit://" + login + addr + "/?rabbit_quorum_queue=maybe", nil, false},
		{"unknown driver", "carrot://" + login + addr + "/", nil, false},
		{"no scheme", login + addr + "/", nil, false},
		{"no slashes", "rabbit:" + login + addr + "/", nil, false},
		{"bad port", "rabbit://" + login + "host:port/", nil, false},
		{"bad IPv6", "rabbit://" + login + "[::1/", nil, false},
		{"not escaped", "rabbit://" + user + ":" + password + "@" + addr + "/", nil, false},
		{"comma in it", "rabbit://" + user + ":" + core + ",x@" + addr + "/", nil, false},
		{"slash in it", "rabbit://" + user + ":" + core + "/x@" + addr + "/", nil, false},
		{"control character", "rabbit://" + login + addr + "/\x01", nil, false},
		{"bad vhost", "rabbit://" + login + addr + "/%00", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := testbed.NewLogs(t)
			o := &messaging.Options{
				Host: bed.Host(logs), Logger: logs.Logger(),
				OnState: func(s messaging.State) { logs.Printf("state %v %+v", s, s) },
			}
			tr, err := messaging.Open(within(t, patience), tc.url, o)
			printAll(logs, "error", err)
			if opened := err == nil; opened != tc.open {
				t.Errorf("Open returned %v", strings.ReplaceAll(fmt.Sprint(err), core, "PASSWORD"))
			}
			if err == nil {
				printAll(logs, "transport URL", tr.URL())
				if tr.URL() != nil {
					printAll(logs, "URL", *tr.URL())
					printAll(logs, "hosts", tr.URL().Hosts)
				}
				printAll(logs, "options", o)
				if tc.do != nil {
					tc.do(t, tr)
				}
				lookAtProcesses(t, core, escaped)
				closing, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				printAll(logs, "close", tr.Close(closing))
			}
			_, err = messaging.ParseURL(tc.url, nil)
			printAll(logs, "parse", err)
			if tc.open && (len(logs.Lines("level=DEBUG", "driver started")) == 0 || len(logs.Lines("***")) == 0) {
				t.Error("the log has no debug records or no masked password: nothing is proven")
			}
			lookFor(t, "the log and errors", logs.String(), core)
		})
	}
}

// printAll prints a value in every way that programs print.
func printAll(logs *testbed.Logs, name string, v any) {
	logs.Printf("%s: %v %+v %#v %s", name, v, v, v, v)
	logs.Logger().Info(name, "value", v, slog.Any("group", []any{v}))
	if text, err := json.Marshal(v); err == nil {
		logs.Printf("%s", text)
	}
	slog.New(slog.NewJSONHandler(logs, nil)).Info(name, "value", v)
}

// lookFor fails when text has the secret. It does not show it.
func lookFor(t *testing.T, where, text, secret string) {
	t.Helper()
	if i := strings.Index(text, secret); i >= 0 {
		t.Errorf("the password is in %s, after %q", where, text[max(0, i-200):i])
	}
}

func lookAtProcesses(t *testing.T, secrets ...string) {
	t.Helper()
	all := bed.DriverProcesses()
	if len(all) == 0 {
		t.Error("there is no driver to look at")
	}
	for _, p := range all {
		if len(p.Cmdline) == 0 || len(p.Environ) == 0 {
			t.Errorf("driver %d shows no arguments or environment", p.PID)
		}
		for _, secret := range secrets {
			lookFor(t, "the arguments of the driver", string(p.Cmdline), secret)
			lookFor(t, "the environment of the driver", string(p.Environ), secret)
		}
	}
}

// callItself serves a method and calls it.
func callItself(t *testing.T, tr *messaging.Transport) {
	t.Helper()
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("ping", func(context.Context, map[string]any) (any, error) { return "pong", nil })
	stop := testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s1"}, nil, ep))
	defer stop()
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Timeout: patience})
	if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Error(err)
	}
}

// mustFail calls, casts and pings what is not to be had.
func mustFail(t *testing.T, tr *messaging.Transport) {
	t.Helper()
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Timeout: time.Second})
	logs := testbed.NewLogs(t)
	for name, err := range map[string]error{
		"call": c.Call(t.Context(), "ping", nil, nil),
		"cast": c.Cast(t.Context(), "ping", nil),
		"ping": tr.Ping(within(t, time.Second)),
		"serve": messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s1"}, nil, messaging.NewEndpoint(nil)).
			Serve(within(t, time.Second)),
	} {
		if err == nil {
			t.Errorf("%s succeeded", name)
		}
		printAll(logs, name, err)
	}
	lookFor(t, "an error", logs.String(), "S3cr3t")
}

// crash ends the driver by a signal, after which it must work again.
func crash(sig syscall.Signal) func(t *testing.T, tr *messaging.Transport) {
	return func(t *testing.T, tr *messaging.Transport) {
		t.Helper()
		callItself(t, tr)
		for _, p := range bed.DriverProcesses() {
			if err := syscall.Kill(p.PID, sig); err != nil {
				t.Error(err)
			}
			testbed.Eventually(t, patience, "the driver ends", func() bool { return !bed.Running(p.PID) })
		}
		callItself(t, tr)
	}
}
