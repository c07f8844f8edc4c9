// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// helperVariable tells TestKilledRun's child what it is.
const helperVariable = "PARLEY_PEERTEST_HELPER"

// TestKilledRun kills a test run that has peers and looks for what is left.
func TestKilledRun(t *testing.T) {
	if os.Getenv(helperVariable) != "" {
		holdPeers(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledRun$")
	// The helper's directories are the test's, which removes them.
	cmd.Env = append(os.Environ(), helperVariable+"=1", "TMPDIR="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(stdin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	marks := strings.Fields(line)
	if err != nil || len(marks) == 0 {
		t.Errorf("the helper printed %q, %v", line, err)
	}
	for _, mark := range marks {
		if len(marked(mark)) == 0 {
			t.Errorf("no process carries the mark %s: the test proves nothing", mark)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	for _, mark := range marks {
		if !waitGone(ctx, mark) {
			t.Errorf("processes %v outlive the test run that started them", marked(mark))
		}
	}
}

// holdPeers starts peers, tells their marks and waits to be killed.
func holdPeers(t *testing.T) {
	client := RunPythonClient(t, Pythons(t)[0], PythonClientOptions{URL: "rabbit://127.0.0.1:1/"})
	// A child that pays no attention to its standard input.
	mark := client.peer.dir + "/sleep"
	_, err := startProcess(processSpec{name: "sleep", path: "/bin/sleep", args: []string{"300"}, env: []string{markVariable + "=" + mark}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(client.peer.dir, mark)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// waitGone waits until no process carries the mark, or ctx ends.
func waitGone(ctx context.Context, mark string) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(marked(mark)) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
