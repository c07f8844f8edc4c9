// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/cost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSmallRun measures little, on the fake driver: every table has its lines, and more costs more.
func TestSmallRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	drivers := t.TempDir()
	if err := os.Chmod(drivers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := build(ctx, filepath.Join(drivers, "parley-driver-fake"), "plugins/fake"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cost.json")
	var out strings.Builder
	if err := run(ctx, config{drivers: drivers, json: file, runs: 2, listeners: 40, waiting: 200}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in process, no driver", "fake, trust lock, AutoMTLS", "application, transport: fake", "driver: fake", "listener, fake", "waiting call, fake"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r cost.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, u := range r.Units {
		if u.Many.App.Goroutines-u.Few.App.Goroutines < u.N {
			t.Errorf("%s: %d more have %d goroutines after %d", u.What, u.N, u.Many.App.Goroutines, u.Few.App.Goroutines)
		}
		if u.Many.Driver.Goroutines == 0 || u.Many.Driver.PSS == 0 {
			t.Errorf("%s: nothing is known of the driver: %+v", u.What, u.Many.Driver)
		}
	}
	for _, s := range r.Starts {
		for i, total := range s.Total {
			if inside := s.Open[i] + s.Serve[i] + s.Call[i]; inside <= 0 || inside > total {
				t.Errorf("%s: %v of %v", s.What, inside, total)
			}
		}
	}
}

func TestWrongSizesAreRefused(t *testing.T) {
	for _, c := range []config{{runs: 0, listeners: 20, waiting: 20}, {runs: 1, listeners: 19, waiting: 20}, {runs: 1, listeners: 20, waiting: 19}} {
		if err := run(t.Context(), c, nil); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
