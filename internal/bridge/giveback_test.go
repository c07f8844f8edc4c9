// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// A listener that is stopped gives back what Poll did not return, but leaves to its owner what an
// earlier process of the driver may have handed over.
func TestStopGivesBack(t *testing.T) {
	for _, tt := range []struct {
		giveBack, atMostOnce bool
		back, kept           string
	}{
		{false, false, "", "1 2 3"},
		{true, false, "1+3", ""},
		{true, true, "1+1 3+1", "2"},
	} {
		l := &Listener{
			giveBack: tt.giveBack, atMostOnce: tt.atMostOnce, stopping: true, lastToken: 3, wake: make(chan struct{}, 1),
			buffered: []*driver.Delivery{{Token: 1}, {Token: 2, Redelivered: true}, {Token: 3}},
		}
		for _, d := range l.buffered {
			l.bufferedBytes += d.Size()
		}
		l.giveBackLocked()
		l.giveBackLocked() // a frame that comes later changes nothing
		var back, kept []string
		bytes := 0
		for _, o := range l.outcomes {
			back = append(back, fmt.Sprintf("%d+%d", o.GetToken(), o.GetCount()))
		}
		for _, d := range l.buffered {
			kept = append(kept, strconv.FormatUint(d.Token, 10))
			bytes += d.Size()
		}
		if strings.Join(back, " ") != tt.back || strings.Join(kept, " ") != tt.kept || bytes != l.bufferedBytes {
			t.Errorf("%+v: gave back %v, kept %v with %d of %d bytes", tt, back, kept, l.bufferedBytes, bytes)
		}
	}
}
