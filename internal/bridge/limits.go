// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"math"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Limits bound what goes through one process. Zero values mean the defaults.
type Limits struct {
	// MaxFrameBytes is the largest frame either side sends. Both sides tell theirs, the smaller
	// counts.
	MaxFrameBytes int
	// MaxMessageBytes is the largest message in total: what does not fit into a chunk goes in
	// several. Both sides tell theirs, the smaller counts. In what was agreed, 0 is a peer that
	// knows no chunks: a message is then at most a frame.
	MaxMessageBytes int
	// MaxSendsInFlight is how many messages of one connection may wait for their result.
	MaxSendsInFlight int

	// theirs: the other side's MaxMessageBytes is the smaller one.
	theirs bool
}

const (
	defaultMaxFrameBytes    = 16 << 20
	defaultMaxMessageBytes  = 64 << 20
	defaultMaxSendsInFlight = 4096
	minFrameBytes           = 64 << 10

	// frameOverhead is kept free in a frame for its own fields.
	frameOverhead = 1 << 10

	// A busy writer puts at most this much into one frame, so that a later small message
	// does not wait behind megabytes, and marshalling overlaps with the other side's work.
	batchMessages = 256
	batchBytes    = 256 << 10

	// chunkBytes is the most that a message takes of a frame; a larger one goes in chunks.
	chunkBytes = 256 << 10
	// frameParts is what a frame is divided by: a batch, a chunk, and the head of the message
	// that the chunk completes, go into one.
	frameParts = 4

	// sendWindowBytes is how much of a connection's messages may be without a result, beside
	// the large ones, for which MaxMessageBytes counts. The driver holds them while its broker
	// takes none.
	sendWindowBytes = 64 << 20

	// listenWindowBytes is how much a listener may have under way.
	listenWindowBytes = 8 << 20

	streamWindow = 4 << 20
	connWindow   = 16 << 20
	ioBuffer     = 64 << 10
)

func (l Limits) withDefaults() Limits {
	if l.MaxFrameBytes <= 0 {
		l.MaxFrameBytes = defaultMaxFrameBytes
	}
	l.MaxFrameBytes = min(max(l.MaxFrameBytes, minFrameBytes), math.MaxInt32/2)
	if l.MaxMessageBytes <= 0 {
		l.MaxMessageBytes = defaultMaxMessageBytes
	}
	l.MaxMessageBytes = min(l.MaxMessageBytes, math.MaxInt32)
	if l.MaxSendsInFlight <= 0 {
		l.MaxSendsInFlight = defaultMaxSendsInFlight
	}
	return l
}

// agree returns the limits that hold between l and the other side's.
func (l Limits) agree(other *pb.Limits) Limits {
	if n := other.GetMaxFrameBytes(); n > 0 && n < uint64(l.MaxFrameBytes) {
		l.MaxFrameBytes = max(int(n), minFrameBytes)
	}
	if n := other.GetMaxMessageBytes(); n < uint64(l.MaxMessageBytes) {
		l.MaxMessageBytes, l.theirs = int(n), true
	}
	if n := other.GetMaxSendsInFlight(); n > 0 && int64(n) < int64(l.MaxSendsInFlight) {
		l.MaxSendsInFlight = int(n)
	}
	return l
}

func (l Limits) toProto() *pb.Limits {
	return &pb.Limits{
		MaxFrameBytes: uint64(l.MaxFrameBytes), MaxMessageBytes: uint64(l.MaxMessageBytes),
		MaxSendsInFlight: uint32(l.MaxSendsInFlight),
	}
}

// maxMessage is the largest message.
func (l Limits) maxMessage() int {
	if l.MaxMessageBytes == 0 {
		return l.MaxFrameBytes - frameOverhead
	}
	return l.MaxMessageBytes
}

// batch and chunk are the most that a batch and a chunk take of a frame.
func (l Limits) batch() int { return min(batchBytes, l.MaxFrameBytes/frameParts) }

func (l Limits) chunk() int { return min(chunkBytes, l.MaxFrameBytes/frameParts) }

// inChunks reports whether a message of that size goes in chunks.
func (l Limits) inChunks(size int) bool { return l.MaxMessageBytes > 0 && size > l.chunk() }

// check refuses a message that is too large to cross.
func (l Limits) check(m *driver.Message, size int) *driver.Error {
	if limit := l.maxMessage(); size > limit {
		return driver.Errorf(driver.ReasonMessageTooLarge,
			"the %s message has %d bytes and the limit is %d", m.Kind, size, limit)
	}
	// Names and headers stay in one piece.
	if head := size - len(m.Context) - len(m.Body) - len(m.Failure); l.MaxMessageBytes > 0 && head > l.chunk() {
		return driver.Errorf(driver.ReasonMessageTooLarge,
			"the names and headers of the %s message have %d bytes and the limit is %d", m.Kind, head, l.chunk())
	}
	return nil
}

// largerHint says to a sender which option would allow more.
func (l Limits) largerHint() string {
	switch {
	case l.MaxMessageBytes == 0:
		return "send less: this driver takes no message in chunks, as one built with a newer SDK does with MaxMessageBytes"
	case l.theirs:
		return "send less, or raise MaxMessageBytes of the driver's ServeOptions"
	default:
		return "send less, or raise MaxMessageBytes of the Host"
	}
}

// DialOptions are the gRPC settings of the host's side. Windows are set for the stream and
// for the connection: setting one alone turns grpc-go's estimator off and leaves the other
// at 64 KiB. The connection never goes idle, since it could not be dialled again.
func DialOptions(l Limits) []grpc.DialOption {
	l = l.withDefaults()
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(l.MaxFrameBytes+frameOverhead),
			grpc.MaxCallSendMsgSize(l.MaxFrameBytes+frameOverhead),
		),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithIdleTimeout(0),
	}
}

// ServerOptions are the gRPC settings of the driver's side.
func ServerOptions(l Limits) []grpc.ServerOption {
	l = l.withDefaults()
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(l.MaxFrameBytes + frameOverhead),
		grpc.MaxSendMsgSize(l.MaxFrameBytes + frameOverhead),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.MaxConcurrentStreams(math.MaxUint32),
	}
}
