// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// Send implements the service. Every message has its result before the next frame is read, so
// there is nothing to withdraw.
func (s *server) Send(stream pb.Driver_SendServer) error {
	frame, err := stream.Recv()
	if err != nil {
		return err
	}
	epoch := frame.GetEpoch()
	c, err := s.conn(epoch, frame.GetConn())
	if err != nil {
		return err
	}
	next := uint64(1)
	for {
		if frame.GetEpoch() != epoch {
			return failure("PROTOCOL", "a send of epoch %d came in epoch %d", frame.GetEpoch(), epoch)
		}
		if in := frame.GetMessages(); len(in) > 0 {
			if frame.GetFirst() != next {
				return failure("PROTOCOL", "message %d came where %d was expected", frame.GetFirst(), next)
			}
			next += uint64(len(in))
			if err := stream.Send(s.results(c, frame)); err != nil {
				return err
			}
		}
		if frame, err = stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// results sends the messages of a frame and says what became of them.
func (s *server) results(c *conn, frame *pb.SendHostFrame) *pb.SendDriverFrame {
	out := &pb.SendDriverFrame{Epoch: frame.GetEpoch()}
	for i, m := range frame.GetMessages() {
		number := frame.GetFirst() + uint64(i)
		if err := s.send(c, m); err != nil {
			out.Failed = append(out.Failed, &pb.SendFailure{Number: number, Error: inFrame(err)})
			continue
		}
		out.Accepted = append(out.Accepted, &pb.Range{First: number, Count: 1})
	}
	return out
}

func (s *server) send(c *conn, m *pb.Message) error {
	if c.limit > 0 && len(m.GetBody()) > c.limit {
		return failure("MESSAGE_TOO_LARGE", "a body of %d bytes is above %s=%d", len(m.GetBody()), limitOption, c.limit)
	}
	// A driver of those days copied the fields it knew into a value of its own. What came with
	// the message beyond them went no further.
	m.ProtoReflect().SetUnknown(nil)
	return s.broker.send(m)
}
