// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugins/internal/testkit"
)

// TestHandshakesAreRefused has rows 1 and 2 of the list of zmq4's faults in it, which killed the
// process. Each is refused at once, not at the deadline.
func TestHandshakesAreRefused(t *testing.T) {
	greet := goodGreeting
	for name, tc := range map[string]struct {
		bytes [][]byte
		text  string
	}{
		"http":                     {[][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, "speaks no ZMTP"},
		"tls":                      {[][]byte{{0x16, 3, 1, 2, 0}}, "it speaks TLS"},
		"zmtp 1":                   {[][]byte{{1, 0}}, "no ZMTP 3"},
		"signature":                {[][]byte{greet(func(b []byte) { b[9] = 0 })}, "signature"},
		"zmtp 2":                   {[][]byte{greet(func(b []byte) { b[10] = 1 })[:12]}, "ZMTP 1, which is older"},
		"plain":                    {[][]byte{greet(func(b []byte) { copy(b[12:], "PLAIN") })}, "PLAIN"},
		"mechanism of 20 bytes":    {[][]byte{greet(func(b []byte) { copy(b[12:32], strings.Repeat("N", 20)) })}, "NNNN"},
		"as-server":                {[][]byte{greet(func(b []byte) { b[32] = 7 })}, "as-server"},
		"message before READY":     {[][]byte{greet(nil), {0, 1, 'x'}}, "before READY"},
		"PING before READY":        {[][]byte{greet(nil), shortFrame(flagCommand, "\x04PING\x00\x00")}, "before READY"},
		"ERROR":                    {[][]byte{greet(nil), shortFrame(flagCommand, "\x05ERROR\x02no")}, `the error \"no\"`},
		"bad ERROR":                {[][]byte{greet(nil), shortFrame(flagCommand, "\x05ERROR\x09no")}, "malformed"},
		"unknown socket type":      {[][]byte{greet(nil), readyWith(property("Socket-Type", "BOGUS"))}, "BOGUS"},
		"empty socket type":        {[][]byte{greet(nil), readyWith(property("Socket-Type", ""))}, "does not fit"},
		"other case in the type":   {[][]byte{greet(nil), readyWith(property("Socket-Type", "dealer"))}, "does not fit"},
		"no socket type":           {[][]byte{greet(nil), readyWith(property("Identity", "x"))}, "no socket type"},
		"nothing in READY":         {[][]byte{greet(nil), readyWith()}, "no socket type"},
		"two socket types":         {[][]byte{greet(nil), readyWith(property("Socket-Type", "DEALER"), property("socket-type", "REQ"))}, "two socket types"},
		"two identities":           {[][]byte{greet(nil), readyWith(property("Socket-Type", "DEALER"), property("Identity", "a"), property("Identity", "b"))}, "two identities"},
		"publisher":                {[][]byte{greet(nil), readyWith(property("Socket-Type", "PUB"))}, "does not fit"},
		"reply socket":             {[][]byte{greet(nil), readyWith(property("Socket-Type", "REP"))}, "does not fit"},
		"identity with zero":       {[][]byte{greet(nil), readyWith(property("Socket-Type", "DEALER"), property("Identity", "\x00a"))}, "zero byte"},
		"identity of 256":          {[][]byte{greet(nil), longReady(property("Socket-Type", "DEALER"), property("Identity", strings.Repeat("i", 256)))}, "256 bytes"},
		"name beyond the end":      {[][]byte{greet(nil), readyWith("\xffSocket")}, "malformed property"},
		"empty name":               {[][]byte{greet(nil), readyWith("\x00\x00\x00\x00\x00")}, "malformed property"},
		"cut length":               {[][]byte{greet(nil), readyWith("\x01a\x00\x00")}, "malformed property"},
		"value beyond the end":     {[][]byte{greet(nil), readyWith("\x01a\xff\xff\xff\xffx")}, "malformed property"},
		"READY of 64 KiB and more": {[][]byte{greet(nil), longFrame(flagCommand, 64*kib+1)}, "the limit is 65536"},
		"READY of all the world":   {[][]byte{greet(nil), longFrame(flagCommand, math.MaxUint64)}, "the limit is 65536"},
		"READY with MORE":          {[][]byte{greet(nil), {flagCommand | flagMore, 1}}, "more of it follows"},
		"empty command":            {[][]byte{greet(nil), {flagCommand, 0}}, "empty"},
		"command without a name":   {[][]byte{greet(nil), {flagCommand, 1, 0}}, "has a name of 0"},
		"name beyond the command":  {[][]byte{greet(nil), {flagCommand, 2, 5, 'R'}}, "has a name of 5"},
		"reserved flags":           {[][]byte{greet(nil), {0x84, 1, 'x'}}, "flags 0x84"},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Logs
			l := listen(t, "tcp://127.0.0.1:0", Options{Handshake: time.Minute, Logger: log.Logger()})
			serve(t, l)
			c := raw(t, l)
			write(t, c, tc.bytes...)
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Error("it was not closed")
			}
			eventually(t, "a warning with "+tc.text, func() bool { return strings.Contains(log.String(), tc.text) })
			roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("still", "there"))
		})
	}
}

func longReady(properties ...string) []byte {
	body := "\x05READY" + strings.Join(properties, "")
	return append(longFrame(flagCommand, uint64(len(body))), body...)
}

// READY is read in any case and with properties that nobody knows, and a ZMTP 3.0 or 4.2 peer is
// one, in whatever pieces its bytes come.
func TestHandshakesAreTaken(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"other case":  {goodGreeting(nil), readyWith(property("SOCKET-TYPE", "DEALER"), property("identity", "me"))},
		"no identity": {goodGreeting(nil), readyWith(property("Socket-Type", "REQ"))},
		"more properties": {goodGreeting(nil), longReady(property("X-Long", strings.Repeat("v", 60*kib)), property("Socket-Type", "ROUTER"),
			property("x-long", ""), property("Resource", ""))},
		"3.0":           {goodGreeting(func(b []byte) { b[11] = 0 }), goodReady("me")},
		"4.2":           {goodGreeting(func(b []byte) { b[10], b[11] = 4, 2 }), goodReady("me")},
		"long head":     {goodGreeting(nil), longReady(property("Socket-Type", "DEALER"))},
		"filler":        {goodGreeting(func(b []byte) { b[63], b[32] = 9, 1 }), goodReady("me")},
		"byte by byte":  single(goodGreeting(nil), goodReady("me")),
		"identity 255":  {goodGreeting(nil), longReady(property("Socket-Type", "DEALER"), property("Identity", strings.Repeat("i", 255)))},
		"message along": {goodGreeting(nil), goodReady("me")},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "tcp://127.0.0.1:0", Options{PingInterval: -1})
			c := raw(t, l)
			for _, p := range parts {
				write(t, c, p)
			}
			write(t, c, shortFrame(0, "hello"))
			router := accept(t, l)
			if got, err := router.Recv(); err != nil || !sameFrames(got, frames("hello")) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func single(parts ...[]byte) [][]byte {
	var all [][]byte
	for _, p := range parts {
		for _, b := range p {
			all = append(all, []byte{b})
		}
	}
	return all
}

// TestFramesAreRefused ends the one Conn and says why.
func TestFramesAreRefused(t *testing.T) {
	o := Options{MaxMessage: 100 * kib, MaxFrames: 4, PingInterval: -1}
	full := append(longFrame(flagMore, 60*kib), make([]byte, 60*kib)...)
	for name, tc := range map[string]struct {
		bytes [][]byte
		text  string
	}{
		"reserved flags":      {[][]byte{{0x08, 0}}, "flags 0x08"},
		"all flags":           {[][]byte{{0xff, 0, 0, 0, 0, 0, 0, 0, 0}}, "flags 0xff"},
		"makeslice":           {[][]byte{longFrame(0, math.MaxInt64)}, "more than 102400 bytes"},
		"above 2^63":          {[][]byte{longFrame(0, math.MaxUint64)}, "more than 102400 bytes"},
		"one byte too long":   {[][]byte{longFrame(0, 100*kib+1)}, "more than 102400 bytes"},
		"sum":                 {[][]byte{full, longFrame(0, 40*kib+1)}, "more than 102400 bytes"},
		"frames":              {[][]byte{{1, 0}, {1, 0}, {1, 0}, {1, 0}, {0, 0}}, "more than 4 frames"},
		"endless frames":      {[][]byte{[]byte(strings.Repeat("\x01\x00", 10*kib))}, "more than 4 frames"},
		"command with MORE":   {[][]byte{{5, 1, 'x'}}, "more of it follows"},
		"empty command":       {[][]byte{{4, 0}}, "empty"},
		"long command":        {[][]byte{longFrame(flagCommand, 64*kib+1)}, "the limit is 65536"},
		"nameless command":    {[][]byte{{4, 2, 0, 'x'}}, "has a name of 0"},
		"cut command":         {[][]byte{{4, 2, 9, 'x'}}, "has a name of 9"},
		"PING without TTL":    {[][]byte{shortFrame(flagCommand, "\x04PING\x00")}, "a PING has 1 bytes"},
		"PING with too much":  {[][]byte{shortFrame(flagCommand, "\x04PING\x00\x0012345678901234567")}, "a PING has 19 bytes"},
		"second READY":        {[][]byte{goodReady("again")}, "second READY"},
		"ERROR":               {[][]byte{shortFrame(flagCommand, "\x05ERROR\x03bad")}, `the error "bad"`},
		"second greeting":     {[][]byte{goodGreeting(nil)}, "flags 0xff"},
		"ERROR with a bomb":   {[][]byte{append(longFrame(flagCommand, 306), "\x05ERROR\xff"+strings.Repeat("\x1b", 299)...)}, "malformed"},
		"unprintable ERROR":   {[][]byte{shortFrame(flagCommand, "\x05ERROR\x02\x1b\n")}, `"\x1b\n"`},
		"frame after a frame": {[][]byte{shortFrame(0, "fine"), {0x40, 0}}, "flags 0x40"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "tcp://127.0.0.1:0", o)
			good := dial(t, l.Endpoint(), o)
			goodRouter := accept(t, l)
			c, router := rawPeer(t, l)
			write(t, c, tc.bytes...)
			err := ending(t, background(t, router))
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tc.text) {
				t.Error(err)
			}
			if err := good.Send(frames("x")); err != nil {
				t.Error(err)
			}
			if _, err := goodRouter.Recv(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is just within the limits is taken.
func TestFramesAreTaken(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{MaxMessage: 100 * kib, MaxFrames: 4, PingInterval: -1})
	c, router := rawPeer(t, l)
	var work [][]byte
	// libzmq does that in the middle of a big message.
	work = append(work, []byte{1, 1, 'a'}, shortFrame(flagCommand, "\x04PING\x00\x00"), []byte{0, 1, 'b'})
	work = append(work, longFrame(flagMore, 60*kib), make([]byte, 60*kib), longFrame(0, 40*kib), make([]byte, 40*kib))
	work = append(work, longFrame(flagMore, 3), []byte("abc"), []byte{1, 0}, []byte{1, 0}, []byte{0, 0})
	work = append(work, shortFrame(flagCommand, "\x04PONG"), shortFrame(flagCommand, "\x09SUBSCRIBEx"), shortFrame(flagCommand, "\x01?"),
		longFrame(flagCommand, 64*kib), []byte("\x07UNKNOWN"), make([]byte, 64*kib-8), shortFrame(0, "end"))
	go write(t, c, work...)
	for _, want := range []int{2, 2, 4, 1} {
		got, err := router.Recv()
		if err != nil || len(got) != want {
			t.Fatalf("%d frames, %v; want %d", len(got), err, want)
		}
	}
}
