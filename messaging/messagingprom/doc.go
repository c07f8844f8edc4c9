// SPDX-License-Identifier: Apache-2.0

// Package messagingprom counts and times calls and casts for Prometheus.
//
//	m := messagingprom.New(nil)
//	prometheus.MustRegister(m)
//	t, err := messaging.Open(ctx, url, &messaging.Options{
//		ClientMiddleware: []messaging.ClientMiddleware{m.ClientMiddleware()},
//		ServerMiddleware: []messaging.ServerMiddleware{m.ServerMiddleware()},
//	})
//	defer m.Watch("main", t)()
//
// The middleware makes
//
//	parley_client_requests_total{method,topic,kind,code}         parley_server_requests_total{…}
//	parley_client_request_duration_seconds{method,topic,kind}    parley_server_request_duration_seconds{…}
//	parley_client_in_flight{method,topic,kind}                   parley_server_in_flight{…}
//
// where kind is "call" or "cast", and code is "ok", a [messaging.Code], "remote" for a
// [messaging.RemoteError], "cancelled", "panic" for what did not return, or "error" for everything
// else; a handler's panic is among these, the library has made an error of it by then. The number
// of series is bounded, whatever peers send: methods that no endpoint has are "(unknown)", and
// what is beyond [Options.MaxMethods] is "(other)".
//
// [Metrics.Watch], [Metrics.WatchServer], [Metrics.WatchListener] and [Metrics.WatchSpool] export
// what transports, servers, notification listeners and spools count by themselves, as
// parley_transport_*{transport}, parley_server_*{server}, parley_listener_*{listener} and
// parley_spool_*{spool}.
package messagingprom
