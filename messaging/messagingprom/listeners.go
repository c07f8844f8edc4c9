// SPDX-License-Identifier: Apache-2.0

package messagingprom

import "github.com/parleymq/parley/messaging"

// listenerStats is what a scrape learns of a notification listener.
type listenerStats = messaging.NotificationStats

// WatchListener exports the statistics of a notification listener at each scrape, under a name
// that tells it from the program's others, until stop is called: call it when the listener was shut
// down. Listeners of one name are added up.
func (m *Metrics) WatchListener(name string, l *messaging.NotificationListener) (stop func()) {
	return m.listeners.add(name, l.Stats)
}

// listenerSeries are the metrics of a notification listener.
func listenerSeries() []stat[listenerStats] {
	counter := func(name, help string, value func(listenerStats) uint64) stat[listenerStats] {
		return stat[listenerStats]{name: name, help: help, value: func(s listenerStats) float64 { return float64(value(s)) }}
	}
	return []stat[listenerStats]{
		{
			name: "running", help: "Notifications in hand now: handled, or waiting for their turn, their batch or to come again.", gauge: true,
			value: func(s listenerStats) float64 { return float64(s.Running) },
		},
		counter("received_total", "Notifications taken from the broker.", func(s listenerStats) uint64 { return s.Received }),
		counter("handled_total", "Notifications that were done.", func(s listenerStats) uint64 { return s.Handled }),
		counter("failed_total", "Times the handling of a notification ended with an error.", func(s listenerStats) uint64 { return s.Failed }),
		counter("requeued_total", "Times a notification was given back to come again.", func(s listenerStats) uint64 { return s.Requeued }),
		counter("dead_lettered_total", "Notifications sent to the dead-letter topic.", func(s listenerStats) uint64 { return s.DeadLettered }),
		counter("dropped_total", "Notifications given up without a dead letter.", func(s listenerStats) uint64 { return s.Dropped }),
		counter("unwanted_total", "Notifications that no endpoint took.", func(s listenerStats) uint64 { return s.Unwanted }),
		counter("malformed_total", "Notifications that could not be understood.", func(s listenerStats) uint64 { return s.Malformed }),
		counter("duplicates_total", "Notifications dropped because they had been received before.", func(s listenerStats) uint64 { return s.Duplicates }),
		counter("returned_total", "Notifications that a shutdown gave back to the broker.", func(s listenerStats) uint64 { return s.Returned }),
	}
}
