// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// publisher writes frames itself: no library sends what it sends.
type publisher struct {
	t    testing.TB
	conn net.Conn
}

func amqpList(values ...[]byte) []byte {
	body := slices.Concat(values...)
	head := binary.BigEndian.AppendUint32([]byte{0xd0}, uint32(len(body)+4))
	return slices.Concat(binary.BigEndian.AppendUint32(head, uint32(len(values))), body)
}

func amqpText(s string) []byte { return append([]byte{0xa1, byte(len(s))}, s...) }

func (p *publisher) frame(code byte, fields, payload []byte) {
	p.t.Helper()
	body := slices.Concat([]byte{2, 0, 0, 0, 0, 0x53, code}, fields, payload)
	if _, err := p.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)); err != nil {
		p.t.Fatal(err)
	}
}

// wait reads frames up to one with that code, and returns what is behind its descriptor.
func (p *publisher) wait(code byte) []byte {
	p.t.Helper()
	for {
		var head [8]byte
		if _, err := io.ReadFull(p.conn, head[:]); err != nil {
			p.t.Fatalf("waiting for frame %#x: %v", code, err)
		}
		if string(head[:4]) == "AMQP" {
			continue
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:])-8)
		if _, err := io.ReadFull(p.conn, body); err != nil {
			p.t.Fatal(err)
		}
		if len(body) > 3 && body[2] == code {
			return body[3:]
		}
	}
}

// newPublisher attaches to an address.
func newPublisher(t testing.TB, addr, address string) *publisher {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(soon(t), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the broker may have closed it
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &publisher{t, conn}
	if _, err := conn.Write([]byte("AMQP\x00\x01\x00\x00")); err != nil {
		t.Fatal(err)
	}
	null, zero, window := []byte{0x40}, []byte{0x43}, []byte{0x70, 0, 1, 0, 0}
	p.frame(0x10, amqpList(amqpText("publisher")), nil)
	p.frame(0x11, amqpList(null, zero, window, window), nil)
	target := slices.Concat([]byte{0, 0x53, 0x29}, amqpList(amqpText(address)))
	source := slices.Concat([]byte{0, 0x53, 0x28}, amqpList(amqpText(address)))
	p.frame(0x12, amqpList(amqpText("link"), zero, []byte{0x42}, null, null, source, target, null, null, zero), nil)
	p.wait(0x13)
	return p
}

// publish sends a message, in parts when it is large, and returns the outcome's descriptor.
func (p *publisher) publish(raw []byte) byte {
	p.t.Helper()
	for part := range slices.Chunk(raw, 60_000) {
		raw = raw[len(part):]
		more := []byte{0x42}
		if len(raw) > 0 {
			more = []byte{0x41}
		}
		p.frame(0x14, amqpList([]byte{0x43}, []byte{0x43}, []byte{0xa0, 1, 'x'}, []byte{0x43}, []byte{0x42}, more), part)
	}
	disposition := p.wait(0x15)
	if i := bytes.LastIndex(disposition, []byte{0x00, 0x53}); i >= 0 && i+2 < len(disposition) {
		return disposition[i+2]
	}
	p.t.Fatalf("the disposition is %x", disposition)
	return 0
}

// TestMessagesThatEndTheLibrary: what would panic, overflow the stack or close the link in go-amqp is
// rejected like any other message that makes no sense, and what comes behind it is received. (To nested
// lists and described values Broker-J gives no answer; internal/sieve has the tests of those.)
func TestMessagesThatEndTheLibrary(t *testing.T) {
	const accepted = 0x24
	addr := shared.usual.use(t)
	body := slices.Concat([]byte{0, 0x53, 0x77}, amqpText(`{"request": {"method": "m", "args": {}}, "context": {}}`))
	for name, raw := range map[string][]byte{
		"an annotation with a binary name": slices.Concat([]byte{0, 0x53, 0x72, 0xc1, 5, 2, 0xa0, 1, 'x', 0x40}, body),
		"a described key":                  {0, 0x53, 0x77, 0xc1, 13, 2, 0, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0x45, 0x40},
		"a char in a message of parts": slices.Concat([]byte{0, 0x53, 0x74, 0xc1, 9, 2, 0xa1, 1, 'c', 0x73, 0, 0, 0, 'c'},
			[]byte{0, 0x53, 0x77, 0xb1, 0, 4, 0, 0}, bytes.Repeat([]byte{'x'}, 1<<18)),
		"a char": slices.Concat([]byte{0, 0x53, 0x74, 0xc1, 9, 2, 0xa1, 1, 'c', 0x73, 0, 0, 0, 'c'}, body),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, addr, nil)
			l := listen(t, p.c, testkit.Server("s1", driver.SettleOnPoll))
			if outcome := newPublisher(t, addr, p.anycast()).publish(raw); outcome != accepted {
				t.Fatalf("Broker-J did not take the message: outcome %#x", outcome)
			}
			id := p.peer.casts(p.peer.sender(p.anycast()), 1)[0]
			if got := testkit.Poll(soon(t), t, l, 1, 10); got[0].UniqueID != id {
				t.Errorf("got %+v, want %s", got[0], id)
			}
			testkit.Nothing(t, l)
			logs := p.logs.String()
			for _, want := range []string{"a message that cannot be read", "cannot be decoded"} {
				if n := strings.Count(logs, want); n == 0 {
					t.Errorf("nothing is logged of %q:\n%s", want, logs)
				}
			}
		})
	}
}
