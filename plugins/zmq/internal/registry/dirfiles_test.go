// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/plugins/internal/testkit"
)

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	name := func(n int) string { return fileOf(dir, n) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	good, err := encodeRecordFile(record(1), process{})
	must(err)
	must(os.WriteFile(name(1), good, 0o600))
	must(os.WriteFile(name(2), []byte(`{"record":`), 0o600))
	must(os.WriteFile(name(3), nil, 0o600))
	must(os.Truncate(name(3), 1<<30)) // sparse
	must(os.Symlink(name(1), name(4)))
	must(syscall.Mkfifo(name(5), 0o600))
	must(os.Mkdir(name(6), 0o700))
	must(os.WriteFile(name(7), good, 0o600)) // another node's
	must(os.WriteFile(filepath.Join(dir, "README"), []byte("hello"), 0o600))
	must(os.WriteFile(filepath.Join(dir, ".hidden"), []byte("hello"), 0o600))
	ignored := 7
	must(os.WriteFile(name(8), nil, 0o600))
	if os.Geteuid() == 0 {
		must(os.WriteFile(name(8), []byte(strings.ReplaceAll(string(good), nodeID(1), nodeID(8))), 0o600))
		must(os.Chown(name(8), 12345, 12345))
	} else {
		t.Log("NOT PROVEN: a file of another user is ignored; that takes root")
	}
	ignored++
	logs := &testkit.Logs{}
	o := dirOptions(dir)
	o.Logger = logs.Logger()
	began := time.Now()
	b := open(t, o)
	for range 5 {
		refresh(t, b)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	if !has(1)(b.View()) {
		t.Errorf("the view has %v", b.View().Records)
	}
	if n := logs.Count("is ignored"); n != ignored {
		t.Errorf("%d lines, want %d:\n%s", n, ignored, logs)
	}
	if err := b.Health(); err != nil {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		o.Insecure = true
		c := open(t, o)
		refresh(t, c)
		if !has(1, 8)(c.View()) {
			t.Errorf("with Insecure the view has %v", c.View().Records)
		}
	}
}

func TestForeignFilesAreNotDeleted(t *testing.T) {
	dir := t.TempDir()
	file := fileOf(dir, 1)
	if err := os.WriteFile(file, []byte(`{"my": "data"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	setTime(t, file, time.Now().Add(-24*time.Hour))
	temp := filepath.Join(dir, tempPrefix+nodeID(2)+tempSuffix)
	if err := os.WriteFile(temp, []byte(`{"record`), 0o600); err != nil {
		t.Fatal(err)
	}
	setTime(t, temp, time.Now().Add(-24*time.Hour))
	b := open(t, shortDir(dir))
	eventually(t, "what a killed writer left is removed", func() bool { return !exists(temp) })
	refresh(t, b)
	if !exists(file) {
		t.Error("a file that is no record was removed")
	}
}

func FuzzParseRecordFile(f *testing.F) {
	good, err := encodeRecordFile(record(1), thisProcess())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"record":{"node":"x"}}`))
	f.Add([]byte(`{"record":{"node":"00000000000000000000000000000002","targets":[{"kind":9}]}}`))
	f.Add([]byte(`null`))
	name := nodeID(1) + recordSuffix
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parseRecordFile(name, text)
		if err != nil {
			return
		}
		again, err := encodeRecordFile(&file.Record, file.Process)
		if err != nil {
			return // it grew above the limit
		}
		same, err := parseRecordFile(name, again)
		if err != nil || !same.Record.equal(&file.Record) || same.Process != file.Process {
			t.Errorf("%s is read as %v, then %v, %v", text, file, same, err)
		}
	})
}
