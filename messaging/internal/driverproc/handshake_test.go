// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parleymq/parley/messaging/internal/driverlog"
)

func TestParseHandshake(t *testing.T) {
	for line, want := range map[string]bool{
		"1|1|unix|/run/x|grpc":             true,
		"1|1|unix|/run/x|grpc|":            true,
		"1|2|unix|/run/x|grpc|Y2VydA|true": true,
		"  1|1|unix|/run/x|grpc|\r":        true,
		"1|1|tcp|127.0.0.1:1":              true, // the old form, refused later
		"1|1|unix|":                        false,
		"1|1|unix":                         false,
		"-1|1|unix|/run/x|grpc":            false,
		"1|+1|unix|/run/x|grpc":            false,
		"1|1||/run/x|grpc":                 false,
		"1|1|un ix|/run/x|grpc":            false,
		"99999999999|1|unix|/run/x|grpc":   false,
		"step 1|2|unix|x|y":                false,
		"":                                 false,
	} {
		h, ok := parseHandshake(line)
		if ok != want {
			t.Errorf("%q: %v %+v", line, ok, h)
		}
	}
}

func ignoreLine(driverlog.Line) {}

func TestReadHandshake(t *testing.T) {
	const good = "1|1|unix|/run/x|grpc|\n"
	for name, tc := range map[string]struct {
		in    string
		err   error
		noise int
	}{
		"at once":            {good, nil, 0},
		"after noise":        {"hello\n\n\x00\xff\n" + good, nil, 3},
		"99 lines":           {strings.Repeat("x\n", 99) + good, nil, 99},
		"100 lines":          {strings.Repeat("x\n", 100) + good, errTooMuch, 100},
		"long line":          {strings.Repeat("x", 60<<10) + "\n" + good, nil, 1},
		"too long a line":    {strings.Repeat("x", 70<<10) + "\n" + good, errTooMuch, 1},
		"nothing":            {"", errNoHandshake, 0},
		"noise alone":        {"x\ny", errNoHandshake, 2},
		"no line end":        {strings.TrimSpace(good), errOpenLine, 0},
		"longer than a line": {"1|1|unix|/" + strings.Repeat("x", 70<<10) + "|grpc|\n", errTooMuch, 1},
	} {
		h, n, err := readHandshake(driverlog.NewReader(strings.NewReader(tc.in)), ignoreLine)
		if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || n.lines != tc.noise {
			t.Errorf("%s: %v, %d lines of noise", name, err, n.lines)
		}
		if err == nil && h.address != "/run/x" {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestHandshakeRules(t *testing.T) {
	rules := handshakeRules{majors: []int{3, 2}, dir: "/run/d"}
	for line, want := range map[string]string{
		"1|2|unix|/run/d/x|grpc":            "",
		"1|3|unix|/run/d/p/x|grpc|Y2Vy":     "",
		"1|1|unix|/run/d/x|grpc":            "speaks protocol major 1, this host speaks 2, 3: the driver is older",
		"1|4|unix|/run/d/x|grpc":            "speaks protocol major 4, this host speaks 2, 3: the host is older",
		"2|2|unix|/run/d/x|grpc":            "version 2 of go-plugin's handshake",
		"1|2|unix|/run/d/x":                 `serves "netrpc"`,
		"1|2|unix|/run/d/../e|grpc":         "not in its private directory",
		"1|2|unix|/run/d|grpc":              "not in its private directory",
		"1|2|unix|/run/dd/x|grpc":           "not in its private directory",
		"1|2|unix|x|grpc":                   "not in its private directory",
		"1|2|unix|@abstract|grpc":           "not in its private directory",
		"1|2|tcp|127.0.0.1:80|grpc":         `network "tcp"`,
		"1|2|unix|/run/d/x|grpc" + "s":      `serves "grpcs"`,
		"1|2|unix|/run/d//x|grpc|a|b|c|d|e": "not in its private directory",
	} {
		h, ok := parseHandshake(line)
		if !ok {
			t.Errorf("%s: no handshake", line)
			continue
		}
		err := rules.check(h)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", line, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
	if err := (handshakeRules{majors: []int{1, 3}}).otherMajor(2); !strings.Contains(err.Error(), "one of the host's majors") {
		t.Errorf("got %v", err)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte("1|1|unix|/run/d/x|grpc|\n"))
	f.Add([]byte("noise\n\xff\xfe\n1|1|unix|/run/d/x|grpc|cert|true\r\n"))
	f.Add([]byte("1|1|unix|/run/d/../x|grpc"))
	f.Add(bytes.Repeat([]byte("|"), 1000))
	f.Add([]byte("1|1|tcp|1\n"))
	rules := handshakeRules{majors: []int{1}, dir: "/run/d"}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := readHandshake(driverlog.NewReader(bytes.NewReader(in)), ignoreLine)
		if n.lines > maxNoiseLines || len(n.kept) > keptNoiseLines {
			t.Errorf("%d lines of noise, %d kept", n.lines, len(n.kept))
		}
		for _, line := range n.kept {
			if len(line) > 4*keptNoiseBytes || !utf8.ValidString(line) {
				t.Errorf("kept %q", line)
			}
		}
		if err != nil {
			return
		}
		if strings.ContainsAny(h.line, "\n") || strings.Count(h.line, "|") < 3 {
			t.Errorf("handshake %q", h.line)
		}
		if rules.check(h) == nil && (!strings.HasPrefix(h.address, "/run/d/") || strings.Contains(h.address, "/../")) {
			t.Errorf("accepted %q", h.address)
		}
	})
}
