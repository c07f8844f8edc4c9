// SPDX-License-Identifier: Apache-2.0

package messagingprom

import "github.com/parleymq/parley/messaging"

// transportStats is what a scrape learns of a transport.
type transportStats struct {
	messaging.TransportStats
	ready bool
}

// Watch exports the statistics of a transport at each scrape, under a name that tells it from
// the program's others, until stop is called: call it when the transport is closed. Transports
// of one name are added up.
func (m *Metrics) Watch(name string, t *messaging.Transport) (stop func()) {
	return m.transports.add(name, func() transportStats {
		return transportStats{t.Stats(), t.State().Phase == messaging.PhaseReady}
	})
}

// transportSeries are the metrics of a transport.
func transportSeries() []stat[transportStats] {
	gauge := func(name, help string, value func(transportStats) float64) stat[transportStats] {
		return stat[transportStats]{name: name, help: help, gauge: true, value: value}
	}
	counter := func(name, help string, value func(transportStats) uint64) stat[transportStats] {
		return stat[transportStats]{name: name, help: help, value: func(s transportStats) float64 { return float64(value(s)) }}
	}
	return []stat[transportStats]{
		gauge("ready", "How many transports of the name are ready to send: 1 or 0 for a single one.", func(s transportStats) float64 {
			if s.ready {
				return 1
			}
			return 0
		}),
		gauge("waiting_calls", "Calls that wait for their answer.", func(s transportStats) float64 { return float64(s.Waiting) }),
		counter("calls_total", "Calls begun.", func(s transportStats) uint64 { return s.Calls }),
		counter("casts_total", "Casts begun.", func(s transportStats) uint64 { return s.Casts }),
		counter("notifications_total", "Notifications begun to be sent, one for each topic.", func(s transportStats) uint64 { return s.Notifications }),
		counter("notifications_failed_total", "Notifications that neither the broker nor a spool took.",
			func(s transportStats) uint64 { return s.NotificationsFailed }),
		counter("notifications_spooled_total", "Notifications that went to a spool, to be sent later.",
			func(s transportStats) uint64 { return s.NotificationsSpooled }),
		counter("retries_total", "Times a request was tried again.", func(s transportStats) uint64 { return s.Retries }),
		counter("in_doubt_total", "Requests that ended with nobody knowing whether the broker took them.",
			func(s transportStats) uint64 { return s.InDoubt }),
		counter("late_replies_total", "Answers to calls that had given up, and second copies.",
			func(s transportStats) uint64 { return s.LateReplies }),
		counter("driver_restarts_total", "Times the driver's process was replaced.", func(s transportStats) uint64 { return s.DriverRestarts }),
	}
}
