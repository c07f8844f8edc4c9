// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// spoolChildVariable makes TestSpoolChild an application that notifies with a spool in the directory
// it names, says on standard output what Notify has accepted, and waits to be killed.
// spoolModeVariable is its SpoolOptions.Sync, spoolFirstVariable the number it begins with, or
// "drain" for one that only sends what is stored.
const (
	spoolChildVariable = "PARLEY_NOTIFY_SPOOL"
	spoolModeVariable  = "PARLEY_NOTIFY_SYNC"
	spoolFirstVariable = "PARLEY_NOTIFY_FIRST"
)

// ledgerConn is a broker whose messages are lines of a file, which outlives the process as a broker
// would. It is away every other moment; what is behind the first message of a batch that met that
// fails as well, as with any connection that breaks.
type ledgerConn struct {
	driver.Conn
	file  *os.File
	stays bool
	begun time.Time
}

func (l *ledgerConn) Send(_ context.Context, batch []*driver.Message) error {
	errs := make([]error, len(batch))
	broken := false
	for i, m := range batch {
		broken = broken || !l.stays && time.Since(l.begun)/(7*time.Millisecond)%2 == 0
		if broken {
			errs[i] = away(*m)
			continue
		}
		if _, err := fmt.Fprintf(l.file, "\n%s %s.", eventOf(m), m.UniqueID); err != nil {
			errs[i] = err
		}
	}
	if len(failures(errs)) == 0 {
		return nil
	}
	return &driver.BatchError{Errs: errs}
}

// TestSpoolChild is no test but the application of TestSpoolSurvivesKill.
func TestSpoolChild(t *testing.T) {
	dir := os.Getenv(spoolChildVariable)
	if dir == "" {
		return
	}
	file, err := os.OpenFile(filepath.Join(dir, "arrived"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	first, drain := os.Getenv(spoolFirstVariable), false
	if first == "drain" {
		first, drain = "0", true
	}
	d := memory.New()
	tr := NewTransport(&ledgerConn{Conn: openMemory(t, d), file: file, stays: drain, begun: time.Now()}, nil)
	s, err := OpenSpool(tr, &SpoolOptions{Dir: filepath.Join(dir, "spool"), Sync: SpoolSync(os.Getenv(spoolModeVariable))})
	if err != nil {
		t.Fatal(err)
	}
	if drain {
		eventually(t, "all is sent", func() bool { return s.Stats().Waiting == 0 })
		closeSpool(t, s)
		closeTransport(t, tr)
		return
	}
	n := NewNotifier(tr, &NotifierOptions{Spool: s, Retry: new(int)})
	next, _ := strconv.Atoi(first)
	for ; ; next++ {
		if err := n.Info(context.Background(), strconv.Itoa(next), strings.Repeat("x", rand.IntN(2000))); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintln(os.Stdout, "accepted", next)
		if next%50 == 0 { // so that it is tried again, and kills fall into the replay as well
			tr.states.report(driver.State{Phase: driver.Ready})
		}
	}
}

func spoolChild(t *testing.T, dir, mode, first string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSpoolChild$")
	cmd.Env = append(os.Environ(), spoolChildVariable+"="+dir, spoolModeVariable+"="+mode, spoolFirstVariable+"="+first)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestSpoolSurvivesKill kills an application again and again while it spools and replays, and starts
// it again: all that Notify accepted arrives, in order, and what arrives twice has the same ids.
func TestSpoolSurvivesKill(t *testing.T) {
	for _, mode := range []SpoolSync{SpoolSyncNone, SpoolSyncBatch, SpoolSyncEach} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			accepted := map[int]bool{}
			next := 1
			for range 15 {
				next = killApplication(t, dir, string(mode), next, accepted)
			}
			if out, err := spoolChild(t, dir, string(mode), "drain").Output(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			checkLedger(t, filepath.Join(dir, "arrived"), accepted)
		})
	}
}

// killApplication runs an application for a moment and returns the number for the next one.
func killApplication(t *testing.T, dir, mode string, first int, accepted map[int]bool) int {
	t.Helper()
	cmd := spoolChild(t, dir, mode, strconv.Itoa(first))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	last, lines, limit := first, 0, 20+rand.IntN(200)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break // killed; half a line was not said
		}
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "accepted "); ok {
			last, _ = strconv.Atoi(n)
			accepted[last] = true
			lines++
		}
		if lines == limit {
			time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			lines++
		}
	}
	_, _ = io.Copy(io.Discard, in)
	err = cmd.Wait()
	if status := cmd.ProcessState.String(); err == nil || lines <= limit || status != "signal: killed" {
		t.Fatalf("the application ended by itself: %s", status)
	}
	return last + 2 // the one after was perhaps stored and not said
}

func checkLedger(t *testing.T, path string, accepted map[int]bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ids, last, twice := map[int]string{}, 0, 0
	for line := range strings.Lines(string(data)) {
		line, whole := strings.CutSuffix(strings.TrimSpace(line), ".")
		if !whole {
			continue // a kill cut it, so that nobody was told that it arrived
		}
		event, id, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(event)
		if err != nil {
			t.Fatalf("line %q", line)
		}
		switch known, seen := ids[n]; {
		case seen && known != id:
			t.Errorf("%d arrived with two ids: %s and %s", n, known, id)
		case seen:
			twice++
		case n < last:
			t.Errorf("%d arrived behind %d", n, last)
			ids[n] = id
		default:
			ids[n], last = id, n
		}
	}
	lost := 0
	for n := range accepted {
		if _, ok := ids[n]; !ok {
			lost++
		}
	}
	t.Logf("%d accepted, %d arrived, %d of them again, %d lost", len(accepted), len(ids), twice, lost)
	if lost > 0 || len(accepted) < 300 {
		t.Errorf("%d of %d are lost", lost, len(accepted))
	}
}
