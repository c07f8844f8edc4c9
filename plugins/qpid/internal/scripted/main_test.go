// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a connection of the library to a peer.
type client struct {
	t    *testing.T
	peer *Peer
	conn *amqp.Conn
	ses  *amqp.Session
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial connects the library with options that may be nil.
func dial(t *testing.T, p *Peer, options *amqp.ConnOptions) (*client, error) {
	t.Helper()
	socket, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp.NewConn(soon(t), socket, options)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, peer: p, conn: conn}, nil
}

// connect is dial with a session.
func connect(t *testing.T, p *Peer) *client {
	t.Helper()
	c, err := dial(t, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.ses, err = c.conn.NewSession(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) sender(address string) *amqp.Sender {
	c.t.Helper()
	s, err := c.ses.NewSender(soon(c.t), address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *client) receiver(address string, credit int32) *amqp.Receiver {
	c.t.Helper()
	r, err := c.ses.NewReceiver(soon(c.t), address, &amqp.ReceiverOptions{Credit: credit, DynamicAddress: address == ""})
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func text(body string) *amqp.Message { return &amqp.Message{Value: body} }

// send sends a message unsettled and returns its outcome.
func (c *client) send(s *amqp.Sender, body string) (amqp.DeliveryState, error) {
	receipt, err := s.SendWithReceipt(soon(c.t), text(body), nil)
	if err != nil {
		return nil, err
	}
	return receipt.Wait(soon(c.t))
}

// receive returns the next message and its body.
func (c *client) receive(r *amqp.Receiver) (*amqp.Message, string) {
	c.t.Helper()
	m, err := r.Receive(soon(c.t), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, _ := m.Value.(string)
	return m, body
}

// clean asserts that the client did nothing that it must not do.
func clean(t *testing.T, p *Peer) {
	t.Helper()
	if v := p.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
}

// happens waits for an event with that name after the first n.
func happens(t *testing.T, p *Peer, n int, name string) Event {
	t.Helper()
	e, err := p.WaitAfter(soon(t), n, func(e Event) bool { return e.Name == name })
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return e
}

// condition is that of the peer's error within err.
func condition(err error) string {
	var link *amqp.LinkError
	var session *amqp.SessionError
	var conn *amqp.ConnError
	var own *amqp.Error
	switch {
	case errors.As(err, &link) && link.RemoteErr != nil:
		return string(link.RemoteErr.Condition)
	case errors.As(err, &session) && session.RemoteErr != nil:
		return string(session.RemoteErr.Condition)
	case errors.As(err, &conn) && conn.RemoteErr != nil:
		return string(conn.RemoteErr.Condition)
	case errors.As(err, &own):
		return string(own.Condition)
	default:
		return ""
	}
}

// eventually waits for what no event tells.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
