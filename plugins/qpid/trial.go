// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
)

// trial is an address that is tried out with links of its own.
type trial struct {
	to           string
	capabilities []string
	dynamic      bool // the peer is asked for an address
	copies       int  // how many receivers have to get a copy of one message
}

// try attaches the trial's receivers and a sender, and sends one message. It returns what does not
// work, or nil.
func (c *conn) try(ctx context.Context, s *session, t trial) *driver.Error {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	var receivers []*amqp.Receiver
	for range t.copies {
		r, done, err := t.receiver(ctx, s)
		if err != nil {
			return err
		}
		defer done()
		receivers = append(receivers, r)
		if t.dynamic {
			t.to = r.Address()
		}
	}
	if err := t.send(ctx, s); err != nil {
		return err
	}
	for i, r := range receivers {
		m, err := r.Receive(ctx, nil)
		if err == nil {
			err = r.AcceptMessage(ctx, m)
		}
		if err != nil {
			e := linkError("receive from "+t.to, err)
			if i > 0 {
				e.Message = "only some of the receivers get a copy: " + e.Message
			}
			return e
		}
	}
	return nil
}

// receiver attaches one. done closes it.
func (t trial) receiver(ctx context.Context, s *session) (_ *amqp.Receiver, done func(), _ *driver.Error) {
	what := "receive from " + t.to
	if t.dynamic {
		what = "make a reply address"
	}
	l, err := s.lease(ctx, forReceiver)
	if err != nil {
		return nil, nil, linkError(what, err)
	}
	r, err := l.NewReceiver(ctx, t.to, &amqp.ReceiverOptions{
		Name: "openstack.org/om/receiver/[" + t.to + "]/" + uuid.NewString(), Credit: 1,
		DynamicAddress: t.dynamic, SourceCapabilities: t.capabilities, TargetAddress: t.to,
	})
	if err != nil {
		endLease(ctx, l, err)
		return nil, nil, linkError(what, err)
	}
	return r, func() { goodBye(ctx, r, l) }, nil
}

// send sends a message that nothing but a trial understands.
func (t trial) send(ctx context.Context, s *session) *driver.Error {
	what := "send to " + t.to
	l, err := s.lease(ctx, forSender)
	if err != nil {
		return linkError(what, err)
	}
	snd, err := l.NewSender(ctx, t.to, &amqp.SenderOptions{
		Name: "openstack.org/om/sender/[" + t.to + "]/" + uuid.NewString(), SourceAddress: t.to, TargetCapabilities: t.capabilities,
	})
	if err != nil {
		endLease(ctx, l, err)
		return linkError(what, err)
	}
	defer goodBye(ctx, snd, l)
	receipt, err := snd.SendWithReceipt(ctx, &amqp.Message{Value: "parley doctor", Properties: &amqp.MessageProperties{To: &t.to}}, nil)
	if err != nil {
		return linkError(what, err)
	}
	state, err := receipt.Wait(ctx)
	if err != nil {
		return linkError(what, err)
	}
	bad, _ := judge("the message to "+t.to, state)
	return bad
}

// goodBye closes a link and gives its session back.
func goodBye(ctx context.Context, link interface{ Close(context.Context) error }, l *lease) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	_ = link.Close(bye) // a peer that does not answer is left with it
	l.release(bye, nil)
}

func endLease(ctx context.Context, l *lease, why error) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	l.release(bye, why)
}
