// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// startFailureCase is a driver that does not start, and what its error must say.
type startFailureCase struct {
	name    string
	script  string // without "#!/bin/sh"
	env     []string
	helper  bool
	timeout time.Duration
	reason  driver.Reason
	texts   []string
}

func TestStartFailures(t *testing.T) {
	for _, tc := range []startFailureCase{
		{
			name: "exits at once", script: "echo no broker library >&2; exit 3\n",
			reason: driver.ReasonDriverGone, texts: []string{"exited with code 3 before its handshake", `"no broker library"`},
		},
		{
			name: "exits and says nothing", script: "exit 0\n",
			reason: driver.ReasonDriverGone, texts: []string{"exited with code 0", "it said nothing", `script for "/bin/sh"`},
		},
		{
			name: "command missing", script: "exec /no/such/program\n",
			reason: driver.ReasonDriverGone, texts: []string{"exited with code 127", "is missing"},
		},
		{
			name: "killed", script: "kill -KILL $$\n",
			reason: driver.ReasonDriverGone, texts: []string{"was killed by signal 9", "by the kernel for lack of memory or by somebody"},
		},
		{
			name: "hangs", script: "echo connecting; echo waiting >&2; exec sleep 1000\n", timeout: time.Second,
			reason: driver.ReasonDriverGone,
			texts:  []string{"printed no handshake in time and was killed, after", `"waiting"`, `standard output: "connecting"`, "raise the start timeout"},
		},
		{
			name: "stops itself", script: "kill -STOP $$\n", timeout: time.Second,
			reason: driver.ReasonDriverGone, texts: []string{"printed no handshake in time"},
		},
		{
			name: "closes its output", script: "exec >&-; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{"closed its standard output without a handshake"},
		},
		{
			name: "endless lines", script: "while :; do echo garbage; done\n",
			reason: driver.ReasonProtocol, texts: []string{"printed 100 lines", "no handshake", `"garbage"`},
		},
		{
			name: "endless line", script: "exec tr '\\0' x </dev/zero\n",
			reason: driver.ReasonProtocol, texts: []string{"printed 1 lines (65537 bytes) and no handshake"},
		},
		{
			name: "binary", script: "exec cat /dev/urandom\n",
			reason: driver.ReasonProtocol, texts: []string{"and no handshake"},
		},
		{
			name: "endless standard error", script: "while :; do echo complaint >&2; done\n", timeout: time.Second,
			reason: driver.ReasonDriverGone, texts: []string{"printed no handshake in time", `"complaint"`},
		},
		{
			name: "no line end", script: "printf '1|1|unix|/tmp/x|grpc|'\n",
			reason: driver.ReasonProtocol, texts: []string{"without a line end", "flush"},
		},
		{
			name: "no line end, and hangs", script: "printf '1|1|unix|/tmp/x|grpc|'; exec sleep 1000\n", timeout: time.Second,
			reason: driver.ReasonProtocol, texts: []string{"without a line end", "flush"},
		},
		{
			name: "net/rpc", script: "echo '1|1|unix|/tmp/x|netrpc'; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{`serves "netrpc"`, "SDK"},
		},
		{
			name: "tcp", script: "echo '1|1|tcp|127.0.0.1:1234|grpc'; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{`listens on network "tcp"`, "PLUGIN_UNIX_SOCKET_DIR"},
		},
		{
			name: "socket elsewhere", script: "echo '1|1|unix|/tmp/x|grpc'; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{`listens at "/tmp/x", which is not in its private directory`},
		},
		{
			name: "no socket", script: "echo \"1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/x|grpc\"; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{"names the socket", "before it prints its handshake"},
		},
		{
			name: "link for a socket", script: "ln -s /dev/log $PLUGIN_UNIX_SOCKET_DIR/x; echo \"1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/x|grpc\"; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{"it is no socket"},
		},
		{
			name: "newer core", script: "echo '2|1|unix|/tmp/x|grpc'; exec sleep 1000\n",
			reason: driver.ReasonProtocol, texts: []string{"version 2 of go-plugin's handshake"},
		},
		{
			name: "newer major", helper: true, env: []string{"HELPER_MAJOR=5"},
			reason: driver.ReasonProtocol, texts: []string{"speaks protocol major 5, this host speaks 1: the host is older", "upgrade the application"},
		},
		{
			name: "older major", helper: true, env: []string{"HELPER_MAJOR=0"},
			reason: driver.ReasonProtocol, texts: []string{"speaks protocol major 0, this host speaks 1: the driver is older", "install a newer version of the driver"},
		},
		{
			name: "huge line", script: "head -c 200000 /dev/zero | tr '\\0' y >&2; echo >&2; echo the end >&2; exit 1\n",
			reason: driver.ReasonDriverGone, texts: []string{"yyy…", `"the end"`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) { testStartFailure(t, tc) })
	}
}

func testStartFailure(t *testing.T, tc startFailureCase) {
	var candidate driverfile.Candidate
	if tc.helper {
		candidate = helperCandidate(t)
	} else {
		candidate = scriptCandidate(t, tc.script)
	}
	c := newClient(t, candidate, func(s *Spec, config *plugin.ClientConfig) {
		s.Env = tc.env
		if tc.timeout != 0 {
			config.StartTimeout = tc.timeout
		}
	})
	began := time.Now()
	err := c.startError(t)
	if took := time.Since(began); tc.timeout != 0 && took > tc.timeout+2*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Log(err)
	hosttest.MustSay(t, err, tc.reason, append(tc.texts, candidate.Path)...)
	if len(err.Error()) > 8000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestNotExecuted(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		texts   []string
	}{
		"interpreter missing": {"#!/no/such/interpreter -x\n", []string{"no such file", `script for "/no/such/interpreter -x"`}},
		"carriage return":     {"#!/bin/sh\r\nexit\r\n", []string{"no such file", "carriage return"}},
		"empty":               {"", []string{"exec format error", "the file is empty"}},
		"text":                {"hello", []string{"exec format error", "neither a program nor a script"}},
		"other machine":       {foreignELF(t), []string{"exec format error", "it is a program for s390x, this machine is"}},
		"damaged":             {"\x7fELF\x02", []string{"exec format error", "damaged ELF"}},
		"windows":             {"MZ\x90\x00", []string{"exec format error", "for Windows"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := hosttest.WriteProgram(t, hosttest.PrivateDir(t), "broken", tc.content)
			c := newClient(t, driverfile.Candidate{Name: "broken", Path: path}, nil)
			err := c.startError(t)
			t.Log(err)
			hosttest.MustSay(t, err, driver.ReasonConfig, append(tc.texts, path, "cannot be executed")...)
		})
	}
}

// foreignELF is the header of a program for a machine that runs no test of ours.
func foreignELF(t *testing.T) string {
	t.Helper()
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x02\x01") // 64 bit, big-endian
	binary.BigEndian.PutUint16(h[16:], 2)
	binary.BigEndian.PutUint16(h[18:], 22) // S/390
	binary.BigEndian.PutUint32(h[20:], 1)
	binary.BigEndian.PutUint16(h[52:], 64)
	binary.BigEndian.PutUint16(h[58:], 64)
	return string(h)
}

func TestProgramFormatOfThisTest(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	if got := describeProgram(exe); !strings.HasPrefix(got, "it is a program for ") || strings.Contains(got, "this machine") {
		t.Errorf("got %q", got)
	}
	if got := describeProgram(filepath.Join(t.TempDir(), "none")); !strings.Contains(got, "cannot be read") {
		t.Errorf("got %q", got)
	}
}

// A file that somebody is writing to is not executed by the kernel: for a moment that is waited
// for, after that it is said.
func TestFileBeingWritten(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration // when the writer closes it; zero for not in time
		text  string
	}{
		{"for a moment", 50 * time.Millisecond, "exited with code 3"},
		{"for long", 0, "somebody is writing to it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			candidate := scriptCandidate(t, "exit 3\n")
			writer, err := os.OpenFile(candidate.Path, os.O_WRONLY, 0)
			must(t, err)
			defer writer.Close() //nolint:errcheck // it may be closed already
			if tc.after > 0 {
				defer time.AfterFunc(tc.after, func() { _ = writer.Close() }).Stop()
			}
			hosttest.MustSay(t, newClient(t, candidate, nil).startError(t), driver.ReasonDriverGone, tc.text)
		})
	}
}
