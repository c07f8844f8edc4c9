// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		os.Exit(runHelper())
	}
	goleak.VerifyTestMain(m)
}

// helperVariable makes the test binary a node that announces itself in the directory that it
// names and waits to be killed.
const helperVariable = "PARLEY_REGISTRY_HELPER"

func runHelper() int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r, err := Open(Options{Path: os.Getenv(helperVariable), HasPath: true})
	if err != nil {
		return fail(err)
	}
	if err := r.Publish(context.Background(), *record(os.Getpid())); err != nil {
		return fail(err)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// nodeID is the id of the test's nth node.
func nodeID(n int) string { return fmt.Sprintf("%032x", n+1) }

// record is what the nth node announces.
func record(n int) *Record {
	return &Record{
		Node: nodeID(n), Instance: "i", Name: fmt.Sprint("node ", n), Version: 1,
		Endpoints: []string{fmt.Sprintf("tcp://127.0.0.1:%d", 1000+n%60000)},
		Targets:   []Target{{Kind: driver.SourceServer, Exchange: "openstack", Topic: "t", Server: fmt.Sprint("s", n)}},
	}
}

// version is the nth node's record of that version; all have the same size.
func version(n int, v uint64) *Record {
	rec := record(n)
	rec.Version = v
	rec.Targets[0].Server = fmt.Sprintf("v%09d", v)
	return rec
}

// open opens a registry that is closed with the test.
func open(t testing.TB, o Options) Registry {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, r) })
	return r
}

func shut(t testing.TB, r Registry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Close(ctx); err != nil && driver.ReasonOf(err) != driver.ReasonNotConnected {
		t.Errorf("Close: %v", err)
	}
}

func soon(t testing.TB) context.Context { return within(t, patience) }

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func publish(t testing.TB, r Registry, rec *Record) {
	t.Helper()
	if err := r.Publish(soon(t), *rec); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

func refresh(t testing.TB, r Registry) {
	t.Helper()
	if err := r.Refresh(soon(t)); err != nil {
		t.Fatalf("Refresh: %v", err)
	}
}

// waitView waits, by the documented pattern, for a view that is fine.
func waitView(t testing.TB, r Registry, what string, fine func(*View) bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		changed := r.Changed()
		v := r.View()
		if fine(v) {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("it did not happen: %s; the view has %v, %v; health %v", what, slices.Sorted(maps.Keys(v.Records)), v.Addresses, r.Health())
		}
	}
}

func has(nodes ...int) func(*View) bool {
	return func(v *View) bool {
		if len(v.Records) != len(nodes) {
			return false
		}
		for _, n := range nodes {
			if v.Records[nodeID(n)] == nil {
				return false
			}
		}
		return true
	}
}

// keeps asserts that the view stays fine for as long as d.
func keeps(t testing.TB, r Registry, d time.Duration, what string, fine func(*View) bool) {
	t.Helper()
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		changed := r.Changed()
		if v := r.View(); !fine(v) {
			t.Fatalf("it did not last: %s; the view has %v", what, slices.Sorted(maps.Keys(v.Records)))
		}
		select {
		case <-changed:
		case <-limit.C:
			return
		}
	}
}

// eventually waits for a condition that no channel tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, patience, what, ok)
}
