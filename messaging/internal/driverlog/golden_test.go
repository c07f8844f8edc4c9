// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readGolden passes a file of a real logger's lines through a log.
func readGolden(t *testing.T, name string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "lines", name))
	if err != nil {
		t.Fatal(err)
	}
	records, _ := readLog(t, string(text))
	if lines := strings.Count(string(text), "\n"); len(records) != lines {
		t.Fatalf("%s: %d records of %d lines", name, len(records), lines)
	}
	return records
}

// captured is when the lines were printed, to the precision of the coarsest logger.
var captured = time.Date(2026, 11, 23, 7, 41, 30, 0, time.UTC)

// hostileText is the message with control characters, after it was made printable.
const hostileText = `two\nlines ?[31mred?[0m ? ? "quoted" end`

func TestRealLoggersWithFields(t *testing.T) {
	for name, tc := range map[string]struct {
		levels string
		// typed: numbers, truths and groups stay what they are; text formats lose them.
		typed bool
		// local: the time has no zone.
		local bool
		// trace is a field that holds a stack or an exception.
		trace string
		// more are fields of the third record.
		more map[string]any
	}{
		"slog.jsonl":                       {levels: "DEBUG INFO WARN ERROR INFO", typed: true, more: map[string]any{"wait": 3e9}},
		"slog.txt":                         {levels: "DEBUG INFO WARN ERROR INFO", more: map[string]any{"wait": "3s"}},
		"zap.jsonl":                        {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, trace: "stacktrace", more: map[string]any{"logger": "pool", "caller": "golden/main.go:73", "wait": 3.0}},
		"zerolog.jsonl":                    {levels: "DEBUG INFO WARN ERROR INFO DEBUG-4 INFO ERROR", typed: true, more: map[string]any{"wait": 3000.0}},
		"zerolog-micro.jsonl":              {levels: "DEBUG INFO WARN ERROR INFO DEBUG-4 INFO ERROR", typed: true},
		"logrus.jsonl":                     {levels: "DEBUG INFO WARN ERROR INFO DEBUG-4 INFO", typed: true},
		"logrus.txt":                       {levels: "DEBUG INFO WARN ERROR INFO DEBUG-4 INFO", more: map[string]any{"wait": "3s"}},
		"hclog.jsonl":                      {levels: "DEBUG INFO WARN ERROR INFO DEBUG-4 INFO", typed: true, more: map[string]any{"@module": "drv.pool"}},
		"python-json-logger.jsonl":         {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, local: true, trace: "exc_info", more: map[string]any{"name": "oslo.driver"}},
		"python-json-logger-levelno.jsonl": {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, trace: "exc_info"},
		"structlog.jsonl":                  {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, trace: "exception"},
		"structlog-local.jsonl":            {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, local: true, trace: "exception"},
		"structlog-unix.jsonl":             {levels: "DEBUG INFO WARN ERROR INFO ERROR", typed: true, trace: "exception"},
	} {
		t.Run(name, func(t *testing.T) {
			records := readGolden(t, name)
			levels := make([]string, 0, len(records))
			for _, r := range records {
				levels = append(levels, fmt.Sprint(r["level"]))
				checkCaptured(t, r, tc.local)
			}
			if got := strings.Join(levels, " "); got != tc.levels {
				t.Errorf("levels %q, want %q", got, tc.levels)
			}
			wantMessages(t, records, "connecting", "connected", "slow", "publish failed", hostileText)
			wantFields(t, records[0], map[string]any{"host": "mq1:5672"})
			if tc.typed {
				wantFields(t, records[0], map[string]any{"attempt": 1.0})
				wantFields(t, records[1], map[string]any{"took": 0.25, "tls": true, "peer": map[string]any{"name": "rabbit", "version": "4.1"}})
			} else {
				wantFields(t, records[0], map[string]any{"attempt": "1"})
				wantFields(t, records[1], map[string]any{"took": "0.25", "tls": "true"})
			}
			wantFields(t, records[2], tc.more)
			if tc.trace != "" {
				if text, _ := records[3][tc.trace].(string); !strings.Contains(text, `\n`) {
					t.Errorf("%s is %q", tc.trace, text)
				}
			}
		})
	}
}

// checkCaptured: the record has the logger's own time, and no second field with it.
func checkCaptured(t *testing.T, record map[string]any, local bool) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, record["time"].(string))
	if local {
		at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
	}
	if d := at.Sub(captured); err != nil || d < -time.Minute || d > time.Minute {
		t.Errorf("time %v, want about %v: %v", record["time"], captured, err)
	}
	for _, name := range []string{"time_", "ts", "timestamp", "asctime", "@timestamp"} {
		if v, ok := record[name]; ok {
			t.Errorf("%s is left: %v", name, v)
		}
	}
}

func wantMessages(t *testing.T, records []map[string]any, want ...string) {
	t.Helper()
	for i, text := range want {
		if records[i]["msg"] != text {
			t.Errorf("message %q, want %q", records[i]["msg"], text)
		}
	}
}

func wantFields(t *testing.T, record, want map[string]any) {
	t.Helper()
	for name, v := range want {
		if got := record[name]; fmt.Sprintf("%T%v", got, got) != fmt.Sprintf("%T%v", v, v) {
			t.Errorf("%s is %T %v, want %T %v", name, got, got, v, v)
		}
	}
}

// Lines of text keep their text; of them the level is found.
func TestRealLoggersWithText(t *testing.T) {
	const exception = "ERROR ERROR ERROR ERROR ERROR"
	for name, want := range map[string]string{
		"zap-dev.txt":              "DEBUG INFO WARN ERROR INFO INFO",
		"hclog.txt":                "DEBUG INFO WARN ERROR INFO INFO INFO INFO INFO INFO DEBUG-4 INFO",
		"python-logging-basic.txt": "DEBUG INFO WARN " + exception + " INFO INFO ERROR",
		"python-logging-dated.txt": "DEBUG INFO WARN " + exception + " INFO INFO ERROR",
		"oslo-log.txt":             "DEBUG INFO WARN " + exception + " INFO INFO ERROR",
		"log.txt":                  "INFO",
	} {
		var levels []string
		for _, r := range readGolden(t, name) {
			levels = append(levels, fmt.Sprint(r["level"]))
			if text := r["msg"].(string); strings.ContainsAny(text, "\x00\x1b\u2028") {
				t.Errorf("%s: message %q", name, text)
			}
		}
		if got := strings.Join(levels, " "); got != want {
			t.Errorf("%s: levels\n%q, want\n%q", name, got, want)
		}
	}
}
