// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// driverFile is a driver made of a shell script, and what Open says of it.
type driverFile struct {
	name   string
	script string
	mode   os.FileMode // of the file; 0 is 0755
	dir    os.FileMode // of its directory; 0 is 0755
	want   error
	texts  []string
}

// TestDriverFile opens drivers whose file cannot be trusted, started or talked to.
func TestDriverFile(t *testing.T) {
	const sleep = "exec sleep 1000\n"
	for _, tc := range []driverFile{
		{name: "writable by others", script: sleep, mode: 0o757, want: messaging.ErrConfig,
			texts: []string{"driver bad is refused", "may be written by group or others (mode 0757)", "run: chmod go-w"}},
		{name: "writable by the group", script: sleep, mode: 0o775, want: messaging.ErrConfig,
			texts: []string{"may be written by group or others (mode 0775)", "run: chmod go-w"}},
		{name: "directory writable by others", script: sleep, dir: 0o777, want: messaging.ErrConfig,
			texts: []string{"directory ", "may be written by group or others (mode 0777)", "run: chmod go-w"}},
		{name: "not executable", script: sleep, mode: 0o644, want: messaging.ErrConfig,
			texts: []string{"is not executable (mode 0644)", "run: chmod +x"}},
		{name: "prints garbage", script: "while :; do echo garbage; done\n", want: messaging.ErrInternal,
			texts: []string{"driver bad (", "printed 100 lines", "no handshake", `its standard output: "garbage"`, "is it a driver of Parley?"}},
		{name: "exits at once", script: "echo no broker library >&2; exit 3\n", want: messaging.ErrUnavailable,
			texts: []string{"exited with code 3 before its handshake", `its standard error: "no broker library"`}},
		{name: "exits in silence", script: "exit 0\n", want: messaging.ErrUnavailable,
			texts: []string{"exited with code 0 before its handshake", "it said nothing"}},
		{name: "newer protocol", script: "echo \"1|7|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc\"; " + sleep, want: messaging.ErrInternal,
			texts: []string{"speaks protocol major 7, this host speaks 1: the host is older", "upgrade the application's parley module"}},
		{name: "older protocol", script: "echo \"1|0|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc\"; " + sleep, want: messaging.ErrInternal,
			texts: []string{"speaks protocol major 0, this host speaks 1: the driver is older", "install a newer version of the driver"}},
		{name: "closes its output", script: "exec >&-; " + sleep, want: messaging.ErrInternal,
			texts: []string{"closed its standard output without a handshake"}},
		{name: "hangs", script: "echo waiting >&2; " + sleep, want: messaging.ErrUnavailable,
			texts: []string{"printed no handshake in time and was killed, after ", `its standard error: "waiting"`, "raise the start timeout"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			mustSay(t, openScript(t, tc, patience), tc.want, tc.texts...)
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
	t.Run("hangs longer than Open may take", func(t *testing.T) {
		t.Parallel()
		const limit = time.Second
		began := time.Now()
		err := openScript(t, driverFile{name: "hangs", script: sleep}, limit)
		mustSay(t, err, messaging.ErrUnavailable, "driver bad is not running")
		if took := time.Since(began); took > limit+5*time.Second {
			t.Errorf("it took %v, Open had %v", took, limit)
		}
	})
}

// openScript writes the driver and opens it.
func openScript(t *testing.T, f driverFile, limit time.Duration) error {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley-driver-bad")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+f.script), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{file: f.mode, dir: f.dir} {
		if mode == 0 {
			mode = 0o755
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	logs := testbed.NewLogs(t)
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: []string{dir}, RuntimeDir: bed.Runtime, Logger: logs.Logger()})
	tr, err := messaging.Open(within(t, limit), "bad://user:pw@host/", &messaging.Options{Host: host, Logger: logs.Logger()})
	if err == nil {
		testbed.Close(t, tr)
		return nil
	}
	if !strings.Contains(err.Error(), dir) && !strings.Contains(err.Error(), "is not running") {
		t.Errorf("the file is not named: %v", err)
	}
	return err
}
