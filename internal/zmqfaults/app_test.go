// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleServer = "server"
	roleClient = "client"
	// roleAttacker is no application: it is many clients that send garbage, or nothing.
	roleAttacker = "attacker"
	topic        = "work"
	// slack is how much later than its time a caller may return, on a machine that does other things.
	slack = 5 * time.Second
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of
	// an application.
	startTimeout = 30 * time.Second
	endTimeout   = 20 * time.Second
	// readyTimeout is longer than the discovery is away.
	readyTimeout = 2 * time.Minute
)

// The breaks of a promise that an application makes on purpose, once, to prove that it is found.
const (
	sabotageTwice = "twice" // a server notes a run twice
	sabotageDrop  = "drop"  // a server does not run a cast
	sabotageLate  = "late"  // a client is kept past its time
	sabotageWrong = "wrong" // an error without a code
	sabotageLeave = "leave" // a file is left
)

// settings are what an application is told.
type settings struct {
	Role, Name, URL  string
	Drivers, Runtime string
	Ledger, Log      string   // files
	Servers          []string // that a client calls by their names
	Sabotage         string
	Idle             bool          // a client makes requests only when it is told to
	Concurrency      int           // of a server
	Backoff          time.Duration // before a driver is started again
}

// args are those of every method.
type args struct {
	ID    string `json:"id"`
	Sleep int    `json:"sleep"` // of the handler, in milliseconds
}

// work is a call that gives its id back, note a cast and tell a fanout.
var (
	work = messaging.Method[args, string]{Name: "work"}
	note = messaging.Method[args, string]{Name: "note"}
	tell = messaging.Method[args, string]{Name: "tell"}
)

// application is what both roles have.
type application struct {
	settings
	orders    *testbed.Orders
	host      *messaging.Host
	transport *messaging.Transport
	ledger    *os.File
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	a := &application{settings: s, orders: orders}
	if a.Role == roleAttacker {
		return actAsAttackers(a.URL, orders)
	}
	logFile, err := appendTo(a.Log)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	if a.ledger, err = appendTo(a.Ledger); err != nil {
		return err
	}
	defer func() { _ = a.ledger.Close() }()
	logger := slog.New(slog.NewTextHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{a.Drivers}, RuntimeDir: a.Runtime, Trust: messaging.TrustOff, Logger: logger,
		Supervision: messaging.Supervision{BreakerFailures: -1, DrainTimeout: 5 * time.Second, ProbationTime: time.Second, BackoffMin: a.Backoff, BackoffMax: time.Second},
	})
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if a.transport, err = messaging.Open(ctx, a.URL, &messaging.Options{Host: a.host, Logger: logger, AppName: a.Name}); err != nil {
		return err
	}
	if a.Role == roleServer {
		return a.serve(ctx)
	}
	return a.load()
}

func appendTo(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// obey follows the orders of the test until it is told to stop.
func (a *application) obey(commands map[string]testbed.Command) error {
	commands["reload"] = testbed.Do(a.reload)
	return a.orders.Obey(commands)
}

func (a *application) reload() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return a.transport.Reload(ctx)
}

// close ends the transport, and makes sure of what was written.
func (a *application) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return a.transport.Close(ctx)
}

// lastWords are what an application says of itself as it stops.
type lastWords struct {
	Stats      string
	Duplicates uint64 // requests that a server had run before
}

// line is one of a ledger. Times are in nanoseconds of the machine's clock.
type line struct {
	ID   string `json:"id"`
	At   int64  `json:"at"`
	Kind string `json:"kind,omitempty"` // of a request
	To   string `json:"to,omitempty"`   // the server it is for, if for one
	Done bool   `json:"done,omitempty"` // it came to its end
	Took int64  `json:"took,omitempty"`
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
}

// write appends a line at once: what was written stays when the process is killed.
func (a *application) write(l line) {
	text, err := json.Marshal(l)
	if err == nil {
		_, err = a.ledger.Write(append(text, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}
