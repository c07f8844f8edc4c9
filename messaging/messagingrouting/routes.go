// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"slices"

	"github.com/parleymq/parley/messaging"
)

// Routes are the rules of a file. They are immutable.
type Routes struct {
	name   string // of the file
	groups []group
	blank  bool // there is not even an empty mapping
	// outlets are the names in the order of the file, with the line of the first mention.
	outlets []mention
}

type mention struct {
	name string
	line int
}

// group is a group of a file.
type group []route

// route is one outlet of a group with its rules.
type route struct {
	outlet int // in Routes.outlets
	// events and priorities are the rules; nil is no rule, and empty one that is never met.
	events     []glob
	priorities []messaging.Priority
}

// Outlets returns the names of the outlets, in the order of the file.
func (r *Routes) Outlets() []string {
	names := make([]string, len(r.outlets))
	for i, m := range r.outlets {
		names[i] = m.name
	}
	return names
}

// Match returns the names of the outlets that get an event, each once, in the order of the file.
func (r *Routes) Match(eventType string, p messaging.Priority) []string {
	var names []string
	for i, taken := range r.match(eventType, p) {
		if taken {
			names = append(names, r.outlets[i].name)
		}
	}
	return names
}

// match tells for each outlet whether it gets an event.
func (r *Routes) match(eventType string, p messaging.Priority) []bool {
	taken := make([]bool, len(r.outlets))
	for _, g := range r.groups {
		for _, route := range g {
			if !taken[route.outlet] && route.takes(eventType, p) {
				taken[route.outlet] = true
			}
		}
	}
	return taken
}

func (r *route) takes(eventType string, p messaging.Priority) bool {
	return (r.priorities == nil || slices.Contains(r.priorities, p)) && (r.events == nil || fitsAny(r.events, eventType))
}
