// SPDX-License-Identifier: Apache-2.0

package messagingprom

import "github.com/parleymq/parley/messaging"

// serverStats is what a scrape learns of a server.
type serverStats = messaging.ServerStats

// WatchServer exports the statistics of a server at each scrape, under a name that tells it from
// the program's others, until stop is called: call it when the server was shut down. Servers of
// one name are added up.
func (m *Metrics) WatchServer(name string, s *messaging.RPCServer) (stop func()) {
	return m.servers.add(name, s.Stats)
}

// serverSeries are the metrics of a server.
func serverSeries() []stat[serverStats] {
	counter := func(name, help string, value func(serverStats) uint64) stat[serverStats] {
		return stat[serverStats]{name: name, help: help, value: func(s serverStats) float64 { return float64(value(s)) }}
	}
	return []stat[serverStats]{
		{
			name: "running", help: "Requests being handled now, those that wait for their turn included.", gauge: true,
			value: func(s serverStats) float64 { return float64(s.Running) },
		},
		counter("received_total", "Requests taken from the broker.", func(s serverStats) uint64 { return s.Received }),
		counter("handled_total", "Handlers that have returned.", func(s serverStats) uint64 { return s.Handled }),
		counter("failed_total", "Handlers that have returned an error.", func(s serverStats) uint64 { return s.Failed }),
		counter("refused_total", "Requests that no endpoint had the method, version or namespace for.",
			func(s serverStats) uint64 { return s.Refused }),
		counter("malformed_total", "Requests that could not be understood.", func(s serverStats) uint64 { return s.Malformed }),
		counter("duplicates_total", "Requests dropped because they had been received before.", func(s serverStats) uint64 { return s.Duplicates }),
		counter("expired_total", "Requests dropped because their caller's time was over.", func(s serverStats) uint64 { return s.Expired }),
		counter("returned_total", "Requests given back to the broker unhandled.", func(s serverStats) uint64 { return s.Returned }),
		counter("replies_resent_total", "Times a reply was sent again.", func(s serverStats) uint64 { return s.RepliesResent }),
		counter("replies_lost_total", "Replies that were given up.", func(s serverStats) uint64 { return s.RepliesLost }),
	}
}
