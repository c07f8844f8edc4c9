// SPDX-License-Identifier: Apache-2.0

// Package messagingrouting sends notifications to outlets by rules in a file: upstream's routing
// notifier (oslo_messaging/notify/_impl_routing.py), whose form of file it reads.
//
//	group_1:
//	  messagingv2:
//	    accepted_events:
//	      - compute.*
//	    accepted_priorities:
//	      - info
//	      - error
//	  log: {}
//	group_2:
//	  billing:
//	    accepted_events: ["*.exists", "[ab]*.end"]
//
// Groups hold outlets by name, and outlets rules. A rule is met when one of its patterns fits; an
// outlet in a group gets a notification when all its rules are met, so it gets everything when it
// has none, and nothing when one is an empty list. Groups do not know of each other: an outlet gets
// what any group gives it, and gets it once when several do. A notification that no group takes
// goes nowhere, without an error.
//
// Patterns are those of Python's fnmatch: "*" is any text, "?" any character, "[seq]" one of a
// set, "[!seq]" one that is not. Case matters in event types and not in priorities. A pattern that
// begins with "*" must be quoted, or YAML takes it for something else.
//
// Names are the keys of [Options.Outlets], and those of [messaging.NamedOutlet].
//
//	router, err := messagingrouting.Open("/etc/app/routing_notifier.yaml", nil)
//	if err != nil {
//		return err
//	}
//	defer router.Close()
//	n := messaging.NewNotifier(t, &messaging.NotifierOptions{Outlets: []messaging.Outlet{router}})
//
// A file that is changed should be replaced by renaming, as editors do. One that becomes empty
// is not taken, since it is likely being written: nothing at all is {}.
//
// What upstream lets pass and means nothing is an error here, with file and line: a key that is no
// rule, an outlet that nobody knows, a key given twice, a priority pattern that fits no priority, a
// "[" that is not closed, a range from high to low, a group or rule that is empty where something was
// meant.
package messagingrouting
