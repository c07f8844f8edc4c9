// SPDX-License-Identifier: Apache-2.0

package messagingrouting_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingrouting"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// outlet records what it gets, and fails if it is to.
type outlet struct {
	mu  sync.Mutex
	got []string // guarded by mu
	err error
}

func (o *outlet) Notify(_ context.Context, n *messaging.Notification) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, n.EventType)
	return o.err
}

func (o *outlet) events() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

const patience = 20 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// parsed is a router by rules that do not change.
func parsed(t *testing.T, text string, outlets map[string]messaging.Outlet) *messagingrouting.Router {
	t.Helper()
	routes, err := messagingrouting.Parse("f", text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := messagingrouting.New(routes, &messagingrouting.Options{Outlets: outlets, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestThroughANotifier routes between the broker and an outlet of the application.
func TestThroughANotifier(t *testing.T) {
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	own := &outlet{}
	r := parsed(t, `
all:
  messagingv2: {accepted_priorities: [error]}
bills:
  billing: {accepted_events: ["*.exists"]}
  messagingv2: {accepted_events: ["*.exists"]}
`, map[string]messaging.Outlet{"billing": own})
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Outlets: []messaging.Outlet{r}})
	for _, err := range []error{
		n.Info(t.Context(), "compute.start", nil), n.Info(t.Context(), "compute.exists", nil),
		n.Error(t.Context(), "compute.exists", nil), n.Error(t.Context(), "compute.start", nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := own.events(); !slices.Equal(got, []string{"compute.exists", "compute.exists"}) {
		t.Errorf("billing got %v", got)
	}
	var sent []string
	for _, s := range broker.Sent(messagingtest.Match{Kind: driver.Notification}) {
		sent = append(sent, s.Priority+" "+s.EventType)
	}
	if want := []string{"info compute.exists", "error compute.exists", "error compute.start"}; !slices.Equal(sent, want) {
		t.Errorf("sent %v, want %v", sent, want)
	}
}

// TestFireAndForgetDoesNotWait proves that a broker behind a router is as fast as one without.
func TestFireAndForgetDoesNotWait(t *testing.T) {
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, nil)
	results := make(chan error, 2)
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
		Outlets:  []messaging.Outlet{parsed(t, "g: {messagingv2: {}}", nil)},
		OnResult: func(_ *messaging.Notification, err error) { results <- err },
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	broker.Delay(messagingtest.Match{EventType: "held"}, time.Hour)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		n.NotifyAndForget(ctx, messaging.PriorityInfo, "held", nil)
	}()
	select {
	case <-returned:
	case err := <-results:
		t.Fatalf("it waited for its result: %v", err)
	case <-time.After(patience):
		t.Fatal("it waits")
	}
	cancel()
	if err := <-results; err == nil {
		t.Error("what was held is said to be sent")
	}
}

// TestOneFailureIsNotAll has two outlets that fail between others.
func TestOneFailureIsNotAll(t *testing.T) {
	bad, worse, good := &outlet{err: errors.New("bad")}, &outlet{err: errors.New("worse")}, &outlet{}
	r := parsed(t, "g: {bad: {}, good: {}, worse: {}}", map[string]messaging.Outlet{"bad": bad, "good": good, "worse": worse})
	err := r.Notify(t.Context(), &messaging.Notification{EventType: "x", Priority: messaging.PriorityInfo})
	if !errors.Is(err, bad.err) || !errors.Is(err, worse.err) || len(good.events()) != 1 {
		t.Errorf("got %v, good got %v", err, good.events())
	}
	n := messaging.NewNotifier(messagingtest.NewTransport(t), &messaging.NotifierOptions{Outlets: []messaging.Outlet{good, r}})
	if err := n.Info(t.Context(), "x", nil); !errors.Is(err, bad.err) || !errors.Is(err, worse.err) || len(good.events()) != 3 {
		t.Errorf("by a notifier: %v, good got %v", err, good.events())
	}
}

func TestEnabled(t *testing.T) {
	tr := messagingtest.NewTransport(t)
	for text, want := range map[string]bool{
		"{}": false, "g: {}": false, "g: {noop: {}}": false, "g: {noop: {}, log: {}}": true, "g: {messagingv2: {accepted_events: []}}": true,
		"g: {inner: {}}": false,
	} {
		inner := parsed(t, "g: {noop: {}}", nil)
		r := parsed(t, text, map[string]messaging.Outlet{"inner": inner})
		n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Outlets: []messaging.Outlet{r, messaging.NoopOutlet()}})
		if r.Enabled() != want || n.Enabled() != want {
			t.Errorf("%s: %v, by a notifier %v", text, r.Enabled(), n.Enabled())
		}
	}
}

// TestOwnOutletsWin lets the application have a "log" of its own.
func TestOwnOutletsWin(t *testing.T) {
	own := &outlet{}
	r := parsed(t, "g: {log: {}}", map[string]messaging.Outlet{"log": own})
	if err := r.Notify(t.Context(), &messaging.Notification{EventType: "x"}); err != nil || len(own.events()) != 1 {
		t.Errorf("got %v, %v", err, own.events())
	}
	if _, err := messagingrouting.New(mustParse(t, "g: {kafka: {}}"), nil); !errors.Is(err, messaging.ErrConfig) {
		t.Errorf("an unknown outlet: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func mustParse(t *testing.T, text string) *messagingrouting.Routes {
	t.Helper()
	r, err := messagingrouting.Parse("f", text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// records counts log records by level and text.
type records struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (r *records) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, string(p))
	return len(p), nil
}

func (r *records) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, line := range r.all {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace is what editors and configuration management do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	must(t, os.Rename(path+".new", path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rules is a file that gives everything to one outlet.
func rules(name string) string { return "g:\n  " + name + ": {}\n" }

// opened is a router that follows a file, at the outlets a, b and c; its interval is too long to help.
func opened(t *testing.T, path string) (*messagingrouting.Router, *records) {
	t.Helper()
	log := &records{}
	r, err := messagingrouting.Open(path, &messagingrouting.Options{
		Outlets: map[string]messaging.Outlet{"a": &outlet{}, "b": &outlet{}, "c": &outlet{}}, Logger: log.logger(), CheckInterval: time.Hour,
	})
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()); must(t, r.Close()) })
	return r, log
}

// follows waits until everything goes to one outlet.
func follows(t *testing.T, r *messagingrouting.Router, name string) {
	t.Helper()
	eventually(t, "rules with "+name, func() bool {
		s := r.Status()
		return s.Err == nil && slices.Equal(s.Routes.Outlets(), []string{name})
	})
}

func TestReload(t *testing.T) {
	t.Run("written in place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, rules("a"))
		r, _ := opened(t, path)
		write(t, path, rules("b"))
		follows(t, r, "b")
		write(t, path, rules("a"))
		follows(t, r, "a")
	})
	t.Run("replaced", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, rules("a"))
		r, log := opened(t, path)
		for _, name := range []string{"b", "c", "a"} {
			replace(t, path, rules(name))
			follows(t, r, name)
		}
		if r.Status().Loads != 4 || log.count("routing file read") != 3 {
			t.Errorf("%d loads, %d records", r.Status().Loads, log.count("routing file read"))
		}
	})
	t.Run("gone and back", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, rules("a"))
		r, log := opened(t, path)
		must(t, os.Remove(path))
		eventually(t, "an error", func() bool { return errors.Is(r.Status().Err, os.ErrNotExist) })
		if got := r.Status().Routes.Outlets(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the rules are for %v", got)
		}
		write(t, path, rules("a"))
		follows(t, r, "a")
		if log.count("level=ERROR") != 1 {
			t.Errorf("logged: %v", log.all)
		}
	})
	t.Run("ConfigMap", func(t *testing.T) { testConfigMap(t) })
	t.Run("link into another directory", func(t *testing.T) {
		here, there := t.TempDir(), t.TempDir()
		write(t, filepath.Join(there, "real"), rules("a"))
		must(t, os.Symlink(filepath.Join(there, "real"), filepath.Join(here, "f")))
		r, _ := opened(t, filepath.Join(here, "f"))
		write(t, filepath.Join(there, "real"), rules("b"))
		follows(t, r, "b")
		replace(t, filepath.Join(there, "real"), rules("c"))
		follows(t, r, "c")
	})
	t.Run("by the interval alone", func(t *testing.T) {
		root := t.TempDir()
		path := filepath.Join(root, "d", "f")
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
		write(t, path, rules("a"))
		r, err := messagingrouting.Open(path, &messagingrouting.Options{
			Outlets: map[string]messaging.Outlet{"a": &outlet{}, "b": &outlet{}}, Logger: slog.New(slog.DiscardHandler), CheckInterval: 20 * time.Millisecond,
		})
		must(t, err)
		defer func() { must(t, r.Close()) }()
		must(t, os.RemoveAll(filepath.Dir(path))) // and the watch with it
		eventually(t, "an error", func() bool { return r.Status().Err != nil })
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
		write(t, path, rules("b"))
		follows(t, r, "b")
	})
}

// testConfigMap turns links as Kubernetes does with a mounted ConfigMap: the file is a link to
// ..data/file, ..data is one to a directory, and a new ..data is renamed over the old.
func testConfigMap(t *testing.T) {
	dir := t.TempDir()
	turn := func(i int, text string) {
		version := fmt.Sprintf("..2026_%d", i)
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "f"), text)
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if i > 0 {
			must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", i-1))))
		}
	}
	turn(0, rules("a"))
	must(t, os.Symlink(filepath.Join("..data", "f"), filepath.Join(dir, "f")))
	r, _ := opened(t, filepath.Join(dir, "f"))
	for i, name := range []string{"b", "c", "a", "b"} {
		turn(i+1, rules(name))
		follows(t, r, name)
	}
}

// TestAWrongFileChangesNothing has each kind of wrong file, and looks that each is logged once.
func TestAWrongFileChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, rules("a"))
	log := &records{}
	r, err := messagingrouting.Open(path, &messagingrouting.Options{
		Outlets: map[string]messaging.Outlet{"a": &outlet{}, "b": &outlet{}}, Logger: log.logger(), CheckInterval: 10 * time.Millisecond,
	})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	for i, tc := range []struct{ text, want string }{
		{"g: {a: [", path},
		{"g:\n  kafka: {}\n", path + `:2: nobody knows the outlet "kafka"`},
		{"g:\n  b:\n    accepted: []\n", path + ":3: "},
		{"", path + ": the file has become empty; write {}"},
		{"# nothing", path + ": the file has become empty; write {}"},
		{strings.Repeat("#", messagingrouting.MaxFileSize+1), "larger than"},
	} {
		replace(t, path, tc.text)
		eventually(t, "the error of "+tc.want, func() bool { e := r.Status().Err; return e != nil && strings.Contains(e.Error(), tc.want) })
		if s := r.Status(); !slices.Equal(s.Routes.Outlets(), []string{"a"}) || s.Loads != uint64(i+1) || !errors.Is(s.Err, messaging.ErrConfig) {
			t.Errorf("%s: %+v", tc.want, s)
		}
		if got := r.Choose(t.Context(), &messaging.Notification{}); len(got) != 1 {
			t.Errorf("%s: goes to %v", tc.want, got)
		}
		checks(t, r)
		replace(t, path, rules("a")+strings.Repeat("#", i))
		follows(t, r, "a")
	}
	if n := log.count("level=ERROR"); n != 6 {
		t.Errorf("%d records of six wrong files: %v", n, log.all)
	}
	if log.count("kafka") != 1 {
		t.Errorf("one file is logged %d times", log.count("kafka"))
	}
}

// checks waits for several intervals, and looks that an error stays what it is.
func checks(t *testing.T, r *messagingrouting.Router) {
	t.Helper()
	before := r.Status().Err
	for range 5 {
		<-time.After(12 * time.Millisecond)
	}
	if now := r.Status().Err; now == nil || now.Error() != before.Error() {
		t.Errorf("the error was %v and is %v", before, now)
	}
}

// TestWhileItChanges routes on several goroutines while the file is replaced: each notification
// goes to exactly one outlet, by one state of the file.
func TestWhileItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, rules("a"))
	r, _ := opened(t, path)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if got := r.Choose(context.Background(), &messaging.Notification{EventType: "x", Priority: messaging.PriorityInfo}); len(got) != 1 {
					t.Errorf("%d outlets", len(got))
					return
				}
			}
		})
	}
	for i := range 6 {
		name := string(rune('a' + (i+1)%3))
		replace(t, path, rules(name))
		follows(t, r, name)
	}
	close(stop)
	wg.Wait()
}
