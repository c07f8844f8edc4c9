// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Whatever comes, in whatever mode, every slot comes back once, every token is settled once, and
// the counters add up.
func TestEverythingComesBack(t *testing.T) {
	for _, ack := range []AckPolicy{AckBeforeDispatch, AckAfterHandler} {
		for _, receives := range []bool{false, true} {
			for _, ordered := range []bool{false, true} {
				for _, forced := range []bool{false, true} {
					t.Run(fmt.Sprintf("ack=%d receiver=%v ordered=%v forced=%v", ack, receives, ordered, forced), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { everythingComesBack(t, ack, receives, ordered, forced) })
					})
				}
			}
		}
	}
}

func everythingComesBack(t *testing.T, ack AckPolicy, receives, ordered, forced bool) {
	const messages, concurrency = 400, 16
	seq := &sequence{}
	ep := keyed(seq)
	ep.HandleFunc("fails", func(context.Context, map[string]any) (any, error) { return nil, errBusy })
	ep.HandleFunc("panics", func(context.Context, map[string]any) (any, error) { panic("oops") })
	opts := &RPCServerOptions{Ack: ack, Concurrency: concurrency, Ping: true}
	if ordered {
		opts.OrderBy = byKey
	}
	s := &stage{inbox: make(chan []*driver.Delivery), served: make(chan error, 1), receives: receives}
	sends := 0
	s.onReply = func(*driver.Message) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sends++; sends%7 == 0 {
			return driver.Errorf(driver.ReasonDriverGone, "away")
		}
		return nil
	}
	s.serve(t, nil, opts, ep)
	delivered := 0
	for delivered < messages {
		token := uint64(0)
		if ack == AckAfterHandler {
			token = uint64(delivered + 1)
		}
		if s.server.Stats().Running >= concurrency {
			time.Sleep(time.Millisecond)
			continue
		}
		s.deliver(withToken(anyRequest(strconv.Itoa(rand.IntN(messages))), token))
		delivered++
		synctest.Wait()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if forced {
		cancel()
	}
	if err := s.server.Shutdown(ctx); forced != (err != nil) {
		t.Error(err)
	}
	s.served <- <-s.served
	got := s.server.Stats()
	ended := got.Handled + got.Refused + got.Malformed + got.Duplicates + got.Expired
	if ack == AckBeforeDispatch && !forced && ended != messages {
		t.Errorf("%d of %d are accounted for: %+v", ended, messages, got)
	}
	if got.Received != messages || got.Running != 0 {
		t.Errorf("%+v", got)
	}
	if n := s.released.Load(); receives && n != messages {
		t.Errorf("%d slots came back", n)
	}
	settled := make(map[string]bool)
	for _, o := range s.outcomes {
		var token, result string
		_, _ = fmt.Sscan(o, &token, &result)
		if settled[token] {
			t.Errorf("token %s was settled twice", token)
		}
		settled[token] = true
	}
	if want := map[AckPolicy]int{AckBeforeDispatch: 0, AckAfterHandler: messages}[ack]; len(settled) != want {
		t.Errorf("%d tokens were settled, want %d", len(settled), want)
	}
}

// anyRequest is one of all kinds, often with an id that was there before.
func anyRequest(id string) *driver.Delivery {
	key := strconv.Itoa(rand.IntN(3))
	args := fmt.Sprintf(`{"key":%q,"n":%q}`, key, id)
	method := []string{"m", "m", "m", "goexit", "fails", "panics", "nope", "oslo_rpc_server_ping"}[rand.IntN(8)]
	d := callOf(id, method, args)
	switch rand.IntN(10) {
	case 0:
		return castOf(id, method, args)
	case 1:
		return wanted(d, -1)
	case 2:
		return wanted(d, time.Duration(1+rand.IntN(2000))*time.Millisecond)
	case 3:
		d.Body = []byte("nonsense")
	case 4:
		d.Context = []byte("[]")
	case 5:
		d.MonitorTimeout = 100 * time.Millisecond
	}
	return d
}
