// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// readLog passes text through a driver's log and returns the records.
func readLog(t testing.TB, text string) ([]map[string]any, *Log) {
	t.Helper()
	out := &hosttest.Records{}
	d := New(out.Logger().With("driver", "x", "pid", 7), time.Now, nil)
	d.Read(strings.NewReader(text))
	return out.All(t), d
}

func TestDriverLogFormats(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want map[string]any
	}{
		"hclog": {
			`{"@level":"warn","@message":"slow","@module":"m","@timestamp":"2026-01-02T03:04:05.000006Z","took":3}`,
			map[string]any{"level": "WARN", "msg": "slow", "@module": "m", "took": 3.0, "time": "2026-01-02T03:04:05.000006Z"},
		},
		"hclog trace": {`{"@level":"trace","@message":"m"}`, map[string]any{"level": "DEBUG-4", "msg": "m"}},
		"slog": {
			`{"time":"2026-01-02T03:04:05Z","level":"ERROR+1","msg":"no","req":{"id":1,"user":{"name":"n"}},"ok":true}`,
			map[string]any{"level": "ERROR+1", "msg": "no", "ok": true, "req": map[string]any{"id": 1.0, "user": map[string]any{"name": "n"}}},
		},
		"zap": {
			`{"level":"dpanic","ts":1767323045.25,"caller":"a.go:1","msg":"m"}`,
			map[string]any{"level": "ERROR", "msg": "m", "caller": "a.go:1"},
		},
		"zerolog": {`{"level":"debug","time":1767323045,"message":"m"}`, map[string]any{"level": "DEBUG", "msg": "m"}},
		"logrus":  {`{"level":"warning","msg":"m","time":"2026-01-02T03:04:05+01:00"}`, map[string]any{"level": "WARN", "msg": "m"}},
		"pino":    {`{"level":50,"time":1767323045000,"msg":"m"}`, map[string]any{"level": "ERROR", "msg": "m"}},
		"python": {
			`{"asctime": "2026-01-02 03:04:05,678", "levelname": "CRITICAL", "name": "oslo", "message": "m"}`,
			map[string]any{"level": "ERROR", "msg": "m", "name": "oslo"},
		},
		"structlog":        {`{"event":"m","level":"info"}`, map[string]any{"level": "INFO", "msg": "m"}},
		"no level":         {`{"msg":"m"}`, map[string]any{"level": "INFO", "msg": "m"}},
		"unknown level":    {`{"msg":"m","level":"LOUD"}`, map[string]any{"level": "INFO", "msg": "m"}},
		"level is null":    {`{"msg":"m","level":null}`, map[string]any{"level": "INFO", "msg": "m", "level_": "null"}},
		"message no text":  {`{"@message":[1,{"a":2}],"@level":{"x":1}}`, map[string]any{"level": "INFO", "msg": `[1,{"a":2}]`}},
		"taken names":      {`{"@message":"m","driver":"evil","pid":1,"msg":"other"}`, map[string]any{"msg": "m", "driver": "x", "pid": 7.0, "driver_": "evil", "pid_": 1.0, "msg_": "other"}},
		"big number":       {`{"msg":"m","n":123456789012345678901234567890,"f":1e999}`, map[string]any{"f": "1e999"}},
		"time not one":     {`{"msg":"m","time":"soon"}`, map[string]any{"time_": "soon"}},
		"time far away":    {`{"msg":"m","ts":1e300}`, map[string]any{"ts": 1e300}},
		"empty group":      {`{"msg":"m","g":{}}`, map[string]any{"g": "{}"}},
		"plain":            {`connected to broker`, map[string]any{"level": "INFO", "msg": "connected to broker"}},
		"object, no log":   {`{"a":1}`, map[string]any{"level": "INFO", "msg": `{"a":1}`}},
		"two objects":      {`{"msg":"a"} {"msg":"b"}`, map[string]any{"level": "INFO", "msg": `{"msg":"a"} {"msg":"b"}`}},
		"half an object":   {`{"msg":"a"`, map[string]any{"level": "INFO", "msg": `{"msg":"a"`}},
		"bad UTF-8":        {"a\xffb\x1b[31m", map[string]any{"msg": "a\uFFFDb?[31m"}},
		"bad UTF-8 inside": {"{\"msg\":\"a\xffb\",\"k\xff\":\"\xfe\"}", map[string]any{"msg": "a\uFFFDb"}},
	} {
		got, _ := readLog(t, tc.line+"\n")
		if len(got) != 1 {
			t.Errorf("%s: %d records: %v", name, len(got), got)
			continue
		}
		for k, v := range tc.want {
			if fmt.Sprint(got[0][k]) != fmt.Sprint(v) {
				t.Errorf("%s: %s is %v, want %v, in %v", name, k, got[0][k], v, got[0])
			}
		}
		if got[0]["driver"] != "x" || got[0]["pid"] != 7.0 {
			t.Errorf("%s: driver and pid are missing: %v", name, got[0])
		}
	}
}

func TestDriverLogTimes(t *testing.T) {
	got, _ := readLog(t, `{"level":"info","ts":1767323045.25,"msg":"m"}`+"\n")
	at, err := time.Parse(time.RFC3339Nano, got[0]["time"].(string))
	if err != nil || !at.Equal(time.Unix(1767323045, 250e6)) {
		t.Errorf("time %v, %v", at, err)
	}
}

func TestDriverLogDeep(t *testing.T) {
	for _, depth := range []int{5, 50, 5000, 20000} {
		line := `{"msg":"m","deep":` + strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) + "}"
		got, _ := readLog(t, line+"\n")
		if len(got) != 1 {
			t.Errorf("depth %d: %d records", depth, len(got))
		}
	}
	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, `,"f%03d":%d`, i, i)
	}
	got, _ := readLog(t, `{"msg":"m"`+many.String()+"}\n")
	if got[0]["fields_dropped"] != float64(500-maxFields) || got[0]["f000"] != 0.0 {
		t.Errorf("got %v", got[0])
	}
}

func TestDriverLogLongLine(t *testing.T) {
	long := strings.Repeat("a", 3*maxLine)
	got, d := readLog(t, "first\n"+long+"\nlast\n"+`{"msg":"`+long+`"}`+"\nreally last")
	if len(got) != 5 || got[2]["msg"] != "last" || got[4]["msg"] != "really last" {
		t.Fatalf("%d records", len(got))
	}
	for _, i := range []int{1, 3} {
		text, _ := got[i]["msg"].(string)
		if !strings.HasSuffix(text, cutMark) || len(text) > maxLine+len(cutMark) {
			t.Errorf("record %d has %d bytes", i, len(text))
		}
	}
	lines, _ := d.Tail()
	if len(lines) != 5 || len(lines[1]) > keptLineBytes+10 {
		t.Errorf("tail %d", len(lines))
	}
}

const goPanic = `starting
panic: boom [recovered]
	panic: boom again

goroutine 1 [running]:
main.main()
	/src/main.go:5 +0x18
created by main.start in goroutine 1
	/src/main.go:9 +0x18
exit status 2
`

func TestDriverLogCrashes(t *testing.T) {
	got, d := readLog(t, goPanic+`{"level":"info","msg":"next"}`+"\nplain\n")
	for i, m := range got {
		want := "ERROR"
		if i == 0 || i >= len(got)-2 {
			want = "INFO"
		}
		if m["level"] != want {
			t.Errorf("%v, want %s", m, want)
		}
	}
	if _, fatal := d.Tail(); fatal != "panic: boom [recovered]" {
		t.Errorf("fatal %q", fatal)
	}

	got, d = readLog(t, "Traceback (most recent call last):\n  File \"x\", line 1\n    f()\nValueError: bad\nplain\n")
	for i, want := range []string{"ERROR", "ERROR", "ERROR", "ERROR", "INFO"} {
		if got[i]["level"] != want {
			t.Errorf("%v, want %s", got[i], want)
		}
	}
	if _, fatal := d.Tail(); fatal != "ValueError: bad" {
		t.Errorf("fatal %q", fatal)
	}

	// A stack that a driver prints and survives does not colour what follows.
	got, d = readLog(t, "goroutine 7 [running]:\nmain.f(0x1)\n\t/src/f.go:1\n\nall is well\nstill\n")
	if got[len(got)-1]["level"] != "INFO" {
		t.Errorf("got %v", got)
	}
	if _, fatal := d.Tail(); fatal != "" {
		t.Errorf("fatal %q", fatal)
	}
}

func TestDriverLogTail(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "line %d\n\n", i)
	}
	_, d := readLog(t, text.String())
	lines, _ := d.Tail()
	if len(lines) != keptLines || lines[0] != "line 80" || lines[keptLines-1] != "line 99" {
		t.Errorf("tail %q", lines)
	}
}

func TestDriverLogRate(t *testing.T) {
	out := &hosttest.Records{}
	now := time.Unix(1000, 0)
	d := New(out.Logger(), func() time.Time { return now }, nil)
	flood := func(n int) { d.Read(strings.NewReader(strings.Repeat("x\n", n))) }
	flood(logRate)
	if n := len(out.All(t)); n != logRate {
		t.Fatalf("%d records", n)
	}
	flood(500)
	warn := out.With(t, "lines of the driver's log were dropped")
	if warn == nil || warn["lines"] != 500.0 || out.With(t, "the driver logs too much, lines are dropped") == nil {
		t.Errorf("got %v", warn)
	}
	now = now.Add(time.Second)
	before := len(out.All(t))
	flood(10)
	if n := len(out.All(t)) - before; n != 10 {
		t.Errorf("%d records after a second", n)
	}
	if lines, _ := d.Tail(); len(lines) != keptLines {
		t.Errorf("tail %d", len(lines))
	}
}

func TestDriverLogDisabledLevel(t *testing.T) {
	var buf bytes.Buffer
	d := New(slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelWarn})), time.Now, nil)
	d.Read(strings.NewReader("plain\n" + `{"level":"warn","msg":"shown"}` + "\n"))
	if strings.Contains(buf.String(), "plain") || !strings.Contains(buf.String(), "shown") {
		t.Errorf("got %s", buf.String())
	}
	if lines, _ := d.Tail(); len(lines) != 2 {
		t.Errorf("tail %q", lines)
	}
}

func FuzzDriverLog(f *testing.F) {
	f.Add([]byte(`{"@message":{"a":1},"@level":[],"@timestamp":1e999}` + "\n"))
	f.Add([]byte(`{"msg":"m","time":-1,"g":{"":{"":1}},"a":[null,{"b":2}]}` + "\nplain\n"))
	f.Add([]byte(goPanic))
	f.Add([]byte("Traceback (most recent call last):\n x\ny\n\xff\x00\x1b\n"))
	f.Add([]byte(`{"time":253402300800,"level":"INFO+9999999999999"}`))
	f.Add([]byte(`level=WARN msg="a S3cr3t-value" k=` + "\u2028\n" + `{"msg":"S3cr3t-value","level":["S3cr3t-value"]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := &hosttest.Records{}
		secrets := &Secrets{}
		secrets.Add("S3cr3t-value")
		d := New(out.Logger(), time.Now, secrets)
		d.Read(bytes.NewReader(in))
		all := out.All(t) // fails unless every record is JSON on a line of its own
		if lines := bytes.Count(in, []byte("\n")) + 1; len(all) > lines+2 {
			t.Errorf("%d records of %d lines", len(all), lines)
		}
		for _, m := range all {
			if text, ok := m["msg"].(string); ok && (!utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\n\u2028\u202e") || strings.Contains(text, "S3cr3t-value")) {
				t.Errorf("message %q", text)
			}
		}
		lines, fatal := d.Tail()
		for _, line := range append(lines, fatal) {
			if len(line) > 4*keptLineBytes || !utf8.ValidString(line) || strings.Contains(line, "S3cr3t-value") {
				t.Errorf("kept %q", line)
			}
		}
	})
}
