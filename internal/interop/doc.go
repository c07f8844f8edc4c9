// SPDX-License-Identifier: Apache-2.0

// Package interop holds the tests of Parley with unmodified Python oslo.messaging peers on a
// real RabbitMQ and a real Broker-J, in both directions and through the real driver process: every
// kind of message, every kind of answer, the values, the request context, and the bytes on the wire
// against those recorded from the peers (sdk/envelope/testdata and plugins/rabbit/testdata; those
// of AMQP 1.0 are compared in plugins/qpid/internal/wire).
//
// What is proven are the tables in matrix_test.go and, for notifications, notifymatrix_test.go:
// each row runs with each release of oslo.messaging on its wire (meeting_test.go), in both
// directions. A row that needs what a wire has not is logged as not proven there. What notifiers of
// Python and of Parley published on RabbitMQ is in testdata/golden.
//
// The Go servers of the tests have the methods of the Python one, internal/peertest's
// server.py, so that one table of expectations holds for both.
package interop
