// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	amqp "github.com/Azure/go-amqp"
)

// amqp1Server echoes, counts casts, and tells how many.
type amqp1Server struct {
	conn  *amqp.Conn
	in    *amqp.Receiver
	noted atomic.Int64

	mu      sync.Mutex
	answers map[string]*amqp1Sender // by reply address; guarded by mu
}

// AMQP1Server answers requests on a topic until ctx ends: the args come back as the response.
func AMQP1Server(ctx context.Context, s Setup, ready func(address string)) error {
	conn, err := dialAMQP1(ctx, s.URL)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return err
	}
	srv := &amqp1Server{conn: conn, answers: make(map[string]*amqp1Sender)}
	srv.in, err = session.NewReceiver(ctx, amqp1Address(s.Topic), &amqp.ReceiverOptions{
		Credit: amqp1ServerCredit, SettlementMode: amqp.ReceiverSettleModeFirst.Ptr(), TargetAddress: amqp1Address(s.Topic),
	})
	if err != nil {
		return err
	}
	ready("")
	ended := make(chan error, amqp1Workers)
	for range amqp1Workers {
		go func() { ended <- srv.serve(ctx) }() // ends with ctx or the connection
	}
	err = <-ended
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve takes requests, each accepted before it is answered, as upstream does it.
func (s *amqp1Server) serve(ctx context.Context) error {
	for {
		m, err := s.in.Receive(ctx, nil)
		if err != nil {
			return err
		}
		if err := s.in.AcceptMessage(ctx, m); err != nil {
			return err
		}
		if err := s.answer(ctx, m); err != nil {
			return err
		}
	}
}

func (s *amqp1Server) answer(ctx context.Context, m *amqp.Message) error {
	text, err := amqp1Text(m)
	if err != nil {
		return err
	}
	var response string
	switch {
	case strings.HasPrefix(text, `{"request": {"method": "note"`):
		s.noted.Add(1)
		return nil
	case strings.HasPrefix(text, `{"request": {"method": "count"`):
		response = strconv.FormatInt(s.noted.Load(), 10)
	default:
		args, ok := textBetween(text, `"args": `, `, "version"`)
		if !ok {
			return fmt.Errorf("request of another shape: %.200s", text)
		}
		response = args
	}
	if m.Properties == nil || m.Properties.ReplyTo == nil {
		return errors.New("a request without a reply address")
	}
	to := *m.Properties.ReplyTo
	out, err := s.to(ctx, to)
	if err != nil {
		return err
	}
	return out.sendSettled(ctx, &amqp.Message{
		Header:     &amqp.MessageHeader{Priority: 4},
		Properties: &amqp.MessageProperties{To: &to, CorrelationID: m.Properties.MessageID},
		Value:      `{"response": ` + response + `}`,
	})
}

// to is the link to a client.
func (s *amqp1Server) to(ctx context.Context, address string) (*amqp1Sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if out := s.answers[address]; out != nil {
		return out, nil
	}
	out, err := newAMQP1Sender(ctx, s.conn, address)
	if err == nil {
		s.answers[address] = out
	}
	return out, err
}
