// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// The hand-written opponent over AMQP 1.0: the wire of oslo.messaging's amqp1 driver on package
// go-amqp. One connection for each process, a session for each link, a dynamic node for replies,
// requests unsettled with their outcomes read in order, replies settled over a link for each
// client, upstream's credits, no JSON library.

const (
	amqp1ReplyCredit  = 200 // upstream's reply_link_credit
	amqp1ServerCredit = 100 // upstream's rpc_server_credit
	// amqp1Workers receive and answer side by side in the server: one alone waits for the library
	// to write each of its two frames.
	amqp1Workers = 4
	// amqp1Renew is after how many settled messages a link is made anew. Broker-J loses credit of
	// settled messages, and after some twenty thousand it grants one at a time.
	amqp1Renew = 10_000
	// ReliableCasts is the option of Parley that waits for casts to be accepted. In the URL of the
	// hand-written client it does the same.
	ReliableCasts = "reliable_casts=true"
)

func amqp1Address(topic string) string { return "unicast.openstack." + topic }

func dialAMQP1(ctx context.Context, url string) (*amqp.Conn, error) {
	url, _, _ = strings.Cut(strings.Replace(url, "qpid://", "amqp://", 1), "?")
	return amqp.Dial(ctx, url, &amqp.ConnOptions{IdleTimeout: -1})
}

// amqp1Sender is a sender link with a session of its own.
type amqp1Sender struct {
	conn    *amqp.Conn
	address string

	mu      sync.Mutex
	session *amqp.Session // guarded by mu
	link    *amqp.Sender  // guarded by mu
	settled int           // messages of link; guarded by mu
}

func newAMQP1Sender(ctx context.Context, conn *amqp.Conn, address string) (*amqp1Sender, error) {
	s := &amqp1Sender{conn: conn, address: address}
	_, err := s.open(ctx, 0)
	return s, err
}

// open returns the link for n further settled messages, a new one if it has carried enough.
func (s *amqp1Sender) open(ctx context.Context, n int) (*amqp.Sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && s.settled < amqp1Renew {
		s.settled += n
		return s.link, nil
	}
	var err error
	if s.link != nil { // what others are sending on it is sent: they hold it for a moment only
		old := s.link
		defer func() { go amqp1CloseLater(old) }()
	} else if s.session, err = s.conn.NewSession(ctx, nil); err != nil {
		return nil, err
	}
	s.settled = n
	s.link, err = s.session.NewSender(ctx, s.address, &amqp.SenderOptions{SourceAddress: s.address})
	return s.link, err
}

// amqp1CloseLater closes a link when whoever took it before has sent.
func amqp1CloseLater(link *amqp.Sender) {
	<-time.After(time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = link.Close(ctx) // the connection may be closed
}

func (s *amqp1Sender) sendSettled(ctx context.Context, m *amqp.Message) error {
	link, err := s.open(ctx, 1)
	if err != nil {
		return err
	}
	return link.Send(ctx, m, &amqp.SendOptions{Settled: true})
}

func (s *amqp1Sender) sendUnsettled(ctx context.Context, m *amqp.Message) (amqp.SendReceipt, error) {
	link, err := s.open(ctx, 0)
	if err != nil {
		return amqp.SendReceipt{}, err
	}
	return link.SendWithReceipt(ctx, m, nil)
}

// amqp1Accepted waits for the peer to take a message.
func amqp1Accepted(ctx context.Context, r amqp.SendReceipt) error {
	state, err := r.Wait(ctx)
	if err != nil {
		return err
	}
	if _, ok := state.(*amqp.StateAccepted); !ok {
		return fmt.Errorf("the broker did not accept the message: %T", state)
	}
	return nil
}

// amqp1Text is the body of a message, of whatever section.
func amqp1Text(m *amqp.Message) (string, error) {
	text, ok := m.Value.(string)
	if !ok {
		return "", errors.New("a message without text")
	}
	return text, nil
}

// textBetween is what stands between two texts.
func textBetween(s, before, after string) (string, bool) {
	_, s, ok := strings.Cut(s, before)
	if !ok {
		return "", false
	}
	return cutLast(s, after)
}

func cutLast(s, after string) (string, bool) {
	i := strings.LastIndex(s, after)
	if i < 0 {
		return "", false
	}
	return s[:i], true
}
