// SPDX-License-Identifier: Apache-2.0

package amqpopen_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugins/qpid/internal/amqpopen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The values that the tests send.
func list(values ...[]byte) []byte {
	body := slices.Concat(values...)
	return slices.Concat([]byte{0xd0}, be32(len(body)+4), be32(len(values)), body)
}

func mapping(values ...[]byte) []byte {
	out := list(values...)
	out[0] = 0xd1
	return out
}

func described(code byte, value []byte) []byte { return slices.Concat([]byte{0, 0x53, code}, value) }
func str(s string) []byte                      { return slices.Concat([]byte{0xa1, byte(len(s))}, []byte(s)) }
func sym(s string) []byte                      { return slices.Concat([]byte{0xa3, byte(len(s))}, []byte(s)) }
func null() []byte                             { return []byte{0x40} }
func be32(n int) []byte                        { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

func symbols(names ...string) []byte {
	body := []byte{}
	for _, n := range names {
		body = append(append(body, byte(len(n))), n...)
	}
	return slices.Concat([]byte{0xe0, byte(len(body) + 2), byte(len(names)), 0xa3}, body)
}

func frame(kind, channel byte, body []byte) []byte {
	return slices.Concat(be32(len(body)+8), []byte{2, kind, 0, channel}, body)
}

func header(id byte) []byte { return []byte{'A', 'M', 'Q', 'P', id, 1, 0, 0} }

// login is what Broker-J sends with SASL, in essence.
func login(code byte) []byte {
	return slices.Concat(
		header(3),
		frame(1, 0, described(0x40, list(symbols("PLAIN", "SCRAM-SHA-256")))),
		frame(1, 0, described(0x44, list([]byte{0x50, code}))),
	)
}

func open() []byte {
	return slices.Concat(header(0), frame(0, 0, described(0x10, list(
		str("broker-1"), str("vh"), []byte{0x70, 0, 1, 0, 0}, []byte{0x60, 0, 255}, []byte{0x52, 100}, null(), null(),
		symbols("ANONYMOUS-RELAY", "SHARED-SUBS"), null(),
		mapping(sym("product"), str("Apache Qpid Broker-J Core"), sym("pid"), []byte{0x71, 0, 0, 1, 0}, sym("odd"), list(null()), sym("on"), []byte{0x41}),
	))))
}

func closing() []byte {
	return frame(0, 0, described(0x18, list(described(0x1d, list(sym("amqp:not-found"), str("Unknown hostname 'x'"))))))
}

func opened(p amqpopen.Peer) amqpopen.Peer {
	p.Header, p.Opened, p.ContainerID, p.Hostname = header(0), true, "broker-1", "vh"
	p.MaxFrameSize, p.ChannelMax, p.IdleTimeout = 65536, 255, 100*time.Millisecond
	p.Offered = []string{"ANONYMOUS-RELAY", "SHARED-SUBS"}
	p.Properties = map[string]string{"product": "Apache Qpid Broker-J Core", "pid": "256", "on": "true"}
	return p
}

func TestPeer(t *testing.T) {
	transfer := frame(0, 3, slices.Concat(described(0x14, list([]byte{0x43}, []byte{0x43}, []byte{0xa0, 1, 7})), bytes.Repeat([]byte{'x'}, 100_000)))
	empty := []byte{0, 0, 0, 8, 2, 0, 0, 0}
	loggedIn := amqpopen.Peer{Mechanisms: []string{"PLAIN", "SCRAM-SHA-256"}, HasOutcome: true}
	closed := opened(amqpopen.Peer{})
	closed.Closed, closed.Condition, closed.Description = true, "amqp:not-found", "Unknown hostname 'x'"
	bare := amqpopen.Peer{Header: header(0), Opened: true, ContainerID: "c", MaxFrameSize: 1<<32 - 1, ChannelMax: 65535}
	for _, tt := range []struct {
		name string
		sent []byte
		want amqpopen.Peer
	}{
		{name: "nothing"},
		{name: "open", sent: open(), want: opened(amqpopen.Peer{})},
		{name: "login and open", sent: slices.Concat(login(0), open()), want: opened(loggedIn)},
		{name: "refused", sent: login(1), want: amqpopen.Peer{Header: header(3), Mechanisms: loggedIn.Mechanisms, HasOutcome: true, Outcome: 1}},
		{name: "closed behind messages", sent: slices.Concat(open(), transfer, empty, transfer, closing()), want: closed},
		{name: "nearly nothing in open", sent: slices.Concat(header(0), frame(0, 0, described(0x10, list(str("c"))))), want: bare},
		{name: "one mechanism", sent: slices.Concat(header(3), frame(1, 0, described(0x40, list(sym("EXTERNAL"))))), want: amqpopen.Peer{Header: header(3), Mechanisms: []string{"EXTERNAL"}}},
		{name: "no mechanism", sent: slices.Concat(header(3), frame(1, 0, described(0x40, list(null())))), want: amqpopen.Peer{Header: header(3), Mechanisms: []string{}}},
		{name: "garbage", sent: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), want: amqpopen.Peer{Header: []byte("HTTP/1.1")}},
		{name: "short garbage", sent: []byte{0x15, 3, 3}, want: amqpopen.Peer{Header: []byte{0x15, 3, 3}}},
		{name: "garbage behind the header", sent: slices.Concat(header(0), []byte{0, 0, 0, 1, 2, 3, 4, 5}, open()), want: amqpopen.Peer{Header: header(0)}},
		{name: "a truncated open", sent: slices.Concat(header(0), frame(0, 0, open()[16:42])), want: amqpopen.Peer{Header: header(0), Opened: true, ContainerID: "broker-1", Hostname: "vh", MaxFrameSize: 1<<32 - 1, ChannelMax: 65535}},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			got := listenTo(t, tt.sent, piece, nil)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s in pieces of %d:\ngot  %+v\nwant %+v", tt.name, piece, got, tt.want)
			}
		}
	}
}

// listenTo sends to a Conn in pieces, and checks that its reader gets the very bytes.
func listenTo(t testing.TB, sent []byte, piece int, trace func(amqpopen.Frame)) amqpopen.Peer {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = far.Close() }()
		_, _ = io.CopyBuffer(struct{ io.Writer }{far}, struct{ io.Reader }{bytes.NewReader(sent)}, make([]byte, piece))
	}()
	c := amqpopen.New(near, amqpopen.Options{Trace: trace})
	got, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	<-ended
	_ = near.Close()
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes were sent, and %d others came", len(sent), len(got))
	}
	return c.Peer()
}

func TestHeaderID(t *testing.T) {
	for _, tt := range []struct {
		header []byte
		want   int
	}{
		{header(0), amqpopen.HeaderAMQP},
		{header(2), amqpopen.HeaderTLS},
		{header(3), amqpopen.HeaderSASL},
		{nil, amqpopen.NoHeader},
		{[]byte("AMQP"), amqpopen.NoHeader},
		{[]byte("AMQP\x00\x00\x09\x01"), amqpopen.NoHeader},
		{[]byte("HTTP/1.1"), amqpopen.NoHeader},
	} {
		p := amqpopen.Peer{Header: tt.header}
		if got := p.HeaderID(); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.header, got, tt.want)
		}
	}
}

func TestTrace(t *testing.T) {
	source := described(0x28, list(str("a.b")))
	disposition := described(0x15, list([]byte{0x41}, []byte{0x43}, null(), []byte{0x41}, described(0x24, []byte{0x45})))
	secret := slices.Concat(described(0x14, list([]byte{0x43}, []byte{0x52, 9}, []byte{0xa0, 2, 1, 2})), []byte("content of the message"), bytes.Repeat([]byte{0}, 5000))
	sent := slices.Concat(login(0), open(),
		frame(0, 1, described(0x12, list(str("link"), []byte{0x43}, []byte{0x42}, null(), null(), source))),
		frame(0, 1, disposition), frame(0, 2, secret), []byte{0, 0, 0, 8, 2, 0, 0, 7}, closing())
	var frames []amqpopen.Frame
	listenTo(t, sent, 1000, func(f amqpopen.Frame) { frames = append(frames, f) })
	var got []string
	for _, f := range frames {
		if f.Out || f.Size < 8 {
			t.Errorf("%+v", f)
		}
		got = append(got, f.Name+" "+f.Fields)
	}
	want := []string{
		`sasl-mechanisms mechanisms=["PLAIN" "SCRAM-SHA-256"]`, `sasl-outcome code=0`,
		`open container-id="broker-1" hostname="vh" max-frame-size=65536 channel-max=255 idle-time-out=100 offered-capabilities=["ANONYMOUS-RELAY" "SHARED-SUBS"] properties={"product" "Apache Qpid Broker-J Core" "pid" 256 "odd" [null] "on" true}`,
		`attach name="link" handle=0 role=false source=["a.b"]`,
		`disposition role=true first=0 settled=true state=accepted[]`,
		`transfer handle=0 delivery-id=9 delivery-tag=0x0102`, `empty `,
		`close error=["amqp:not-found" "Unknown hostname 'x'"]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if last := frames[6]; last.Channel != 7 || last.Size != 8 {
		t.Errorf("got %+v", last)
	}
}

// TestTraceOfPasswords writes a login, as the library does.
func TestTraceOfPasswords(t *testing.T) {
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, far)
	}()
	var frames []amqpopen.Frame
	c := amqpopen.New(near, amqpopen.Options{Trace: func(f amqpopen.Frame) { frames = append(frames, f) }})
	for _, b := range [][]byte{
		header(3), frame(1, 0, described(0x41, list(sym("PLAIN"), slices.Concat([]byte{0xa0, 12}, []byte("\x00user\x00secret"))))),
		frame(1, 0, described(0x43, list(slices.Concat([]byte{0xa0, 6}, []byte("secret"))))), open(),
	} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	_ = near.Close()
	<-ended
	if len(frames) != 3 || frames[0].Name != "sasl-init" || frames[0].Fields != `mechanism="PLAIN"` || !frames[0].Out || frames[2].Name != "open" {
		t.Errorf("got %+v", frames)
	}
	for _, f := range frames {
		if strings.Contains(f.Fields, "secret") || strings.Contains(f.Fields, hex.EncodeToString([]byte("secret"))) {
			t.Errorf("a password: %+v", f)
		}
	}
}

func FuzzConn(f *testing.F) {
	f.Add(slices.Concat(login(0), open(), closing()), 3)
	f.Add(login(1), 1)
	f.Add(slices.Concat(header(0), frame(0, 0, described(0x10, []byte{0xd0, 255, 255, 255, 255, 255, 255, 255, 255}))), 64)
	f.Add(slices.Concat(header(0), frame(0, 0, described(0x10, list([]byte{0xf0, 0, 0, 0, 5, 255, 255, 255, 255, 0x45})))), 64)
	f.Add([]byte("HTTP/1.1 400 Bad Request"), 5)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		size := 0
		p := listenTo(t, sent, 1+piece&0xfff, func(f amqpopen.Frame) { size += len(f.Fields) })
		if len(p.Mechanisms) > 64 || len(p.Offered) > 64 || len(p.Properties) > 64 || len(p.ContainerID) > 512 || len(p.Header) > 8 {
			t.Errorf("kept too much: %+v", p)
		}
		if size > 64*len(sent)+1<<16 {
			t.Errorf("%d bytes traced of %d", size, len(sent))
		}
	})
}
