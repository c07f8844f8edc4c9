// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

// Why a Conn ended or a message was not taken. They are wrapped with the peer's address and more.
var (
	// ErrClosed: this side closed the Conn or the Listener.
	ErrClosed = errors.New("closed by this side")
	// ErrPeerClosed: the peer closed the connection between two messages.
	ErrPeerClosed = errors.New("the peer closed the connection")
	// ErrSilent: the peer sent no byte for three PINGs.
	ErrSilent = errors.New("the peer is silent")
	// ErrStalled: the peer took no bytes for WriteTimeout.
	ErrStalled = errors.New("the peer takes no bytes")
	// ErrProtocol: the peer broke ZMTP or a limit.
	ErrProtocol = errors.New("the peer broke the protocol")
	// ErrCrowded: unfinished big messages of all peers were above the Budget.
	ErrCrowded = errors.New("too many unfinished big messages")
	// ErrBacklog: MaxBuffered bytes wait for the socket; nothing was queued.
	ErrBacklog = errors.New("too many bytes wait for the peer")
	// ErrTooLarge: the message is above MaxMessage or MaxFrames, or has no frame; nothing was
	// queued.
	ErrTooLarge = errors.New("the message is above a limit")
)

// refusal is what the peer did against the protocol, with the ending that says so.
func refusal(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}

// errMechanism and errIncompatible have hints of their own.
var (
	errMechanism    = errors.New("it wants another security mechanism than NULL")
	errIncompatible = errors.New("its socket type does not fit")
)

// quoted shows foreign bytes: printable, and short.
func quoted(b []byte) string {
	const most = 64
	if len(b) > most {
		return strconv.Quote(string(b[:most])) + "..."
	}
	return strconv.Quote(string(b))
}

// readFailure names what ended reading. It leaves what it does not know as it is.
func readFailure(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return ErrPeerClosed
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w in the middle of a message", ErrPeerClosed)
	default:
		return err
	}
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
