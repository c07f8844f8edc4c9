// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleServer = "server"
	roleClient = "client"
	topic      = "work"
	// slack is how much later than its time a caller may return, on a machine that does other things.
	slack = 5 * time.Second
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of
	// an application.
	startTimeout = time.Minute
	endTimeout   = 30 * time.Second
)

// The breaks of a promise that an application makes on purpose, once, to prove that it is found.
const (
	sabotageTwice  = "twice"  // a server notes a run twice
	sabotageDrop   = "drop"   // a server does not run a cast
	sabotageMiss   = "miss"   // a server does not hear a fanout
	sabotageLate   = "late"   // a client is kept past its time
	sabotageTold   = "told"   // a client learns late that a call is in doubt
	sabotageWrong  = "wrong"  // an error without a code
	sabotageUntrue = "untrue" // an error that says that nothing was sent
	sabotageLeave  = "leave"  // a file is left
)

// settings are what an application is told.
type settings struct {
	Role, Name, URL  string
	Drivers, Runtime string
	Ledger, Log      string   // files
	Servers          []string // that a client calls by their names
	Sabotage         []string
}

// args are those of every method.
type args struct {
	ID    string `json:"id"`
	From  string `json:"from"`
	At    int64  `json:"at"`    // when the request began
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
	transport *messaging.Transport
	ledger    *os.File

	mu   sync.Mutex
	last map[string]int64 // when the last request began that came through, by what it was; guarded by mu
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	a := &application{settings: s, orders: orders, last: make(map[string]int64)}
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
	host := messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{a.Drivers}, RuntimeDir: a.Runtime, Trust: messaging.TrustOff, Logger: logger,
		Supervision: messaging.Supervision{BreakerFailures: -1, ProbationTime: time.Second},
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if a.transport, err = messaging.Open(ctx, a.URL, &messaging.Options{Host: host, Logger: logger, AppName: a.Name}); err != nil {
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
	commands["reload"] = testbed.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		return a.transport.Reload(ctx)
	})
	commands["last"] = testbed.Say(func() (map[string]int64, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		all := make(map[string]int64, len(a.last))
		for what, at := range a.last {
			all[what] = at
		}
		return all, nil
	})
	return a.orders.Obey(commands)
}

// through notes that a request came through.
func (a *application) through(what string, began int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[what] = max(a.last[what], began)
}

func (a *application) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return a.transport.Close(ctx)
}

// sabotaged reports whether the application breaks this promise, and has not yet.
func (a *application) sabotaged(how string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.Sabotage, how)
	if i < 0 {
		return false
	}
	a.Sabotage = slices.Delete(a.Sabotage, i, i+1)
	return true
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
	Done bool   `json:"done,omitempty"` // it returned
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
