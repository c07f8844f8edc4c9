// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"crypto/tls"
	"log/slog"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Options are the limits and the manner of a Conn or Listener. Zero means the default that is
// given with each.
type Options struct {
	// Identity is ours in READY, up to 255 bytes, the first not zero. Only the dialling side has
	// one.
	Identity string
	// Handshake bounds everything from the connected socket to the peer's READY, TLS too. 2 s.
	Handshake time.Duration
	// WriteTimeout bounds one write to the socket, of up to 512 KiB. 10 s. It may take a quarter
	// more.
	WriteTimeout time.Duration
	// DialTimeout bounds finding and connecting to the peer. 3 s.
	DialTimeout time.Duration
	// MaxMessage is the most bytes that all frames of a message may have. 64 MiB + 64 KiB.
	MaxMessage int
	// MaxFrames is the most frames of a message. 64.
	MaxFrames int
	// MaxBuffered is the most bytes that wait for the socket, with what ZMTP adds to each frame.
	// 64 MiB + MaxMessage.
	MaxBuffered int
	// MaxHandshakes bounds the unfinished handshakes of a Listener. Above it the oldest one is
	// closed: a peer that means it needs a few milliseconds, so a flood of silent clients meets
	// its own kind, and who comes newly is heard. 512.
	MaxHandshakes int
	// MaxConns bounds the open Conns of a Listener. Above it new clients are closed at once. 8192.
	MaxConns int
	// PingInterval is the time between two PINGs, which go only to peers of ZMTP 3.1 and later.
	// A peer that has sent no byte for three of them is taken for dead, by Recv. 1 s; negative for
	// no PINGs.
	PingInterval time.Duration
	// TLS is used when set, see [TLS].
	TLS *tls.Config
	// Budget bounds the unfinished big messages of all Conns that share it. A Listener without one
	// makes one of 256 MiB, a dialled Conn without one is bounded by MaxMessage.
	Budget *Budget
	// Logger gets what a Listener refuses; nil for nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Handshake = orDefault(o.Handshake, 2*time.Second)
	o.WriteTimeout = orDefault(o.WriteTimeout, 10*time.Second)
	o.DialTimeout = orDefault(o.DialTimeout, 3*time.Second)
	o.MaxMessage = orDefault(o.MaxMessage, 64*mib+64*kib)
	o.MaxFrames = orDefault(o.MaxFrames, 64)
	o.MaxBuffered = orDefault(o.MaxBuffered, 64*mib+o.MaxMessage)
	o.MaxHandshakes = orDefault(o.MaxHandshakes, 512)
	o.MaxConns = orDefault(o.MaxConns, 8192)
	o.PingInterval = orDefault(o.PingInterval, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
