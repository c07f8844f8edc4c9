// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"net"
	"strings"
	"testing"

	amqp "github.com/Azure/go-amqp"
)

// raw is a client that does what no library does.
type raw struct {
	t      *testing.T
	socket net.Conn
}

func rawClient(t *testing.T, p *Peer) *raw {
	t.Helper()
	socket, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return &raw{t, socket}
}

func (r *raw) write(b []byte) {
	if _, err := r.socket.Write(b); err != nil {
		r.t.Log(err) // the peer may have had enough
	}
}

func (r *raw) frame(channel uint16, code uint64, fields List) {
	r.write(appendFrame(nil, 0, channel, code, fields, nil))
}

func (r *raw) open() {
	r.write(headerAMQP)
	r.frame(0, codeOpen, List{"me"})
}

// attach attaches a link in a session of its own.
func (r *raw) attach(channel uint16, name string, receiver bool) {
	r.frame(channel, codeBegin, List{nil, uint32(0), window, window})
	node := List{"unicast.q"}
	r.frame(channel, codeAttach, List{name, uint32(0), receiver, nil, nil, Described{uint64(codeSource), node}, Described{uint64(codeTarget), node}})
}

func TestViolations(t *testing.T) {
	transfer := func(id uint32, settled, more bool) List {
		return List{uint32(0), id, []byte("tag"), uint32(0), settled, more}
	}
	for name, tt := range map[string]struct {
		act  func(*raw)
		want string
	}{
		"header":          {func(r *raw) { r.write([]byte("GET / HTTP/1.1\r\n")) }, "the header"},
		"not open":        {func(r *raw) { r.write(headerAMQP); r.frame(0, codeBegin, List{}) }, "instead of open"},
		"not sasl-init":   {func(r *raw) { r.write(headerSASL); r.frame(0, codeOpen, List{}) }, "instead of sasl-init"},
		"garbage":         {func(r *raw) { r.open(); r.write([]byte("garbage!garbage!")) }, "a frame of"},
		"no performative": {func(r *raw) { r.open(); r.write([]byte{0, 0, 0, 9, 2, 0, 0, 0, 0x40}) }, "no performative"},
		"unknown":         {func(r *raw) { r.open(); r.attach(0, "l", false); r.frame(0, 0x99, List{}) }, "which no session has"},
		"SASL too late":   {func(r *raw) { r.open(); r.write(appendFrame(nil, 1, 0, codeInit, List{}, nil)) }, "after SASL"},
		"channel":         {func(r *raw) { r.open(); r.frame(4, codeBegin, List{}) }, "a session on channel 4, the last one is 3"},
		"channel in use":  {func(r *raw) { r.open(); r.frame(0, codeBegin, List{}); r.frame(0, codeBegin, List{}) }, "a second session"},
		"no session":      {func(r *raw) { r.open(); r.frame(2, codeFlow, List{}) }, "has no session"},
		"no link":         {func(r *raw) { r.open(); r.attach(0, "l", false); r.frame(0, codeDetach, List{uint32(7)}) }, "a detach for the handle 7"},
		"flow without a link": {func(r *raw) {
			r.open()
			r.attach(0, "l", false)
			r.frame(0, codeFlow, List{nil, window, uint32(0), window, uint32(7)})
		}, "a flow for the handle 7"},
		"handle in use": {func(r *raw) {
			r.open()
			r.attach(0, "l", false)
			r.frame(0, codeAttach, List{"m", uint32(0), false})
		}, "a second link with the handle"},
		"name in use":     {func(r *raw) { r.open(); r.attach(0, "l", false); r.attach(1, "l", false) }, "a second link with the name"},
		"no delivery":     {func(r *raw) { r.open(); r.attach(0, "l", false); r.frame(0, codeTransfer, List{uint32(0)}) }, "without a delivery's id"},
		"wrong delivery":  {func(r *raw) { r.open(); r.attach(0, "l", false); r.frame(0, codeTransfer, transfer(5, false, false)) }, "delivery 5 after -1"},
		"wrong direction": {func(r *raw) { r.open(); r.attach(0, "l", true); r.frame(0, codeTransfer, transfer(0, false, false)) }, "the client receives"},
		"mixed": {func(r *raw) {
			r.open()
			r.attach(0, "l", false)
			r.frame(0, codeTransfer, transfer(0, false, false))
			r.frame(0, codeTransfer, transfer(1, true, false))
		}, "settled and unsettled"},
		"interleaved": {func(r *raw) {
			r.open()
			r.attach(0, "l", false)
			r.frame(0, codeTransfer, transfer(0, false, true))
			r.frame(0, codeTransfer, transfer(1, false, false))
		}, "delivery 1 within delivery 0"},
		"credit": {func(r *raw) {
			r.open()
			r.attach(0, "l", false)
			r.frame(0, codeTransfer, transfer(0, false, false))
		}, "without credit"},
		"disposition": {func(r *raw) {
			r.open()
			r.attach(0, "l", true)
			r.frame(0, codeDisposition, List{true, uint32(0), uint32(9), true, Described{uint64(codeAccepted), List{}}})
		}, "the next one is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Run(t, Options{ChannelMax: 3})
			p.HoldCredit("unicast.q", tt.want == "without credit")
			tt.act(rawClient(t, p))
			eventually(t, tt.want, func() bool { return strings.Contains(strings.Join(p.Violations(), "\n"), tt.want) })
		})
	}
}

// TestMixedByTheLibrary is what a driver must not do with one sender.
func TestMixedByTheLibrary(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	s := c.sender("unicast.q")
	c.wantOutcome(s, "m", &amqp.StateAccepted{})
	if err := s.Send(soon(t), text("m"), &amqp.SendOptions{Settled: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the violation", func() bool { return len(p.Violations()) == 1 })
}
