// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

var bed testbed.Bed

func TestMain(m *testing.M) { os.Exit(bed.Main(m, nil)) }

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
		t.Fatalf("no error, want %v", want)
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
