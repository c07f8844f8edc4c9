// SPDX-License-Identifier: Apache-2.0

package messagingprom

import "github.com/parleymq/parley/messaging"

// spoolStats is what a scrape learns of a spool of notifications.
type spoolStats = messaging.SpoolStats

// WatchSpool exports the statistics of a spool at each scrape, under a name that tells it from the
// program's others, until stop is called: call it when the spool is closed. Spools of one name are
// added up.
func (m *Metrics) WatchSpool(name string, s *messaging.Spool) (stop func()) {
	return m.spools.add(name, s.Stats)
}

// spoolSeries are the metrics of a spool.
func spoolSeries() []stat[spoolStats] {
	gauge := func(name, help string, value func(spoolStats) float64) stat[spoolStats] {
		return stat[spoolStats]{name: name, help: help, gauge: true, value: value}
	}
	counter := func(name, help string, value func(spoolStats) uint64) stat[spoolStats] {
		return stat[spoolStats]{name: name, help: help, value: func(s spoolStats) float64 { return float64(value(s)) }}
	}
	return []stat[spoolStats]{
		gauge("waiting", "Notifications stored and not yet sent.", func(s spoolStats) float64 { return float64(s.Waiting) }),
		gauge("bytes", "Bytes of the spool's files.", func(s spoolStats) float64 { return float64(s.Bytes) }),
		gauge("aside", "Notifications that the broker refused, kept aside.", func(s spoolStats) float64 { return float64(s.Aside) }),
		counter("stored_total", "Notifications stored.", func(s spoolStats) uint64 { return s.Stored }),
		counter("sent_total", "Stored notifications that the broker has taken.", func(s spoolStats) uint64 { return s.Sent }),
		counter("refused_total", "Stored notifications that the broker refused.", func(s spoolStats) uint64 { return s.Refused }),
		counter("full_total", "Notifications for which there was no room.", func(s spoolStats) uint64 { return s.Full }),
		counter("aged_total", "Stored notifications dropped as too old.", func(s spoolStats) uint64 { return s.Aged }),
		counter("damaged_total", "Stored notifications that could not be read.", func(s spoolStats) uint64 { return s.Damaged }),
		counter("lost_total", "Refused notifications that could not be kept aside.", func(s spoolStats) uint64 { return s.Lost }),
		counter("disk_failures_total", "Times the disk refused.", func(s spoolStats) uint64 { return s.Failed }),
	}
}
