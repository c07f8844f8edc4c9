// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestHeartbeats(t *testing.T) {
	gone := driver.Errorf(driver.ReasonNoRoute, "nobody")
	away := driver.Errorf(driver.ReasonDriverGone, "away")
	tests := map[string]struct {
		monitor, left, work time.Duration
		errs                []*driver.Error // of the first heartbeats; the last one goes on
		cast                bool
		want                int // heartbeats tried
		logged              string
	}{
		"not monitored":               {0, 0, 5 * time.Second, nil, false, 0, ""},
		"a cast":                      {time.Second, 0, 5 * time.Second, nil, true, 0, ""},
		"end with the handler":        {time.Second, 0, 5*time.Second + 1, nil, false, 10, ""},
		"end with the caller's time":  {time.Second, 2*time.Second + 1, 5 * time.Second, nil, false, 4, ""},
		"end with the caller":         {time.Second, 0, 5 * time.Second, []*driver.Error{nil, gone}, false, 3, "caller_gone=true"},
		"one that is lost is nothing": {time.Second, 0, 2*time.Second + 1, []*driver.Error{gone, nil, gone, nil}, false, 4, "caller_gone=false"},
		"a broker that is away":       {time.Second, 0, 2*time.Second + 1, []*driver.Error{away}, false, 4, "heartbeat not sent"},
		"less than a second":          {40 * time.Millisecond, 0, time.Second + 1, nil, false, 50, ""},
		"less than anything":          {time.Microsecond, 0, time.Second + 1, nil, false, 100, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				ep := NewEndpoint(nil)
				ep.HandleFunc("m", func(context.Context, map[string]any) (any, error) { time.Sleep(tt.work); return nil, nil })
				s := newStageOf(t, nil, func(m *driver.Message) error {
					if m.Kind != driver.Heartbeat {
						return nil
					}
					tries++
					if len(tt.errs) == 0 {
						return nil
					}
					err := tt.errs[min(tries, len(tt.errs))-1]
					if err == nil {
						return nil
					}
					return err
				}, nil, ep)
				d := wanted(callOf("a", "m", "{}"), tt.left)
				if tt.cast {
					d = castOf("a", "m", "{}")
				}
				d.MonitorTimeout = tt.monitor
				s.deliver(d)
				time.Sleep(time.Minute) // of the bubble's time
				synctest.Wait()
				if tries != tt.want || !strings.Contains(s.logged(), tt.logged) {
					t.Errorf("%d heartbeats: %s", tries, s.logged())
				}
			})
		})
	}
}
