// SPDX-License-Identifier: Apache-2.0

package legacy

// Error is why frames are no request or reply of version 1.0. Its text is made for a log line: it
// names the problem and quotes nothing of what a peer sent.
type Error struct {
	Problem string
	Err     error // the cause, or nil
}

// Error returns the problem and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "zmq 1.0: " + e.Problem
	}
	return "zmq 1.0: " + e.Problem + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
