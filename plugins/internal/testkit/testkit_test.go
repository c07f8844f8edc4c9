// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestStates(t *testing.T) {
	s := NewStates()
	if got := s.Last(); got != (driver.State{}) || s.Len() != 0 {
		t.Errorf("%d states, the last one %v", s.Len(), got)
	}
	for _, p := range []driver.Phase{driver.Connecting, driver.Ready, driver.Connecting} {
		s.Report(driver.State{Phase: p})
	}
	if got := s.Await(t, 1, driver.Ready); got.Phase != driver.Ready || s.Last().Phase != driver.Connecting || s.Len() != 3 {
		t.Errorf("%v, then %s", got, s)
	}
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		s.Report(driver.State{Phase: driver.Ready, Host: "later"})
	}()
	if got := s.Await(t, 2, driver.Ready); got.Host != "later" {
		t.Errorf("%v was there before", got)
	}
	<-reported
}

func TestLogs(t *testing.T) {
	var l Logs
	for range 2 {
		if _, err := l.Write([]byte("lost, and lost\n")); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Count("lost"); n != 4 {
		t.Errorf("it is there %d times, want 4", n)
	}
}

func TestMessages(t *testing.T) {
	a, b := Call("replies"), Call("replies")
	if a.UniqueID == b.UniqueID || a.CallID == b.CallID {
		t.Error("two calls are one")
	}
	if to := Server("s", driver.SettleOnDone).Target; to.Topic != a.Target.Topic || to.Exchange != a.Target.Exchange {
		t.Errorf("the server is at %v, the call goes to %v", to, a.Target)
	}
}

// ended is a test that says whether it was ended.
type ended struct {
	testing.TB
	yes bool
}

func (e *ended) Fatalf(string, ...any) {
	e.yes = true
	runtime.Goexit()
}

// TestFinds: what is not as it should be ends a test.
func TestFinds(t *testing.T) {
	for what, do := range map[string]func(testing.TB){
		"it never happens": func(t testing.TB) { Eventually(t, time.Millisecond, "that", func() bool { return false }) },
		"another reason": func(t testing.TB) {
			FailsWith(t, driver.Errorf(driver.ReasonClosed, "closed"), driver.ReasonConfig)
		},
		"no reason at all": func(t testing.TB) { FailsWith(t, nil, driver.ReasonConfig) },
	} {
		var of sync.WaitGroup
		e := &ended{TB: t}
		of.Go(func() { do(e) })
		of.Wait()
		if !e.yes {
			t.Errorf("%s: the test goes on", what)
		}
	}
	FailsWith(t, driver.Errorf(driver.ReasonConfig, "wrong"), driver.ReasonConfig)
	Eventually(t, time.Minute, "that", func() bool { return true })
}
