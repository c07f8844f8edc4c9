// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childVariable makes the test binary a process that appends to the spool in the directory it
// names, says on standard output what was acknowledged, and waits to be killed. modeVariable is
// its Options.Sync, firstVariable the number it begins with.
const (
	childVariable = "PARLEY_SPOOL_CHILD"
	modeVariable  = "PARLEY_SPOOL_SYNC"
	firstVariable = "PARLEY_SPOOL_FIRST"
)

// child puts numbers, and settles some of them: "p N" and "d N" say what returned without error.
func child(dir string) int {
	s, err := Open(Options{Dir: dir, Sync: os.Getenv(modeVariable), MaxBytes: 8 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	first, _ := strconv.Atoi(os.Getenv(firstVariable))
	for n := first; ; n++ {
		data := fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", rand.IntN(3000)))
		if err := s.Put(context.Background(), "k", data); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("p", n)
		if n%2 == 1 {
			continue
		}
		entries, err := s.Take("k", 1)
		if err != nil || len(entries) != 1 || s.Done(entries[0].ID) != nil {
			fmt.Fprintln(os.Stderr, "take", err)
			return 1
		}
		fmt.Println("d", number(entries[0]))
	}
}

func number(e Entry) string {
	n, _, _ := strings.Cut(string(e.Data), " ")
	return n
}

// TestKill9 kills a process that appends, 30 times in each mode of syncing, at random moments:
// all that was acknowledged is there, whole, and what was settled is not, but for what was
// settled and not yet said.
func TestKill9(t *testing.T) {
	for _, mode := range []string{SyncNone, SyncBatch, SyncEach} {
		t.Run(mode, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Sync: mode, MaxBytes: 8 << 20}
			put, settled := map[string]bool{}, map[string]bool{}
			next, torn := 1, 0
			for range 30 {
				next = killOne(t, o, next, put, settled)
				var logs logBuffer
				o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
				check(t, o, put, settled)
				torn += logs.count("cut off")
			}
			t.Logf("%s: %d acknowledged, %d settled, %d torn ends cut", mode, len(put), len(settled), torn)
			if len(put) < 300 {
				t.Errorf("only %d were put: the test proves little", len(put))
			}
		})
	}
}

// killOne runs a child for a moment and returns the number after its last.
func killOne(t *testing.T, o Options, first int, put, settled map[string]bool) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+o.Dir, modeVariable+"="+o.Sync, firstVariable+"="+strconv.Itoa(first))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	last := first
	limit := 5 + rand.IntN(120)
	var killer *time.Timer
	for lines := 0; ; lines++ {
		line, err := in.ReadString('\n')
		if err != nil {
			break // killed; half a line was not said
		}
		what, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		if what == "p" {
			put[n] = true
			last, _ = strconv.Atoi(n)
		} else {
			settled[n] = true
		}
		if lines == limit {
			killer = time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	_, _ = io.Copy(io.Discard, in)
	_ = cmd.Wait()
	if killer == nil || complaint.Len() > 0 {
		t.Fatalf("the child ended by itself: %s", complaint.String())
	}
	killer.Stop()
	return last + 2 // the one after was perhaps written and not said
}

// check opens the spool, looks at all that is in it, and gives it back.
func check(t *testing.T, o Options, put, settled map[string]bool) {
	t.Helper()
	s := open(t, o)
	defer shut(t, s)
	there, unsaid := map[string]bool{}, 0
	for s.Len("k") > 0 {
		for _, e := range take(t, s, "k", 1000) {
			n := number(e)
			if there[n] {
				t.Fatalf("%s is there twice", n)
			}
			there[n] = true
			if settled[n] {
				t.Errorf("%s was settled and is there", n)
			}
		}
	}
	for n := range put {
		if !there[n] && !settled[n] {
			unsaid++
			settled[n] = true
		}
	}
	if unsaid > 1 { // one may be settled and the process killed before it said so
		t.Fatalf("%d that were acknowledged are lost", unsaid)
	}
}
