// SPDX-License-Identifier: Apache-2.0

// Package bench compares Parley with the same work written by hand against the broker's Go
// library, and with Python oslo.messaging, in one run on one private broker; and, over zmq,
// with the same echo written by hand against package zmq4 and against pyzmq.
//
// The rules of a fair comparison: the same broker, queue kind, acknowledgement moment,
// mandatory flag, publisher confirms, body size and number in flight; client and server in
// separate processes on both sides; the contenders alternate, three times or more, and the
// median of their ratios is given with its spread. CPU seconds per thousand calls count every
// process of a contender, drivers included, and the broker beside them.
package bench
