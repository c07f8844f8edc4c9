// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

func testDriver() driver.Driver {
	return BaseDriver{Info: driver.Info{
		Name: "test", Version: "1.2.3", Summary: "does nothing",
		Capabilities: []driver.Capability{driver.CapRPC},
		Options:      []driver.OptionSpec{{Name: "o", Type: driver.OptionInt, Default: "1"}},
	}}
}

// start runs the driver as a person would, with arguments.
func start(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut strings.Builder
	status = run(testDriver(), nil, args, &out, &errOut)
	return status, out.String(), errOut.String()
}

func TestStartedByHandItSaysWhatItIs(t *testing.T) {
	t.Setenv(bridge.Handshake().MagicCookieKey, "")
	status, stdout, stderr := start(t)
	if status != 1 || stdout != "" {
		t.Errorf("status %d, standard output %q", status, stdout)
	}
	for _, text := range []string{"parley-driver-test 1.2.3: does nothing", "PARLEY_DRIVER_PATH", "parley-driver-test describe"} {
		if !strings.Contains(stderr, text) {
			t.Errorf("%q is missing in %q", text, stderr)
		}
	}
}

func TestDescribePrintsJSON(t *testing.T) {
	status, stdout, stderr := start(t, "describe")
	var d Description
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || status != 0 || stderr != "" {
		t.Fatalf("status %d, %v, %q", status, err, stderr)
	}
	if d.Name != "test" || len(d.Options) != 1 || len(d.ProtocolMajors) != 1 || d.SDKVersion == "" {
		t.Errorf("got %+v", d)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"--serve", "now"}, {"--debugger"}, {"--debug", "now"}, {"describe", "--debug"}, {""}} {
		status, stdout, stderr := start(t, args...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, fmt.Sprintf("unknown arguments %q", args)) {
			t.Errorf("%q: status %d: %s", args, status, stderr)
		}
	}
	for _, help := range []string{"--help", "-h", "help"} {
		status, stdout, stderr := start(t, help)
		for _, text := range []string{"started by hand", "parley-driver-test describe", "parley-driver-test --debug"} {
			if status != 0 || stderr != "" || !strings.Contains(stdout, text) {
				t.Errorf("%s: status %d, %q is missing: %s%s", help, status, text, stdout, stderr)
			}
		}
	}
}

func TestBaseTypesRefuse(t *testing.T) {
	ctx := context.Background()
	if _, err := testDriver().Open(ctx, driver.Config{}); driver.ReasonOf(err) != driver.ReasonUnsupported {
		t.Error(err)
	}
	c := BaseConn{}
	_, listen := c.Listen(ctx, driver.Source{Kind: driver.SourceServer})
	for name, err := range map[string]error{"send": c.Send(ctx, nil), "listen": listen, "ping": c.Ping(ctx)} {
		if driver.ReasonOf(err) != driver.ReasonUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

func isOver(l *lifeline) bool {
	select {
	case <-l.over():
		return true
	default:
		return false
	}
}

// advance lets time go by in a bubble of package synctest.
func advance(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func TestLifelineWaitsForAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLifeline(slog.New(slog.DiscardHandler))
		advance(sessionGrace - 1)
		l.sessionStarted()
		advance(10 * sessionGrace)
		if isOver(l) {
			t.Error("it ended during a session")
		}
		l.sessionEnded()
		advance(sessionGrace - 1)
		l.sessionStarted()
		advance(sessionGrace)
		if isOver(l) {
			t.Error("a new session did not count")
		}
		l.sessionEnded()
		advance(sessionGrace + 1)
		if !isOver(l) {
			t.Error("it lives on without a session")
		}
	})
}

func TestLifelineEndsWithThePipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := newLifeline(slog.New(slog.DiscardHandler))
	go l.watch(r)
	if isOver(l) {
		t.Error("it ended with the pipe open")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-l.over() // or the test times out
}
