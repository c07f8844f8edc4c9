// SPDX-License-Identifier: Apache-2.0

package wire

// Error is why a message received cannot be used. Its text is made for a log line and for the
// peer: it names the reason and quotes nothing of the payload.
type Error struct {
	Problem string
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
