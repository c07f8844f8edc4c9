// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// tableOfTargets is the table "which fields are used where", as it stands in Target's
// documentation: the code is checked against what people read.
func tableOfTargets(t *testing.T) map[string]map[string]need {
	t.Helper()
	source, err := os.ReadFile("target.go")
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string]need{"required": required, "optional": optional, "–": refused}
	columns := regexp.MustCompile(`\s{2,}`)
	table := make(map[string]map[string]need)
	var fields []string
	for line := range strings.Lines(string(source)) {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "//\t")
		if !ok {
			continue
		}
		cells := columns.Split(strings.TrimSpace(row), -1)
		if cells[0] == "used by" {
			fields = cells[1:]
			continue
		}
		if len(fields) == 0 || len(cells) != len(fields)+1 {
			continue
		}
		table[cells[0]] = make(map[string]need)
		for i, field := range fields {
			n, ok := needs[cells[i+1]]
			if !ok {
				t.Fatalf("row %q has the cell %q", cells[0], cells[i+1])
			}
			table[cells[0]][field] = n
		}
	}
	return table
}

// roleOfRow is the role of each row.
var roleOfRow = map[string]role{
	"RPC server": roleServer, "RPC client, call": roleCall, "RPC client, cast": roleCast,
	"endpoint": roleEndpoint, "notifier": roleNotifier, "notification listener": roleNotificationListener,
}

// setField sets one field of a target to something valid.
func setField(target *Target, field string) {
	switch field {
	case "exchange":
		target.Exchange = "e"
	case "topic":
		target.Topic = "t"
	case "namespace":
		target.Namespace = "n"
	case "version":
		target.Version = "1.0"
	case "server":
		target.Server = "s"
	case "fanout":
		target.Fanout = true
	}
}

// Each cell of the table: a target with nothing but what is required, and then the field or not.
func TestTargetTable(t *testing.T) {
	table := tableOfTargets(t)
	if len(table) != len(roleOfRow) {
		t.Fatalf("the table has %d rows, want %d", len(table), len(roleOfRow))
	}
	for row, cells := range table {
		if len(cells) != 6 {
			t.Errorf("row %q has %d fields", row, len(cells))
		}
		for field, n := range cells {
			t.Run(row+"/"+field, func(t *testing.T) {
				var with, lacking Target
				for other, need := range cells {
					if need == required && other != field {
						setField(&with, other)
						setField(&lacking, other)
					}
				}
				setField(&with, field)
				checkTarget(t, "with it", with, roleOfRow[row], field, n == refused)
				checkTarget(t, "without it", lacking, roleOfRow[row], field, n == required)
			})
		}
	}
}

func checkTarget(t *testing.T, what string, target Target, r role, field string, wantErr bool) {
	t.Helper()
	err := target.validate(r)
	if (err != nil) != wantErr {
		t.Errorf("%s: %v", what, err)
	}
	if err == nil {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != CodeInvalidTarget || !strings.Contains(e.Message, field) || e.Hint == "" {
		t.Errorf("%s: an error that does not say what to do with %s: %#v", what, field, err)
	}
}

// What is not about one field of one role.
func TestTargetLimits(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name   string
		target Target
		want   string // part of the message; empty for a good target
	}{
		{"plain", Target{Topic: "compute.host-1_a", Server: "host.example"}, ""},
		{"unicode", Target{Topic: "größe", Namespace: "名"}, ""},
		{"longest", Target{Topic: long[:100], Server: long[:100], Exchange: long[:127], Namespace: long[:255]}, ""},
		{"topic and server too long", Target{Topic: long[:100], Server: long[:101]}, "longer than 200 bytes"},
		{"exchange too long", Target{Topic: "t", Exchange: long[:128]}, "longer than 127 bytes"},
		{"namespace too long", Target{Topic: "t", Namespace: long[:256]}, "longer than 255 bytes"},
		{"length is of bytes", Target{Topic: strings.Repeat("ä", 101)}, "longer than 200 bytes"},
		{"NUL", Target{Topic: "a\x00b"}, "control character"},
		{"line break", Target{Topic: "t", Server: "a\nb"}, "control character"},
		{"C1 control", Target{Topic: "t", Exchange: "a\u0085b"}, "control character"},
		{"not UTF-8", Target{Topic: "a\xffb"}, "not UTF-8"},
		{"star", Target{Topic: "a.*.b"}, "wildcard"},
		{"hash", Target{Topic: "t", Server: "#"}, "wildcard"},
		{"a star within a word", Target{Topic: "a*b"}, ""},
		{"server and fanout", Target{Topic: "t", Server: "s", Fanout: true}, "both server and fanout"},
		{"version", Target{Topic: "t", Version: "1"}, "not a version"},
		{"version in words", Target{Topic: "t", Version: "5.a"}, "not a version"},
		{"version of four parts", Target{Topic: "t", Version: "1.2.3.4"}, "not a version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.target.validate(roleCast)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// The table is enforced before any I/O, wherever a target is used.
func TestTargetIsCheckedBeforeIO(t *testing.T) {
	r := newRig(t, nil)
	r.faults.onSend = nil
	bad := Target{Server: "s"}
	for name, err := range map[string]error{
		"call":  NewRPCClient(r.Transport, bad, nil).Call(t.Context(), "m", nil, nil),
		"cast":  NewRPCClient(r.Transport, bad, nil).Cast(t.Context(), "m", nil),
		"serve": NewRPCServer(r.Transport, bad, nil).Serve(t.Context()),
	} {
		if !errors.Is(err, ErrInvalidTarget) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := r.faults.listens.Load(); n != 0 {
		t.Errorf("listened %d times", n)
	}
	if n := r.Stats(); n.Calls != 0 || n.Casts != 0 {
		t.Errorf("%+v", n)
	}
}
