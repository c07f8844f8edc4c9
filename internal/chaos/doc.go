// SPDX-License-Identifier: Apache-2.0

// Package chaos breaks everything that can break, at random, while two applications call each
// other, and proves by a ledger that the promises hold.
//
// There are two ends, each with a Host of its own and so a driver process of its own, each
// behind a TCP proxy of its own, in front of one real RabbitMQ. Each end calls the other, which
// is at most once, and sends it casts to a server with AckAfterHandler, which is at least once.
// A plan, made of a seed, says when which fault hits which end; faults of different kinds
// overlap as the plan wants it.
//
// When the plan is over everything is healed, drained and closed, and the ledger is judged: no
// accepted cast is lost, no call has run twice, no caller hung, and no process, file or
// goroutine is left. What each kind of fault cost is the time until calls that began after it
// were answered, in both directions.
package chaos
