// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// TestSwapRaceStarts starts a driver again and again while an evil program changes places with it
// all the time. Only the one whose checksum is recorded may ever run.
func TestSwapRaceStarts(t *testing.T) {
	const starts = 150
	const goodCode, evilCode = 7, 66
	for kind, text := range map[string]string{
		"script":  "#!/bin/sh\nexit 7\n",
		"program": "", // false(1)
	} {
		t.Run(kind, func(t *testing.T) {
			dir := hosttest.PrivateDir(t)
			mark := filepath.Join(hosttest.PrivateDir(t), "evil")
			aside := hosttest.WriteProgram(t, dir, "aside", "#!/bin/sh\n: >"+mark+"\nexit 66\n")
			c := driverfile.Candidate{Name: "x", Path: filepath.Join(dir, "parley-driver-x")}
			if text == "" {
				must(t, os.Rename(mustLookFalse(t), c.Path))
			} else {
				hosttest.WriteProgram(t, dir, "x", text)
			}
			trust := driverfile.Trust{Mode: driverfile.TrustRequire, LockFile: filepath.Join(hosttest.PrivateDir(t), "parley.lock")}
			_, err := trust.Accept(c)
			must(t, err)
			spec := Spec{Driver: c, Base: testBase(t), Majors: []int{1}, Trust: trust}

			stop, swaps := make(chan struct{}), 0
			var swapper sync.WaitGroup
			swapper.Go(func() { swaps = swapUntil(t, stop, c.Path, aside) })
			good, evil, refused := 0, 0, 0
			for good+evil < starts && refused < 100*starts {
				switch code, ran := startOnce(t, spec); {
				case !ran:
					refused++
				case code == evilCode:
					evil++
				case code == goodCode || text == "" && code == 1:
					good++
				default:
					t.Errorf("exit code %d", code)
				}
			}
			close(stop)
			swapper.Wait()
			t.Logf("%d swaps: %d starts of the good one, %d refused, %d of the evil one", swaps, good, refused, evil)
			if _, err := os.Lstat(mark); evil != 0 || good != starts || refused == 0 || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("good %d, refused %d, evil %d, mark %v", good, refused, evil, err)
			}
		})
	}
}

// startOnce starts the program and returns its exit code, unless it was refused.
func startOnce(t *testing.T, spec Spec) (code int, ran bool) {
	t.Helper()
	r, err := New(spec)
	if err != nil {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := r.Start(ctx); err == nil {
		t.Error("it printed a handshake")
	}
	must(t, r.Kill(ctx))
	return r.ExitState().Code, true
}

// swapUntil has two files change places until it is stopped, and counts.
func swapUntil(t *testing.T, stop <-chan struct{}, a, b string) int {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			t.Error(err)
			return n
		}
	}
}
