// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

var bed = testbed.Bed{Also: []string{"zmq", "qpid"}}

func TestMain(m *testing.M) {
	if err := testbed.EndQuickly(); err != nil { // every row ends a driver
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(bed.Main(m, nil))
}

// patience bounds every wait for what must happen, on a machine that does other things.
const patience = 30 * time.Second

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// mustSay checks an error: its sentinel, the texts in it, and that it is one line.
func mustSay(t *testing.T, err, want error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %v", want)
		return
	}
	t.Logf("seen: %v", err)
	if !errors.Is(err, want) {
		t.Errorf("it is not %v but %q", want, messaging.CodeOf(err))
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in it", text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Error("it has more than one line")
	}
}

// writeFile writes a file of the test's own and returns its path.
func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
