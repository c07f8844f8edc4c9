// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	// floodClients is how many clients of each kind there are at a time.
	floodClients = 1000
	floodCallers = 4
	floodTime    = 4 * time.Second
	floodPace    = 8 * time.Millisecond // between two calls of one caller, at most
	// comeAgain is after how long a client that was closed is there again.
	comeAgain = time.Second
	// floodLimit is far above what is seen, for machines that are busy with more than this.
	floodLimit = 20 * time.Second
	// floodTimeout is that of a call.
	floodTimeout = time.Minute
)

// TestFloodOfClients: a thousand clients that say nothing and a thousand that send garbage, again
// and again, do not disturb calls. How much longer those take is in the log.
func TestFloodOfClients(t *testing.T) {
	port := freePorts(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	peers := t.TempDir() + "/peers.json"
	testbed.Must(t, os.WriteFile(peers, []byte(peersText(port)), 0o600))
	url := "zmq+static://" + peers + "?rpc_zmq_bind_address=127.0.0.1"
	server := openFor(t, url+fmt.Sprintf("&rpc_zmq_min_port=%d&rpc_zmq_max_port=%d", port, port+1))
	client := openFor(t, url)
	serveWork(t, server)
	rpc := messaging.NewRPCClient(client, messaging.Target{Topic: ledger.Topic}, &messaging.RPCClientOptions{Timeout: floodTimeout})
	callsFor(t, rpc, time.Second)
	calm := callsFor(t, rpc, floodTime)

	attackers := start(t, settings{Settings: ledger.Settings{Role: roleAttacker, URL: address}}, "attackers", t.TempDir())
	testbed.Must(t, attackers.Await(startTimeout))
	busy := callsFor(t, rpc, floodTime)
	var came int
	testbed.Must(t, attackers.Stop(startTimeout, &came))
	t.Logf("%d calls, p50 %v p99 %v; while %d clients came %d calls, p50 %v p99 %v, the longest %v",
		len(calm), at(calm, 50), at(calm, 99), came, len(busy), at(busy, 50), at(busy, 99), busy[len(busy)-1])
	if came < 2*floodClients {
		t.Errorf("%d clients came: the test proves nothing", came)
	}
	if p99 := at(busy, 99); p99 > floodLimit {
		t.Errorf("of a hundred calls one takes %v", p99)
	}
}

// openFor is a Transport with a driver process of its own.
func openFor(t *testing.T, url string) *messaging.Transport {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: []string{bed.Drivers}, RuntimeDir: runtimeDir(t), Trust: messaging.TrustOff, Logger: logger})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tr, err := messaging.Open(ctx, url, &messaging.Options{Host: host, Logger: logger})
	testbed.Must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// runtimeDir is short, for sockets.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pz")
	testbed.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serveWork answers work until the test ends.
func serveWork(t *testing.T, tr *messaging.Transport) {
	t.Helper()
	ep := messaging.NewEndpoint(nil)
	ledger.Work().Handle(ep, func(_ context.Context, in ledger.Args) (string, error) { return in.ID, nil })
	s := messaging.NewRPCServer(tr, messaging.Target{Topic: ledger.Topic, Server: "s"}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-served:
		t.Fatal(err)
	}
}

// callsFor makes calls for a while and returns how long each took, in order.
func callsFor(t *testing.T, rpc *messaging.RPCClient, d time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration // guarded by mu
	var callers sync.WaitGroup
	for end := range floodCallers {
		callers.Go(func() {
			var own []time.Duration
			for i, until := 0, time.Now().Add(d); time.Now().Before(until); i++ {
				id, from := fmt.Sprint(end, "-", i), time.Now()
				if got, err := ledger.Work().Call(context.Background(), rpc, ledger.Args{ID: id}); err != nil || got != id {
					t.Errorf("call %s: %q, %v", id, got, err)
				}
				own = append(own, time.Since(from))
				testbed.Pause(context.Background(), rand.N(floodPace))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	callers.Wait()
	slices.Sort(all)
	return all
}

func at(sorted []time.Duration, percent int) time.Duration { return sorted[len(sorted)*percent/100] }

// actAsAttackers is all clients that disturb, until it is told to stop. They stand for machines
// elsewhere: what they cost here is to be had from what calls leave.
func actAsAttackers(address string, orders *testbed.Orders) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, lowestPriority); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var flood sync.WaitGroup
	var came atomic.Int64
	for range floodClients {
		flood.Go(func() { attack(ctx, address, nil, &came) })
		flood.Go(func() { attack(ctx, address, garbage(), &came) })
	}
	return orders.Obey(map[string]testbed.Command{"stop": testbed.Say(func() (int64, error) {
		cancel()
		flood.Wait()
		return came.Load(), nil
	})})
}

const lowestPriority = 19

// attack is a client that sends text, stays until it is closed, and comes again.
func attack(ctx context.Context, address string, text []byte, came *atomic.Int64) {
	testbed.Pause(ctx, rand.N(comeAgain))
	for ctx.Err() == nil {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			came.Add(1)
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			_, _ = c.Write(text) // it may be closed already
			_, _ = io.Copy(io.Discard, c)
			stop()
			_ = c.Close()
		}
		testbed.Pause(ctx, comeAgain)
	}
}

// garbage is noise, or the start of a greeting with noise behind it.
func garbage() []byte {
	noise := make([]byte, 1+rand.N(300))
	for i := range noise {
		noise[i] = byte(rand.N(256))
	}
	if rand.N(2) == 0 {
		return noise
	}
	greeting := append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'N', 'U', 'L', 'L'}, make([]byte, 48)...)
	return append(greeting, noise...)
}
