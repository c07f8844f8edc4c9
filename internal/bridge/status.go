// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// errorDomain is the domain of our ErrorInfo.
const errorDomain = "parley"

// The keys of an ErrorInfo's metadata.
const (
	metaRetryable  = "retryable"
	metaInDoubt    = "in_doubt"
	metaHint       = "hint"
	metaRetryAfter = "retry_after_us"
)

// maxErrorText bounds what a foreign error text may weigh.
const maxErrorText = 8 << 10

// code maps a reason to the canonical code, for clients that know nothing of our reasons.
func code(r driver.Reason) codes.Code {
	switch r {
	case driver.ReasonNotConnected, driver.ReasonDriverGone, driver.ReasonBrokerBlocked:
		return codes.Unavailable
	case driver.ReasonAuthRefused:
		return codes.Unauthenticated
	case driver.ReasonAccessRefused:
		return codes.PermissionDenied
	case driver.ReasonVirtualHostMissing, driver.ReasonNoRoute:
		return codes.NotFound
	case driver.ReasonPrecondition, driver.ReasonTLSFailed, driver.ReasonClosed:
		return codes.FailedPrecondition
	case driver.ReasonMessageTooLarge:
		return codes.ResourceExhausted
	case driver.ReasonExpired:
		return codes.DeadlineExceeded
	case driver.ReasonCancelled:
		return codes.Canceled
	case driver.ReasonUnsupported:
		return codes.Unimplemented
	case driver.ReasonConfig, driver.ReasonProtocol:
		return codes.InvalidArgument
	default:
		return codes.Internal
	}
}

func errorInfo(e *driver.Error) *errdetails.ErrorInfo {
	meta := make(map[string]string, 4)
	if e.Retryable {
		meta[metaRetryable] = "true"
	}
	if e.InDoubt {
		meta[metaInDoubt] = "true"
	}
	if e.Hint != "" {
		meta[metaHint] = clip(e.Hint)
	}
	if e.RetryAfter > 0 {
		meta[metaRetryAfter] = strconv.FormatInt(e.RetryAfter.Microseconds(), 10)
	}
	return &errdetails.ErrorInfo{Reason: string(e.Reason), Domain: errorDomain, Metadata: meta}
}

// StatusToProto returns err as a frame carries it, or nil for nil.
func StatusToProto(err error) *pb.Status {
	if err == nil {
		return nil
	}
	e := driver.AsError(err)
	s := &pb.Status{Code: int32(code(e.Reason)), Message: clip(e.Message)}
	if detail, aerr := anypb.New(errorInfo(e)); aerr == nil {
		s.Details = []*anypb.Any{detail}
	}
	return s
}

// StatusFromProto returns what a frame carried, or nil for nil.
func StatusFromProto(s *pb.Status) error {
	if s == nil {
		return nil
	}
	for _, detail := range s.GetDetails() {
		info := new(errdetails.ErrorInfo)
		if detail.MessageIs(info) && detail.UnmarshalTo(info) == nil {
			return fromInfo(s.GetMessage(), info)
		}
	}
	return &driver.Error{Reason: driver.ReasonInternal, Message: clip(s.GetMessage())}
}

func fromInfo(text string, info *errdetails.ErrorInfo) *driver.Error {
	e := &driver.Error{Reason: driver.Reason(info.GetReason()), Message: clip(text)}
	if !e.Reason.Known() || info.GetDomain() != errorDomain {
		e.Reason = driver.ReasonInternal
	}
	meta := info.GetMetadata()
	e.Retryable = meta[metaRetryable] == "true"
	e.InDoubt = meta[metaInDoubt] == "true"
	e.Hint = clip(meta[metaHint])
	if us, err := strconv.ParseInt(meta[metaRetryAfter], 10, 64); err == nil && us > 0 && us < int64(24*time.Hour/time.Microsecond) {
		e.RetryAfter = time.Duration(us) * time.Microsecond
	}
	return e
}

// clip bounds a foreign text and makes it valid UTF-8, which protobuf demands.
func clip(s string) string { return clipTo(s, maxErrorText) }

// clipTo is clip with another bound, in bytes.
func clipTo(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > limit+len(clipped) {
		s = strings.ToValidUTF8(s[:limit], "") + clipped
	}
	return s
}

// clipped ends a text that was longer.
const clipped = "…"

// ToGRPC returns err as the error of a unary call or of a whole stream.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	e := driver.AsError(err)
	st := status.New(code(e.Reason), clip(e.Message))
	if with, derr := st.WithDetails(errorInfo(e)); derr == nil {
		st = with
	}
	return st.Err()
}

// FromGRPC returns the error of a unary call or a stream as a *driver.Error. What gRPC itself
// reports (the process died, the connection broke) becomes ReasonDriverGone; the host adds
// what it knows of the process.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return &driver.Error{Reason: driver.ReasonDriverGone, Message: "the driver ended the stream", Retryable: true}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e
	}
	st, ok := status.FromError(err)
	if !ok {
		return &driver.Error{Reason: driver.ReasonInternal, Message: clip(err.Error()), Err: err}
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return fromInfo(st.Message(), info)
		}
	}
	return fromCode(st)
}

// fromCode translates what comes from gRPC, not from a driver.
func fromCode(st *status.Status) error {
	text := clip(st.Message())
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unavailable:
		return &driver.Error{Reason: driver.ReasonDriverGone, Message: "the driver process is gone: " + text, Retryable: true}
	case codes.ResourceExhausted:
		return &driver.Error{Reason: driver.ReasonMessageTooLarge, Message: "frame over the limit: " + text}
	case codes.Unimplemented:
		return &driver.Error{Reason: driver.ReasonUnsupported, Message: "the driver does not know this call: " + text}
	default:
		return &driver.Error{Reason: driver.ReasonProtocol, Message: text}
	}
}

func protocolError(format string, args ...any) *driver.Error {
	return driver.Errorf(driver.ReasonProtocol, format, args...)
}
