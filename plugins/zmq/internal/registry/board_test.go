// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"strings"
	"sync"
	"testing"
)

func viewOf(recs ...*Record) map[string]*Record {
	m := map[string]*Record{}
	for _, r := range recs {
		m[r.Node] = r
	}
	return m
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestBoardWakesForChangesOnly(t *testing.T) {
	for _, tc := range []struct {
		name      string
		before    map[string]*Record
		after     map[string]*Record
		addresses []string
		wakes     bool
	}{
		{name: "nothing", before: viewOf(), after: viewOf()},
		{name: "another", before: viewOf(), after: viewOf(record(1)), wakes: true},
		{name: "one less", before: viewOf(record(1)), after: viewOf(), wakes: true},
		{name: "an equal one", before: viewOf(record(1)), after: viewOf(record(1))},
		{name: "a newer one", before: viewOf(version(1, 1)), after: viewOf(version(1, 2)), wakes: true},
		{name: "an echo of an older one", before: viewOf(version(1, 2)), after: viewOf(version(1, 1))},
		{name: "one for another", before: viewOf(record(1)), after: viewOf(record(2)), wakes: true},
		{name: "an address", before: viewOf(), after: viewOf(), addresses: []string{"tcp://h:1"}, wakes: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBoard()
			b.show(tc.before, nil)
			view, changed := b.View(), b.Changed()
			b.show(tc.after, tc.addresses)
			if isClosed(changed) != tc.wakes || (b.View() != view) != tc.wakes {
				t.Errorf("woke: %v, new view: %v, want %v", isClosed(changed), b.View() != view, tc.wakes)
			}
			if isClosed(b.Changed()) {
				t.Error("the next channel is closed at once")
			}
		})
	}
}

// TestNoWakeUpIsLost has many who wait by the documented pattern for the last of many changes.
func TestNoWakeUpIsLost(t *testing.T) {
	const last = 2000
	b := newBoard()
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			for {
				changed := b.Changed()
				if rec := b.View().Records[nodeID(1)]; rec != nil && rec.Version == last {
					return
				}
				<-changed
			}
		})
	}
	for v := range uint64(last) {
		b.show(viewOf(version(1, v+1)), nil)
	}
	waiting.Wait()
}

func TestParseEndpoint(t *testing.T) {
	for _, tc := range []struct {
		text string
		def  int
		want string // "" for an error
	}{
		{text: "tcp://h:1", want: "tcp://h:1"},
		{text: "tcp://h", def: 9501, want: "tcp://h:9501"},
		{text: "tcp://h"},
		{text: "h", def: 9501, want: "tcp://h:9501"},
		{text: "h:7", def: 9501, want: "tcp://h:7"},
		{text: "[::1]:7", def: 9501, want: "tcp://[::1]:7"},
		{text: "[::1]", def: 9501, want: "tcp://[::1]:9501"},
		{text: "::1", def: 9501, want: "tcp://[::1]:9501"},
		{text: "tcp://10.0.0.1:65535", want: "tcp://10.0.0.1:65535"},
		{text: "ipc:///run/x.sock", want: "ipc:///run/x.sock"},
		{text: "ipc://x.sock"},
		{text: "ipc://"},
		{text: ""},
		{text: "", def: 9501},
		{text: "tcp://:1"},
		{text: "tcp://*:1"},
		{text: "tcp://h:0"},
		{text: "tcp://h:65536"},
		{text: "tcp://h:x"},
		{text: "tcp://h:1/x"},
		{text: "tcp://u:p@h:1"},
		{text: "udp://h:1"},
		{text: "tcp://h :1"},
		{text: "tcp://h:1\n"},
		{text: "tcp://" + strings.Repeat("h", maxEndpoint) + ":1"},
	} {
		got, err := parseEndpoint(tc.text, tc.def)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%.60q with %d is %q, %v, want %q", tc.text, tc.def, got, err, tc.want)
		}
	}
}
