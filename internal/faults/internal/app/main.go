// SPDX-License-Identifier: Apache-2.0

// Command app is the application that the fault tests start, kill and look at: an RPC server,
// or a client with many callers. It takes its settings as one line of JSON on its standard
// input, prints one line of JSON for each thing that happened, and closes cleanly when its
// standard input ends or it gets SIGTERM.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/parleymq/parley/messaging"
)

// closeTimeout bounds the end of the application.
const closeTimeout = 15 * time.Second

// settings are what the test asks for.
type settings struct {
	URL     string        `json:"url"` // not in argv or environment: it has a password
	Server  string        `json:"server"`
	Topic   string        `json:"topic"`
	Callers int           `json:"callers"` // of a client; zero is a server
	First   int           `json:"first"`   // number of the first call
	Timeout time.Duration `json:"timeout"`
	Work    time.Duration `json:"work"` // how long the server's method takes
}

// event is one line of output. Times are those of the machine, in nanoseconds.
type event struct {
	Event string        `json:"event"` // ready, exec, call or closed
	N     int           `json:"n,omitempty"`
	Code  string        `json:"code,omitempty"` // of a call; empty is an answer
	Error string        `json:"error,omitempty"`
	Start int64         `json:"start,omitempty"`
	Took  time.Duration `json:"took,omitempty"`
}

// printer writes events, one a line, from any goroutine.
type printer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (p *printer) print(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(e) // nobody reads: the test is gone, and its end of standard input too
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var s settings
	if err := json.Unmarshal(first, &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the program
		_, _ = io.Copy(io.Discard, lines)
		cancel()
	}()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	host := messaging.NewHost(&messaging.HostOptions{
		Logger: logger, ReloadSignal: syscall.SIGHUP,
		// The tests kill drivers more often than a breaker would bear with.
		Supervision: messaging.Supervision{BreakerFailures: -1},
	})
	t, err := messaging.Open(ctx, s.URL, &messaging.Options{Host: host, Logger: logger, AppName: "faults-app"})
	if err != nil {
		return err
	}
	p := &printer{out: json.NewEncoder(out)}
	if s.Callers > 0 {
		call(ctx, t, s, p)
	} else {
		err = serve(ctx, t, s, p)
	}
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := errors.Join(err, t.Close(closing)); err != nil {
		return err
	}
	p.print(event{Event: "closed"})
	return nil
}
