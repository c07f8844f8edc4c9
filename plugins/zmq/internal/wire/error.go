// SPDX-License-Identifier: Apache-2.0

package wire

// Error is why frames are no packet. Its text is made for a log line: it names the place and the
// problem and quotes nothing of what a peer sent.
type Error struct {
	Problem string
	// Type and Seq are the packet's as far as they could be read before the problem, else zero.
	// With a Seq the packet was a message, and can be refused with NackBad.
	Type Type
	Seq  uint64
	// Unknown: the packet is well formed and of a type that this version does not know. It is
	// from a later one, and can be ignored.
	Unknown bool
	Err     error // the cause, or nil
}

// Error returns the problem and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "wire: " + e.Problem
	}
	return "wire: " + e.Problem + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
