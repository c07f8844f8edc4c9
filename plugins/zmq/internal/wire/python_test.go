// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// TestPython has Python's cbor2 read the golden headers and make the same ones: both make the same
// bytes, because both are canonical.
func TestPython(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) != len(goldens()) {
		t.Fatalf("%d golden files for %d packets, %v", len(files), len(goldens()), err)
	}
	cmd := exec.CommandContext(ctx, peertest.Pythons(t)[0].Path, append([]string{"testdata/header.py"}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	made := make(map[string][]byte)
	for line := range strings.Lines(string(out)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if made[name], err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		frames := readFrames(t, file)
		if theirs := made[filepath.Base(file)]; !bytes.Equal(theirs, frames[frameHeader]) {
			t.Errorf("%s: Python makes %x, the golden header is %x", file, theirs, frames[frameHeader])
		}
	}
	p, err := Decode([][]byte{nil, []byte(Version), made["later"], nil, nil})
	if err != nil || !reflect.DeepEqual(p, &Packet{Type: Goodbye}) {
		t.Errorf("the packet of a later version: %+v, %v", p, err)
	}
}
