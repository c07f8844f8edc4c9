// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"math"

	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/plugin/proto"
)

// ProtocolMajor is the protocol this package speaks.
const ProtocolMajor = 1

// Limits bound what goes through one process. Zero values mean the defaults.
type Limits struct {
	// MaxFrameBytes is the largest frame either side sends, so the largest message; option
	// "max frame bytes". Both sides tell theirs, the smaller counts.
	MaxFrameBytes int
	// MaxSendsInFlight is how many messages of one connection may wait for their result.
	MaxSendsInFlight int
}

const (
	defaultMaxFrameBytes    = 16 << 20
	defaultMaxSendsInFlight = 4096
	minFrameBytes           = 64 << 10

	// frameOverhead is kept free in a frame for its own fields.
	frameOverhead = 1 << 10

	// A busy writer puts at most this much into one frame, so that a later small message
	// does not wait behind megabytes, and marshalling overlaps with the other side's work.
	batchMessages = 256
	batchBytes    = 256 << 10

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
	if n := other.GetMaxSendsInFlight(); n > 0 && int64(n) < int64(l.MaxSendsInFlight) {
		l.MaxSendsInFlight = int(n)
	}
	return l
}

func (l Limits) toProto() *pb.Limits {
	return &pb.Limits{MaxFrameBytes: uint64(l.MaxFrameBytes), MaxSendsInFlight: uint32(l.MaxSendsInFlight)}
}

// maxMessage is the largest message that fits into a frame.
func (l Limits) maxMessage() int { return l.MaxFrameBytes - frameOverhead }

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
