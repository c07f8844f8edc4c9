// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Whatever one line has in it, it becomes one record on one line, which no terminal obeys.
func TestHostileLines(t *testing.T) {
	for name, tc := range map[string]struct {
		line  string
		level string // INFO if empty
		has   string
	}{
		"level is a number":     {line: `{"level":1e400,"msg":"m"}`, has: "msg=m"},
		"level is a list":       {line: `{"level":["error"],"msg":"m"}`, has: "msg=m"},
		"level beyond":          {line: `{"level":"INFO+99999999999999999999","msg":"m"}`, has: "msg=m"},
		"message is null":       {line: `{"level":"warn","msg":null}`, level: "WARN", has: `msg_=null`},
		"message is false":      {line: `{"level":"warn","message":false}`, level: "WARN", has: "msg=false"},
		"message is an object":  {line: `{"@level":"error","@message":{"a":[1]}}`, level: "ERROR", has: `{\"a\":[1]}`},
		"time is an object":     {line: `{"time":{"a":1},"msg":"m"}`, has: "time_.a=1"},
		"time is huge":          {line: `{"ts":1e308,"msg":"m"}`, has: "ts=1e+308"},
		"time before all":       {line: `{"time":"0001-01-01T00:00:00Z","msg":"m"}`, has: "time_=0001"},
		"duplicate keys":        {line: `{"level":"info","level":"error","msg":"a","msg":"b","k":1,"k":2}`, level: "ERROR", has: "msg=b driver=x k=2"},
		"both kinds of keys":    {line: `{"@level":"warn","level":"error","msg":"m"}`, level: "WARN", has: "level_=error"},
		"huge number":           {line: `{"msg":"m","n":` + strings.Repeat("9", 3000) + `}`, has: "n=" + strings.Repeat("9", 3000)},
		"NUL":                   {line: "a\x00b", has: "a?b"},
		"NUL in JSON":           {line: `{"msg":"a\u0000b","k\u0000":"\u0000"}`, has: "a?b"},
		"binary":                {line: "\x7fELF\x02\x01\x01\xff\xfe", has: "?ELF"},
		"colours":               {line: "\x1b[31mERROR\x1b[0m it is red", has: "?[31mERROR?[0m it is red"},
		"title of the terminal": {line: "\x1b]0;owned\x07\x1b[2J", has: "?]0;owned??[2J"},
		"forged record":         {line: `{"msg":"x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}"}`, has: `x\\n{\"level\"`},
		"carriage return":       {line: "good\rlevel=ERROR msg=forged", has: "good?level"},
		"other line ends":       {line: "a\u2028b\u2029c\u0085d", has: "a?b?c?d"},
		"turned around":         {line: "a\u202eb\u2066c", has: "a?b?c"},
		"half of a surrogate":   {line: `{"msg":"a\ud800b"}`, has: "a\uFFFDb"},
		"logfmt":                {line: `level=WARN msg="a\nb" driver=evil pid=1`, level: "WARN", has: `msg=a\nb driver=x driver_=evil pid_=1`},
		"logfmt, bad quotes":    {line: `level=WARN msg="a`, has: `level=WARN`},
		"logfmt, no key":        {line: `level=WARN =x msg=a`, has: "level=WARN"},
		"logfmt, joined":        {line: `level=WARN msg="a"b`, has: "level=WARN"},
		"not all pairs":         {line: `level=WARN msg=a and more`, has: "and more"},
	} {
		var buf bytes.Buffer
		New(slog.New(slog.NewTextHandler(&buf, nil)).With("driver", "x"), time.Now, nil).Read(strings.NewReader(tc.line + "\n"))
		got := buf.String()
		if tc.level == "" {
			tc.level = "INFO"
		}
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, " level="+tc.level+" ") || !strings.Contains(got, tc.has) {
			t.Errorf("%s: got %q, want %q", name, got, tc.has)
		}
		if strings.ContainsAny(got, "\x00\x1b\x07\r\u2028\u202e") || strings.Count(got, " driver=") != 1 {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// A driver that prints a megabyte without a line end costs no megabytes of log.
func TestHostileMegabyte(t *testing.T) {
	text := `{"level":"error","msg":"` + strings.Repeat("\\u0000", 1<<20/6) + `"}` + "\n" + strings.Repeat("\xff", 1<<20) + "\nnext\n"
	got, d := readLog(t, text)
	if len(got) != 3 || got[2]["msg"] != "next" {
		t.Fatalf("%d records", len(got))
	}
	for _, record := range got[:2] {
		if text := record["msg"].(string); len(text) > 4*maxLine || !strings.HasSuffix(text, cutMark) {
			t.Errorf("%d bytes", len(text))
		}
	}
	if lines, _ := d.Tail(); len(lines) != 3 || len(lines[1]) > 2*keptLineBytes {
		t.Errorf("kept %d lines", len(lines))
	}
}

func TestSurvivedCrashIsForgotten(t *testing.T) {
	traceback := "Traceback (most recent call last):\n  File \"x\", line 1\nValueError: bad\n"
	_, d := readLog(t, traceback+strings.Repeat("it goes on\n", keptLines-1))
	if _, fatal := d.Tail(); fatal != "ValueError: bad" {
		t.Errorf("fatal %q", fatal)
	}
	_, d = readLog(t, traceback+strings.Repeat("it goes on\n", keptLines))
	if _, fatal := d.Tail(); fatal != "" {
		t.Errorf("it was survived, yet: %q", fatal)
	}
}

func TestLevelsOfText(t *testing.T) {
	for line, want := range map[string]slog.Level{
		"ERROR something":                               slog.LevelError,
		"[WARN] something":                              slog.LevelWarn,
		"WARNING: something":                            slog.LevelWarn,
		"2026/11/23 07:40:16 ERROR: [core] refused":     slog.LevelError,
		"2026-11-23T07:40:16.388Z [TRACE] drv: frame":   levelTrace,
		"2026-11-23 07:40:16.506 9005 CRITICAL x [-] m": slog.LevelError,
		"2026-11-23 07:40:16 a b c d ERROR":             slog.LevelInfo,
		"ERRORS were found":                             slog.LevelInfo,
		"there was no ERROR":                            slog.LevelInfo,
		"":                                              slog.LevelInfo,
	} {
		if got := levelOfText(line); got != want {
			t.Errorf("%q is %v, want %v", line, got, want)
		}
	}
}
