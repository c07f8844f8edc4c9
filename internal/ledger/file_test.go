// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
)

// TestRead is about what a process leaves that was killed as it wrote.
func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       int
		broken     bool
	}{
		{name: "nothing"},
		{name: "whole lines", text: `{"id":"a"}` + "\n" + `{"id":"b"}` + "\n", want: 2},
		{name: "the last line is cut off", text: `{"id":"a"}` + "\n" + `{"id":"b"}`, want: 1},
		{name: "a line in the middle is none", text: `{"id":` + "\n" + `{"id":"b"}` + "\n", broken: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ledger")
			testbed.Must(t, os.WriteFile(file, []byte(tc.text), 0o600))
			lines, err := Read(file)
			if (err != nil) != tc.broken || len(lines) != tc.want {
				t.Errorf("%d lines and %v, want %d", len(lines), err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), file) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
}

// TestFile adds to what is there: an application may start again with its ledger.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	want := []Line{{ID: "a", At: 1, Kind: Call, To: "s"}, {ID: "a", At: 1, Done: true, Took: 2, Code: "c", Text: "x\ny"}}
	for _, l := range want {
		f, err := Create(name)
		testbed.Must(t, err)
		f.write(l)
		testbed.Must(t, f.Close())
	}
	got, err := Read(name)
	testbed.Must(t, err)
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("read %+v, written %+v", got, want)
	}
}
