// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAMQPProxy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rmq := RunSharedRabbitMQ(t)
	proxy := RunAMQPProxy(t, rmq.Addr())
	vhost := rmq.NewVhost(t)
	python := Pythons(t)[0]
	RunPythonServer(t, python, PythonServerOptions{URL: rmq.URL(vhost), Topic: "t", Server: "s1"})
	client := RunPythonClient(t, python, PythonClientOptions{URL: rmq.URLAt(proxy.Addr(), vhost)})

	value := Request{Topic: "t", Method: "value", Args: map[string]any{"v": "hello"}, Timeout: 20 * time.Second}
	call := func() {
		t.Helper()
		reply, err := client.Call(ctx, value)
		if err != nil {
			t.Fatal(err)
		}
		if string(reply.Result) != `"hello"` {
			t.Fatalf("the call returned %s", reply.Result)
		}
	}

	call()
	publish, err := proxy.WaitFor(ctx, func(m Method) bool { return m.Name == "basic.publish" })
	if err != nil {
		t.Fatal(err)
	}
	if !publish.FromClient || publish.Args["routing_key"] != "t" ||
		publish.Properties["content_type"] != "application/json" || !strings.Contains(string(publish.Body), "hello") {
		t.Errorf("the proxy recorded %+v, body %s", publish, publish.Body)
	}
	if _, err := proxy.WaitFor(ctx, func(m Method) bool {
		return !m.FromClient && m.Name == "basic.deliver" && strings.Contains(string(m.Body), "hello")
	}); err != nil {
		t.Error(err)
	}
	for _, m := range proxy.Methods() {
		if _, ok := m.Args["response"]; ok {
			t.Errorf("%s was recorded with the client's credentials", m.Name)
		}
	}

	// A paused proxy keeps the call back, and it ends well once resumed.
	proxy.Reset()
	proxy.Pause()
	done := make(chan error, 1)
	go func() {
		_, err := client.Call(ctx, value)
		done <- err
	}()
	if _, err := proxy.WaitFor(ctx, func(m Method) bool { return m.Name == "basic.publish" }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("a call went through a paused proxy: %v", err)
	default:
	}
	proxy.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	// Request and reply are kept back for 50 ms each.
	proxy.Delay(50 * time.Millisecond)
	reply, err := client.Call(ctx, value)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Elapsed < 100*time.Millisecond {
		t.Errorf("a call through a slow proxy took %v", reply.Elapsed)
	}
	proxy.Delay(0)

	// After a cut the client connects again.
	if n := proxy.CutAll(); n == 0 {
		t.Error("nothing to cut: the client does not go through the proxy")
	}
	call()

	// A refusing proxy closes what comes.
	proxy.Refuse(true)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(conn)
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a refused connection read %d bytes, %v", n, err)
	}
}
