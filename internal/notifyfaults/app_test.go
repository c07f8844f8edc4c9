// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleNotifier = "notifier"
	roleListener = "listener"
	topic        = "ledger"
	deadTopic    = "ledger-dead"
	eventType    = "ledger.numbered"
	// notifyTimeout is that of all notifications, longer than any fault.
	notifyTimeout = 3 * time.Minute
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of an
	// application.
	startTimeout = time.Minute
	endTimeout   = 20 * time.Second
)

// The breaks of a promise that an application makes on purpose, once, to prove that it is found.
const (
	sabotageLose  = "lose"  // a listener does not note a notification
	sabotageTwice = "twice" // a listener notes one twice
	sabotageSwap  = "swap"  // a listener notes one after the next of the same publisher
	sabotageFail  = "fail"  // a notifier notes one as failed that is to succeed
	sabotageStray = "stray" // a listener notes one that nobody sent
)

// settings are what an application is told.
type settings struct {
	Role, Name, URL  string
	Drivers, Runtime string
	Ledger, Log      string // files
	Sabotage         string
	Notifies         notifierSettings
	Listens          listenerSettings
}

// application is what both roles have.
type application struct {
	settings
	orders    *testbed.Orders
	host      *messaging.Host
	transport *messaging.Transport
	ledger    *ledgerFile
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	a := &application{settings: s, orders: orders}
	logFile, err := appendTo(a.Log)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	ledger, err := appendTo(a.Ledger)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.Close() }()
	a.ledger = &ledgerFile{file: ledger}
	logger := slog.New(slog.NewTextHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{a.Drivers}, RuntimeDir: a.Runtime, Trust: messaging.TrustOff, Logger: logger,
		// Drivers are killed more often than a breaker would bear with.
		Supervision: messaging.Supervision{BreakerFailures: -1},
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if a.transport, err = messaging.Open(ctx, a.URL, &messaging.Options{Host: a.host, Logger: logger, AppName: a.Name}); err != nil {
		return err
	}
	if a.Role == roleListener {
		return a.listen(ctx)
	}
	return a.notify()
}

func appendTo(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// close ends the transport.
func (a *application) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return a.transport.Close(ctx)
}

// ledgerFile is a ledger that is being written.
type ledgerFile struct {
	mu   sync.Mutex // guards file and text
	file *os.File
	text []byte
}

// write appends an entry at once: what was written stays when the process is killed.
func (l *ledgerFile) write(e entry) {
	if err := l.append(e); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func (l *ledgerFile) append(e entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = e.append(l.text[:0])
	_, err := l.file.Write(l.text)
	return err
}
