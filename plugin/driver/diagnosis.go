// SPDX-License-Identifier: Apache-2.0

package driver

import "context"

// Diagnoser is an optional ability of a Conn: to tell people what the driver found at its broker,
// and what the broker's operator should change. "parley doctor" asks for it.
type Diagnoser interface {
	// Diagnose looks at the broker.
	//
	//	DIAG-1  It waits for the broker until ctx ends; then it fails as Send does (SEND-4).
	//	DIAG-2  What it has to make at the broker to find out has a random name and is gone when it
	//	        returns, as far as the broker lets go of it. It disturbs nothing that is under way.
	//	DIAG-3  It shows no credentials. There are at most MaxFindings.
	Diagnose(ctx context.Context) ([]Finding, error)
}

// MaxFindings bounds what one Diagnose returns.
const MaxFindings = 64

// Finding is one fact about the broker, for people.
type Finding struct {
	// Topic is what it is about, one lower-case word or two: "product", "addressing".
	Topic string
	// Detail is the fact in one line.
	Detail string
	// Flaw says that something does not work, or will not work well, because of it.
	Flaw bool
	// Hint is what to do about it; it may have several lines, such as a piece of configuration.
	Hint string
}
