// SPDX-License-Identifier: Apache-2.0

package ledger

import "github.com/parleymq/parley/messaging"

// Topic is that of all servers.
const Topic = "work"

// The kinds of requests.
const (
	Call   = "call"
	Cast   = "cast"
	Fanout = "fanout"
)

// Args are those of every method.
type Args struct {
	ID    string `json:"id"`
	From  string `json:"from,omitempty"`
	At    int64  `json:"at,omitempty"` // when the request began
	Sleep int    `json:"sleep"`        // of the handler, in milliseconds
}

// Work is a call that gives its id back.
func Work() messaging.Method[Args, string] { return messaging.Method[Args, string]{Name: "work"} }

// note is a cast, and tell a fanout.
func note() messaging.Method[Args, string] { return messaging.Method[Args, string]{Name: "note"} }
func tell() messaging.Method[Args, string] { return messaging.Method[Args, string]{Name: "tell"} }
