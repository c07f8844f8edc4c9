// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

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
	host      *messaging.Host
	transport *messaging.Transport
	ledger    *ledgerFile
}

// actAsApp is an application until it is told to stop.
func actAsApp(text string) error {
	a := &application{}
	if err := json.Unmarshal([]byte(text), &a.settings); err != nil {
		return err
	}
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

// obey does what comes in on standard input, and answers each line with one. It returns when it is
// told to stop.
func (a *application) obey(commands map[string]func(string) (string, error)) error {
	say("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		name, arg, _ := strings.Cut(in.Text(), " ")
		do := commands[name]
		if name == "driver" {
			do = func(string) (string, error) { return strconv.Itoa(a.driver()), nil }
		}
		answer, err := do(arg)
		if err != nil {
			answer = "error " + err.Error()
		}
		say(answer)
		if name == "stop" {
			return err
		}
	}
	return errors.New("nobody is left to say what to do")
}

func say(line string) { fmt.Println(strings.ReplaceAll(line, "\n", " ")) }

// driver is the process of the driver, 0 while there is none.
func (a *application) driver() int {
	for _, d := range a.host.Running() {
		return d.PID
	}
	return 0
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
