// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// startHelper starts a process that is node n = its pid in dir.
func startHelper(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the helper printed %q, %v", line, err)
	}
	return cmd
}

// TestKilledProcess leaves a record that is found dead long before its TTL of 15 seconds.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dirOptions(dir))
	cmd := startHelper(t, dir)
	n := cmd.Process.Pid
	waitView(t, b, "the other process is seen", has(n))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	killed := time.Now()
	waitView(t, b, "the killed process goes", has())
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	eventually(t, "its file is removed", func() bool { return !exists(fileOf(dir, n)) })

	stopped := startHelper(t, dir)
	n = stopped.Process.Pid
	waitView(t, b, "another process is seen", has(n))
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	keeps(t, b, 2*time.Second, "a stopped process is not dead", has(n))
}

func TestProcessIdentity(t *testing.T) {
	me := thisProcess()
	if me.Host == "" {
		t.Log("NOT PROVEN: there is no /proc")
		return
	}
	other := me
	other.Start++ // the id is another process's now
	elsewhere := me
	elsewhere.Host = "another boot"
	container := me
	container.Space = "pid:[1]"
	if !me.sees(me) || me.sees(elsewhere) || me.sees(container) || me.sees(process{}) || (process{}).sees(me) {
		t.Error("wrong processes are seen")
	}
	if me.vanished() || me.ended() || !other.ended() {
		t.Errorf("vanished %v, ended %v, another with its id ended %v", me.vanished(), me.ended(), other.ended())
	}
}

// TestSocketWithoutListener is how a record dies that a process in another container wrote.
func TestSocketWithoutListener(t *testing.T) {
	me := thisProcess()
	s := &dirStore{me: me}
	dir := t.TempDir()
	dead, alive := filepath.Join(dir, "dead"), filepath.Join(dir, "alive")
	for _, path := range []string{dead, alive} {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		if path == alive {
			if err := syscall.Listen(fd, 5); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Close(fd) }()
			continue
		}
		if err := syscall.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name      string
		endpoints []string
		host      string
		refused   bool
	}{
		{name: "nobody listens", endpoints: []string{"ipc://" + dead}, host: me.Host, refused: true},
		{name: "somebody listens", endpoints: []string{"ipc://" + alive}, host: me.Host},
		{name: "one of two", endpoints: []string{"ipc://" + dead, "ipc://" + alive}, host: me.Host},
		{name: "not there", endpoints: []string{"ipc://" + dir + "/none"}, host: me.Host},
		{name: "tcp too", endpoints: []string{"ipc://" + dead, "tcp://127.0.0.1:1"}, host: me.Host},
		{name: "another machine", endpoints: []string{"ipc://" + dead}, host: "x"},
		{name: "no endpoint", host: me.Host},
	} {
		file := &recordFile{Record: Record{Endpoints: tc.endpoints}, Process: process{Host: tc.host}}
		if got := s.refused(file); got != tc.refused {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
