// SPDX-License-Identifier: Apache-2.0

package leftovers

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testprogram"
	"github.com/parleymq/parley/messaging"
)

// hostVariable has the settings of a host, and makes this program act as one.
const hostVariable = "PARLEY_LEFTOVERS_HOST"

// startTimeout is long for what is to succeed on a busy machine.
const startTimeout = 30 * time.Second

// settings are what a host is told.
type settings struct {
	Runtime string   `json:"runtime"`
	Drivers []string `json:"drivers"` // a directory for each driver process
	// End is how it ends when its standard input does: by panic, exec, or else exit.
	End string `json:"end"`
}

// actAsHost opens a transport for each driver, says so, and ends as it was told.
func actAsHost(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	pids, err := s.open()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(pids); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	switch s.End {
	case "panic":
		go func() { panic("the host crashes") }()
		select {}
	case "exec":
		return syscall.Exec("/bin/sh", []string{"sh", "-c", "exit 7"}, nil)
	default:
		os.Exit(7)
		return nil
	}
}

// open opens the transports, which nobody closes.
func (s settings) open() (pids []int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, dir := range s.Drivers {
		host := messaging.NewHost(&messaging.HostOptions{
			DriverPath: []string{dir}, RuntimeDir: s.Runtime, Trust: messaging.TrustOff, Logger: logger,
		})
		if _, err := messaging.Open(ctx, "fake:///", &messaging.Options{Host: host, Isolated: true}); err != nil {
			return nil, err
		}
		for _, d := range host.Running() {
			pids = append(pids, d.PID)
		}
	}
	return pids, nil
}

// host is a host that runs.
type host struct {
	cmd   *exec.Cmd
	stdin io.Closer
	pids  []int // of its drivers
}

// startHost starts a host and waits until its drivers run.
func startHost(t *testing.T, s settings) host {
	t.Helper()
	text, err := json.Marshal(s)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostVariable+"="+string(text))
	var errs logs
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // when the test failed before
		_ = cmd.Wait()
	})
	h := host{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &h.pids)
	}
	if err != nil || len(h.pids) != len(s.Drivers) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the host has drivers %v: %v\n%s", h.pids, err, errs.text())
	}
	return h
}

// driverDirs are the directories of drivers: one with the fake driver, and two in which it is
// started by a script that leaves a child, in its own group or in a session of its own.
type driverDirs struct{ plain, child, session string }

func makeDriverDirs(dir string) (driverDirs, error) {
	d := driverDirs{
		plain: filepath.Join(dir, "plain"), child: filepath.Join(dir, "child"), session: filepath.Join(dir, "session"),
	}
	program := filepath.Join(d.plain, "parley-driver-fake")
	for path, text := range map[string]string{
		d.plain:   "",
		d.child:   "#!/bin/sh\nsleep 1000 &\nexec " + program + "\n",
		d.session: "#!/bin/sh\nsetsid sleep 1000 &\nexec " + program + "\n",
	} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return d, err
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(path, "parley-driver-fake"), []byte(text), 0o755); err != nil {
			return d, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return d, testprogram.Build(ctx, program, "plugins/fake")
}
