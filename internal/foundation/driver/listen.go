// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strconv"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// feed is one Listen stream.
type feed struct {
	id     string
	broker *broker
	epoch  uint64
	settle bool
	woken  chan struct{} // of capacity one: there may be something to deliver

	// The rest is guarded by broker.mu.
	queues   []*queue
	credit   uint32
	bytes    int
	stopping bool
	token    uint64
	open     map[uint64]delivered
}

// delivered is what waits for its outcome.
type delivered struct {
	entry entry
	from  *queue
}

// Listen implements the service.
func (s *server) Listen(stream pb.Driver_ListenServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	c, err := s.conn(first.GetEpoch(), first.GetConn())
	if err != nil {
		return err
	}
	f := &feed{
		id: strconv.FormatUint(s.broker.number(), 10), broker: s.broker, epoch: first.GetEpoch(),
		settle: first.GetSource().GetSettle() == settleOnDone,
		woken:  make(chan struct{}, 1), open: make(map[uint64]delivered),
	}
	if err := s.broker.listen(f, first.GetSource()); err != nil {
		return err
	}
	defer s.broker.forget(f)
	if err := stream.Send(&pb.ListenDriverFrame{Epoch: f.epoch, Listening: true}); err != nil {
		return err
	}
	f.grant(first)
	read := make(chan error, 1)
	go func() { read <- f.read(stream) }() // ends with the stream
	return f.write(stream, read, c.closed)
}

// write delivers until the host closes, or the stream or its connection ends.
func (f *feed) write(stream pb.Driver_ListenServer, read <-chan error, closed <-chan struct{}) error {
	stopped := false
	for {
		for d := f.broker.take(f); d != nil; d = f.broker.take(f) {
			if err := stream.Send(&pb.ListenDriverFrame{Epoch: f.epoch, Deliveries: []*pb.Delivery{d}}); err != nil {
				return err
			}
		}
		if !stopped && f.isStopping() {
			stopped = true
			if err := stream.Send(&pb.ListenDriverFrame{Epoch: f.epoch, Stopped: true}); err != nil {
				return err
			}
		}
		select {
		case err := <-read:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-f.woken:
		case <-closed:
			return failure("CLOSED", "the connection is closed")
		}
	}
}

// read takes credit and outcomes until the host closes.
func (f *feed) read(stream pb.Driver_ListenServer) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		if frame.GetEpoch() != f.epoch {
			return failure("PROTOCOL", "listener frame of epoch %d came in epoch %d", frame.GetEpoch(), f.epoch)
		}
		f.broker.settle(f, frame.GetOutcomes())
		f.grant(frame)
		if frame.GetClose() {
			return nil
		}
	}
}

func (f *feed) grant(frame *pb.ListenHostFrame) {
	f.broker.mu.Lock()
	f.credit += frame.GetCreditMessages()
	f.bytes += int(min(frame.GetCreditBytes(), 1<<30))
	f.stopping = f.stopping || frame.GetStop() || frame.GetClose()
	f.broker.mu.Unlock()
	f.notify()
}

func (f *feed) isStopping() bool {
	f.broker.mu.Lock()
	defer f.broker.mu.Unlock()
	return f.stopping
}

// deliver uses the credit of one delivery. The broker's lock is held.
func (f *feed) deliver(q *queue, e entry, m *pb.Message) *pb.Delivery {
	f.credit--
	f.bytes -= len(m.GetBody())
	d := &pb.Delivery{Message: m}
	if f.settle {
		f.token++
		d.Token = f.token
		f.open[f.token] = delivered{entry: e, from: q}
	}
	return d
}

func (f *feed) notify() {
	select {
	case f.woken <- struct{}{}:
	default: // it will look anyway
	}
}
