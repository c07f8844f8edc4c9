// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/plugin/proto"
)

// ErrSilent is returned by Session when the driver did not answer heartbeats: it is stopped,
// deadlocked or starved.
var ErrSilent = errors.New("the driver does not answer heartbeats")

// SessionOptions tune the session.
type SessionOptions struct {
	Interval time.Duration     // between heartbeats
	Silence  time.Duration     // without an answer, until the driver counts as hung
	Levels   <-chan slog.Level // changes of the log level; may be nil
}

// Session holds the session stream until ctx ends, the process ends or the driver falls
// silent. It is the driver's lifeline: a driver whose session ended ends itself.
func (p *Peer) Session(ctx context.Context, o SessionOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.client.Session(ctx)
	if err != nil {
		return FromGRPC(err)
	}
	var heard atomic.Int64 // when the last answer came, in Unix nanoseconds
	heard.Store(time.Now().UnixNano())
	ended := make(chan error, 1)
	go func() { ended <- p.readSession(stream, &heard) }()

	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	frame := &pb.SessionHostFrame{Epoch: p.epoch}
	for {
		frame.Heartbeat++
		if err := stream.Send(frame); err != nil {
			return <-ended
		}
		frame.LogLevel = nil
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			_ = stream.CloseSend() // the driver ends itself on it; a dead stream says so to the reader
			cancel()
			<-ended //nolint:errcheck // it is the end that we asked for
			return ctx.Err()
		case level := <-o.Levels:
			n := int32(level)
			frame.LogLevel = &n
		case <-ticker.C:
			if silent := time.Since(time.Unix(0, heard.Load())); silent > o.Silence {
				cancel()
				<-ended //nolint:errcheck // the cause is the silence
				return fmt.Errorf("%w for %v", ErrSilent, silent.Round(time.Millisecond))
			}
		}
	}
}

func (p *Peer) readSession(stream grpc.BidiStreamingClient[pb.SessionHostFrame, pb.SessionDriverFrame], heard *atomic.Int64) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return FromGRPC(err)
		}
		if frame.GetEpoch() != p.epoch {
			return protocolError("a session frame of epoch %d came in epoch %d", frame.GetEpoch(), p.epoch)
		}
		heard.Store(time.Now().UnixNano())
		for _, s := range frame.GetStates() {
			p.report(s)
		}
	}
}
