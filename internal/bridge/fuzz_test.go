// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

const fuzzEpoch = 3

// seed adds frames that are well formed, so that the fuzzer starts from them.
func seed(f *testing.F, frames ...proto.Message) {
	f.Helper()
	for _, frame := range frames {
		b, err := proto.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzFramesFromDriver gives the host what a driver could send. It must not panic, nor report
// a message twice, nor take more deliveries than it granted.
func FuzzFramesFromDriver(f *testing.F) {
	seed(f,
		&pb.SendDriverFrame{Epoch: fuzzEpoch, Accepted: []*pb.Range{{First: 1, Count: 2}}},
		&pb.SendDriverFrame{Epoch: fuzzEpoch, Failed: []*pb.SendFailure{{Number: 3, Error: StatusToProto(driver.Errorf(driver.ReasonNoRoute, "no"))}}},
		&pb.ListenDriverFrame{Epoch: fuzzEpoch, Deliveries: []*pb.Delivery{{Token: 1, Message: &pb.Message{Kind: 1, Body: []byte("{}")}}}},
		&pb.ListenDriverFrame{Epoch: fuzzEpoch, Stopped: true},
		&pb.ListenDriverFrame{Epoch: fuzzEpoch, Deliveries: []*pb.Delivery{{
			Message: &pb.Message{Kind: 3, CallId: "c"}, Lost: StatusToProto(driver.Errorf(driver.ReasonNotConnected, "lost")),
		}}},
		&pb.DiagnoseResponse{Findings: []*pb.Finding{{Topic: "product", Detail: "one", Hint: "two", Flaw: true}}},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzSendResults(t, b)
		fuzzDeliveries(t, b)
		fuzzFindings(t, b)
	})
}

func fuzzSendResults(t *testing.T, b []byte) {
	var frame pb.SendDriverFrame
	if proto.Unmarshal(b, &frame) != nil {
		return
	}
	s := newSender(nil, fuzzEpoch, 1, Limits{}.withDefaults(), newBrokerState())
	reported := make([]int, 8)
	for i := range reported {
		out := &outgoing{m: &driver.Message{}, index: i, done: func(i int, _ error) { reported[i]++ }}
		out.number = s.inFlight.push(out)
		s.room.take(out)
	}
	_ = s.results(&frame) // an error is an answer
	_ = s.results(&frame) // a repeated frame must not report again
	s.fail(protocolError("end"))
	for i, n := range reported {
		if n != 1 {
			t.Errorf("message %d was reported %d times", i, n)
		}
	}
	if s.room.messages > s.limits.MaxSendsInFlight {
		t.Errorf("room for %d messages, the limit is %d", s.room.messages, s.limits.MaxSendsInFlight)
	}
}

func fuzzDeliveries(t *testing.T, b []byte) {
	var frame pb.ListenDriverFrame
	if proto.Unmarshal(b, &frame) != nil {
		return
	}
	const credit = 4
	l := &Listener{epoch: fuzzEpoch, credit: credit, replies: true, ready: make(chan struct{}, 1), stopped: make(chan struct{})}
	for range 3 {
		if err := l.receive(&frame); err != nil {
			break
		}
	}
	if len(l.buffered) > credit {
		t.Errorf("%d deliveries on a credit of %d", len(l.buffered), credit)
	}
	for _, d := range l.buffered {
		if d.Lost != nil && (!d.Lost.InDoubt || d.CallID == "" || d.Token != 0 || d.Body != nil || sizeOf(d) > len(b)+10*maxLostText) {
			t.Errorf("lost is %+v", d)
		}
	}
}

func fuzzFindings(t *testing.T, b []byte) {
	var r pb.DiagnoseResponse
	if proto.Unmarshal(b, &r) != nil {
		return
	}
	findings, err := findingsFromProto(&r)
	if len(findings) > driver.MaxFindings || err != nil && findings != nil {
		t.Errorf("%d findings, %v", len(findings), err)
	}
	for _, f := range findings {
		if len(f.Topic)+len(f.Detail)+len(f.Hint) > 2*(maxFindingTopic+maxFindingDetail+maxFindingHint) {
			t.Errorf("a finding of %d bytes", len(f.Topic)+len(f.Detail)+len(f.Hint))
		}
	}
}

// FuzzFramesFromHost gives the driver's side what a host could send.
func FuzzFramesFromHost(f *testing.F) {
	seed(f,
		&pb.SendHostFrame{Epoch: fuzzEpoch, First: 1, Messages: []*pb.Message{{Kind: 1, Topic: "t", Body: []byte("{}"), TimeLeftUs: 10}}},
		&pb.SendHostFrame{Epoch: fuzzEpoch, Cancel: []uint64{1, 2}},
		&pb.ListenHostFrame{Epoch: fuzzEpoch, CreditMessages: 10, CreditBytes: 1000, Outcomes: []*pb.Outcome{{Token: 1, Count: 3, Result: 1}}},
		&pb.OpenRequest{Conn: 1, Epoch: fuzzEpoch, Hosts: []*pb.BrokerHost{{Name: "h", Port: 1}}},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzSends(t, b)
		fuzzOutcomes(t, b)
		var open pb.OpenRequest
		if proto.Unmarshal(b, &open) == nil {
			openFromProto(&open)
		}
	})
}

func fuzzSends(t *testing.T, b []byte) {
	var frame pb.SendHostFrame
	if proto.Unmarshal(b, &frame) != nil {
		return
	}
	sent := 0
	f := &sendFeed{
		server: &Server{logger: slog.New(slog.DiscardHandler)}, epoch: fuzzEpoch, ctx: t.Context(), next: 1,
		wake: make(chan struct{}, 1), frames: make(map[uint64]*sentFrame), limit: 16,
		async: asyncFunc(func(batch []*driver.Message, done func(int, error)) {
			for i := range batch {
				sent++
				done(i, nil)
			}
		}),
	}
	for _, number := range frame.GetCancel() {
		f.cancelMessage(number)
	}
	if err := f.take(&frame); err == nil && sent != len(frame.GetMessages()) {
		t.Errorf("%d messages came, %d were sent", len(frame.GetMessages()), sent)
	}
}

func fuzzOutcomes(t *testing.T, b []byte) {
	var frame pb.ListenHostFrame
	if proto.Unmarshal(b, &frame) != nil {
		return
	}
	d := &doneCounter{seen: make(map[uint64]int)}
	f := &listenFeed{server: &Server{logger: slog.New(slog.DiscardHandler)}, epoch: fuzzEpoch, listener: d, settleOnDone: true, wake: make(chan struct{}, 1)}
	for own := range uint64(8) {
		f.tokens.push(100 + own)
	}
	_ = f.settle(t.Context(), frame.GetOutcomes()) // an error is an answer
	f.grant(&frame)
	f.grant(&frame)
	for token, n := range d.seen {
		if n != 1 || token < 100 || token > 107 {
			t.Errorf("token %d was settled %d times", token, n)
		}
	}
	if f.credit > maxCredit || f.bytes > maxCreditBytes {
		t.Errorf("credit of %d messages and %d bytes", f.credit, f.bytes)
	}
	sourceFromProto(frame.GetSource())
}

// asyncFunc is an AsyncSender.
type asyncFunc func([]*driver.Message, func(int, error))

func (f asyncFunc) SendAsync(_ context.Context, batch []*driver.Message, done func(int, error)) {
	f(batch, done)
}

// doneCounter is a Listener that counts what is settled.
type doneCounter struct {
	driver.Listener
	seen map[uint64]int
}

func (d *doneCounter) Done(_ context.Context, outcomes []driver.Outcome) error {
	for _, o := range outcomes {
		d.seen[o.Token]++
	}
	return nil
}
