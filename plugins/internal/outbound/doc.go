// SPDX-License-Identifier: Apache-2.0

// Package outbound has what the drivers share that keep messages in queues of their own until their
// broker has taken them: the queue, the results of a batch, and the errors of what did not get
// there.
package outbound
