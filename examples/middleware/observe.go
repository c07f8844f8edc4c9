// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingotel"
	"github.com/parleymq/parley/messaging/messagingprom"
)

// Observed returns options whose transports trace and count every call and cast, sent or served.
// Where a program sets OpenTelemetry's globals, messagingotel needs no options.
func Observed(registry prometheus.Registerer, provider trace.TracerProvider) (*messaging.Options, *messagingprom.Metrics, error) {
	metrics := messagingprom.New(nil)
	if err := registry.Register(metrics); err != nil {
		return nil, nil, err
	}
	tracing := &messagingotel.Options{TracerProvider: provider, Propagator: propagation.TraceContext{}}
	return &messaging.Options{
		// The first is the outermost. Clients and servers made on the transport may add theirs,
		// which are then inside of these.
		ClientMiddleware: []messaging.ClientMiddleware{metrics.ClientMiddleware(), messagingotel.ClientMiddleware(tracing)},
		ServerMiddleware: []messaging.ServerMiddleware{metrics.ServerMiddleware(), messagingotel.ServerMiddleware(tracing)},
	}, metrics, nil
}
