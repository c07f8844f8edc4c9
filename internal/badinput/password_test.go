// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// TestPlantedPassword uses one password in every way that can go wrong and looks for it in
// all that comes out: errors, logs of host and drivers at debug level, everything that prints
// a URL, and the arguments and environments of the drivers.
func TestPlantedPassword(t *testing.T) { bed.EachWire(t, testPlantedPassword) }

// planted is a use of the password.
type planted struct {
	name string
	url  string
	do   func(t *testing.T, tr *messaging.Transport)
	open bool // Open succeeds
}

func testPlantedPassword(t *testing.T, w *testbed.Wire) {
	core := testbed.Secret + rand.Text()
	password := core + "/@:?#" // so that it has to be escaped
	l := w.Login(t, password)
	for _, tc := range slices.Concat(plantedLogins(w, l, password), plantedMistakes(t, w, l, password)) {
		t.Run(tc.name, func(t *testing.T) { tc.use(t, core, url.QueryEscape(password)) })
	}
}

// plantedLogins are those that Open takes, whatever comes of them.
func plantedLogins(w *testbed.Wire, l *testbed.Login, password string) []planted {
	escaped := url.QueryEscape(password)
	login := l.User + ":" + escaped + "@"
	at := func(authority string, options ...string) string { return urlOf(l, authority, l.Path, options...) }
	good := at(login + l.Addr)
	all := []planted{
		{"good login", good, callItself, true},
		{"driver killed", good, crash(syscall.SIGKILL), true},
		{"driver dumped", good, crash(syscall.SIGQUIT), true},
		{"many hosts", at(login + "127.0.0.1:1," + login + l.Addr), callItself, true},
		{"wrong password", at(l.User + ":" + escaped + "-wrong@" + l.Addr), mustFail, true},
		{"unknown user", at("u:" + escaped + "@" + l.Addr), mustFail, true},
		{"refused", at(login + "127.0.0.1:1"), mustFail, true},
	}
	if l.Missing != "" {
		all = append(all, planted{"missing vhost", l.Scheme + "://" + login + l.Addr + l.Missing, mustFail, true})
	}
	for name, value := range map[string]string{"rabbit_login_method": "PLAIN", "sasl_mechanisms": "PLAIN", "trace": "true"} {
		if w.HasOption(name) {
			all = append(all, planted{"with " + name, at(login+l.Addr, name+"="+value), callItself, true})
		}
	}
	return all
}

// plantedMistakes are those that Open refuses.
func plantedMistakes(t *testing.T, w *testbed.Wire, l *testbed.Login, password string) []planted {
	t.Helper()
	escaped := url.QueryEscape(password)
	core := strings.TrimSuffix(password, "/@:?#")
	login := l.User + ":" + escaped + "@"
	at := func(authority string, options ...string) string { return urlOf(l, authority, "/", options...) }
	return []planted{
		{"unknown option", at(login+l.Addr, "nosuch=1"), nil, false},
		{"password as an option", at(l.Addr, "password="+escaped), nil, false},
		{"option of another type", at(login+l.Addr, w.OptionOf(t, driver.OptionBool)+"=maybe"), nil, false},
		{"unknown driver", "carrot://" + login + l.Addr + "/", nil, false},
		{"unknown variant", l.Scheme + "x+y://" + login + l.Addr + "/", nil, false},
		{"no scheme", login + l.Addr + "/", nil, false},
		{"no slashes", l.Scheme + ":" + login + l.Addr + "/", nil, false},
		{"bad port", at(login + "host:port"), nil, false},
		{"bad IPv6", at(login + "[::1"), nil, false},
		{"not escaped", at(l.User + ":" + password + "@" + l.Addr), nil, false},
		{"comma in it", at(l.User + ":" + core + ",x@" + l.Addr), nil, false},
		{"slash in it", at(l.User + ":" + core + "/x@" + l.Addr), nil, false},
		{"control character", at(login+l.Addr) + "\x01", nil, false},
		{"bad vhost", urlOf(l, login+l.Addr, "/%00"), nil, false},
	}
}

// urlOf is a transport URL with more options.
func urlOf(l *testbed.Login, authority, path string, options ...string) string {
	if l.Query != "" {
		options = append(options, l.Query)
	}
	u := l.Scheme + "://" + authority + path
	if len(options) > 0 {
		u += "?" + strings.Join(options, "&")
	}
	return u
}

// use opens the URL, does with it what there is to do, prints all and looks for the password.
func (tc *planted) use(t *testing.T, core, escaped string) {
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
	serve := func() error { // what the others do not ask for: nodes without a broker would hear it
		return messaging.NewRPCServer(tr, messaging.Target{Topic: "other", Server: "s1"}, nil, messaging.NewEndpoint(nil)).Serve(within(t, time.Second))
	}
	logs := testbed.NewLogs(t)
	var wg sync.WaitGroup
	for name, do := range map[string]func() error{
		"call":  func() error { return c.Call(t.Context(), "ping", nil, nil) },
		"cast":  func() error { return c.Cast(t.Context(), "ping", nil) },
		"ping":  func() error { return tr.Ping(within(t, time.Second)) },
		"serve": serve,
	} {
		wg.Go(func() {
			err := do()
			if err == nil {
				t.Errorf("%s succeeded", name)
			}
			printAll(logs, name, err)
		})
	}
	wg.Wait()
	lookFor(t, "an error", logs.String(), testbed.Secret)
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
