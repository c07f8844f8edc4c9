// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// swapper puts an evil program and the good one in each other's place until it is stopped.
type swapper struct {
	stop  chan struct{}
	wait  sync.WaitGroup
	swaps int // to be read after end
}

// swap begins; flip puts the other one of the two in place.
func swap(t testing.TB, flip func() error) *swapper {
	s := &swapper{stop: make(chan struct{})}
	s.wait.Go(func() {
		for {
			select {
			case <-s.stop:
				return
			default:
			}
			s.swaps++
			if err := flip(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return s
}

func (s *swapper) end() {
	close(s.stop)
	s.wait.Wait()
}

// exchange has the two paths change places, at once.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// TestSwapRace checks and opens a file while it is swapped all the time. What is returned must be
// the good one, whose checksum is recorded, each time; where no checksum is asked for it is not,
// which shows that the race is one.
func TestSwapRace(t *testing.T) {
	const tries = 2_500 // in each of four rows, 10 000 in all
	for name, prepare := range map[string]func(t *testing.T, c Candidate, aside string){
		"file": func(t *testing.T, _ Candidate, aside string) {
			must(t, os.WriteFile(aside, []byte(otherScript), 0o755))
		},
		"link": func(t *testing.T, c Candidate, aside string) {
			good := filepath.Join(hosttest.PrivateDir(t), "parley-driver-x")
			must(t, os.Rename(c.Path, good))
			must(t, os.Symlink(good, c.Path))
			must(t, os.Symlink(hosttest.WriteProgram(t, hosttest.PrivateDir(t), "x", otherScript), aside))
		},
	} {
		for mode, modeName := range map[TrustMode]string{TrustLock: "lock", TrustRequire: "require", TrustOff: "off"} {
			t.Run(name+" "+modeName, func(t *testing.T) {
				c, trust := testCandidate(t, "x"), testTrust(t, mode)
				aside := filepath.Join(filepath.Dir(c.Path), "aside")
				prepare(t, c, aside)
				_, err := trust.Accept(c)
				must(t, err)
				s := swap(t, func() error { return exchange(c.Path, aside) })
				good, evil, refused := race(t, c, trust, tries)
				s.end()
				t.Logf("%d tries, %d swaps: good %d, refused %d, evil %d", tries, s.swaps, good, refused, evil)
				if mode == TrustOff {
					if evil == 0 {
						t.Error("the evil one was never in place: nothing is proven")
					}
					return
				}
				if evil != 0 || good == 0 || refused == 0 {
					t.Errorf("good %d, refused %d, evil %d", good, refused, evil)
				}
			})
		}
	}
}

// race opens the file many times and counts what it got.
func race(t *testing.T, c Candidate, trust Trust, tries int) (good, evil, refused int) {
	t.Helper()
	for range tries {
		f, err := OpenVerified(c, trust)
		if err != nil {
			if _, ok := errors.AsType[*driver.Error](err); !ok {
				t.Fatalf("got %T %v", err, err)
			}
			refused++
			continue
		}
		text, err := io.ReadAll(f)
		must(t, errors.Join(err, f.Close()))
		if string(text) == anyScript {
			good++
		} else {
			evil++
		}
	}
	return good, evil, refused
}
