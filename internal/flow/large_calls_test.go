// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

type text struct {
	Text string `json:"text"`
}

var echoText = messaging.Method[text, string]{Name: "echo"}

// TestLargeCallsAmongSmallOnes: calls of almost 60 MiB both ways through a driver's process, while
// calls of 1 KiB go on, to the same server and to another.
func TestLargeCallsAmongSmallOnes(t *testing.T) {
	size := 60 << 20
	if testbed.RaceEnabled() {
		size = 10 << 20
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	transport, _ := fakeTransport(ctx, t)
	for _, topic := range []string{"same", "other"} {
		ep := messaging.NewEndpoint(nil)
		echoText.Handle(ep, func(_ context.Context, in text) (string, error) { return in.Text, nil })
		testbed.Serve(t, messaging.NewRPCServer(transport, messaging.Target{Topic: topic, Server: "s"}, nil, ep))
	}
	client := func(topic string) *messaging.RPCClient {
		return messaging.NewRPCClient(transport, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: time.Minute})
	}
	same, other := client("same"), client("other")

	measure := func(c *messaging.RPCClient, until <-chan struct{}, least int) []time.Duration {
		var took []time.Duration
		in := text{strings.Repeat("x", 1000)}
		for {
			select {
			case <-until:
				if len(took) >= least {
					return took
				}
			default:
			}
			began := time.Now()
			got, err := echoText.Call(ctx, c, in)
			if err != nil || got != in.Text {
				t.Errorf("a small call: %d bytes, %v", len(got), err)
				return took
			}
			took = append(took, time.Since(began))
		}
	}
	over := make(chan struct{})
	close(over)
	report(t, "small calls alone", measure(same, over, 500))

	done := make(chan struct{})
	go func() {
		defer close(done)
		in := text{strings.Repeat("large text ", size/11)}
		began := time.Now()
		if got, err := echoText.Call(ctx, same, in); err != nil || got != in.Text {
			t.Errorf("a large call: %d bytes, %v", len(got), err)
		}
		t.Logf("a call of %d MiB both ways took %v", size>>20, time.Since(began).Round(time.Millisecond))
	}()
	others := make(chan []time.Duration, 1)
	go func() { others <- measure(other, done, 1) }()
	report(t, "beside large ones, same server", measure(same, done, 1))
	report(t, "beside large ones, another server", <-others)

	// Above the limit nothing is sent.
	_, err := echoText.Call(ctx, same, text{strings.Repeat("x", 65<<20)})
	if driver.ReasonOf(err) != driver.ReasonMessageTooLarge || !strings.Contains(err.Error(), "MaxMessageBytes") {
		t.Errorf("a call above the limit: %v", err)
	}
}

func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	if len(took) == 0 {
		t.Errorf("%s: none", what)
		return
	}
	slices.Sort(took)
	t.Logf("%s: %d calls, p50 %v, p99 %v, max %v", what, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

// fakeTransport builds the fake driver and opens a transport on it.
func fakeTransport(ctx context.Context, t *testing.T) (*messaging.Transport, *testbed.Bed) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl") // a socket's address has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := testbed.Build(ctx, filepath.Join(dir, "parley-driver-fake"), "plugins/fake"); err != nil {
		t.Fatal(err)
	}
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: []string{dir}, RuntimeDir: filepath.Join(dir, "run"), LockFile: filepath.Join(dir, "parley.lock")})
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	transport, err := messaging.Open(ctx, "fake://", &messaging.Options{Host: host, AppName: "large"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { testbed.Close(t, transport) })
	return transport, &testbed.Bed{Drivers: dir}
}

// TestAThousandServersOnOneProcess all receive, and are counted what they cost.
func TestAThousandServersOnOneProcess(t *testing.T) {
	n := 1000
	if testbed.RaceEnabled() {
		n = 200
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	transport, bed := fakeTransport(ctx, t)
	pid := bed.DriverOf(os.Getpid())
	if pid == 0 {
		t.Fatal("no driver process")
	}
	heap, resident := testbed.Heap(), testbed.Resident(pid)
	for i := range n {
		ep := messaging.NewEndpoint(nil)
		echoText.Handle(ep, func(_ context.Context, in text) (string, error) { return in.Text + strconv.Itoa(i), nil })
		testbed.Serve(t, messaging.NewRPCServer(transport, messaging.Target{Topic: "t" + strconv.Itoa(i), Server: "s"}, nil, ep))
	}
	t.Logf("%d servers: %d bytes each on this side's heap, %d bytes each in the driver's RAM, its broker included",
		n, (testbed.Heap()-heap)/int64(n), (testbed.Resident(pid)-resident)/int64(n))
	for i := range n {
		c := messaging.NewRPCClient(transport, messaging.Target{Topic: "t" + strconv.Itoa(i)}, nil)
		if got, err := echoText.Call(ctx, c, text{"at "}); err != nil || got != "at "+strconv.Itoa(i) {
			t.Fatalf("server %d: %q, %v", i, got, err)
		}
	}
}
