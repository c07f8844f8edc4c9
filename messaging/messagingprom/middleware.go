// SPDX-License-Identifier: Apache-2.0

package messagingprom

import (
	"context"
	"time"

	"github.com/parleymq/parley/messaging"
)

// ClientMiddleware returns middleware that counts and times calls and casts. Outermost, it
// measures what the application sees.
func (m *Metrics) ClientMiddleware() messaging.ClientMiddleware {
	return func(next messaging.ClientHandler) messaging.ClientHandler {
		return func(ctx context.Context, r *messaging.ClientRequest) error {
			done := m.client.begin(newSeries(r.Method, r.Target.Topic, r.Call))
			defer done.unlessCounted()
			err := next(ctx, r)
			done.count(codeOf(err))
			return err
		}
	}
}

// ServerMiddleware returns middleware that counts and times the handling of requests. The topic
// is the server's. What no endpoint has a method for is counted as "(unknown)".
func (m *Metrics) ServerMiddleware() messaging.ServerMiddleware {
	return func(next messaging.ServerHandler) messaging.ServerHandler {
		return func(ctx context.Context, r *messaging.ServerRequest) (any, error) {
			method := r.Method
			if !r.Found {
				method = unknownMethod
			}
			done := m.server.begin(newSeries(method, r.Target.Topic, r.Call))
			defer done.unlessCounted()
			result, err := next(ctx, r)
			done.count(codeOf(err))
			return result, err
		}
	}
}

// running is a request that has begun.
type running struct {
	handle  *handle
	start   time.Time
	counted bool
}

func (s *side) begin(key series) running {
	h := s.of(key)
	h.inFlight.Inc()
	return running{handle: h, start: time.Now()}
}

// count ends the request.
func (r *running) count(code string) {
	r.counted = true
	r.handle.inFlight.Dec()
	r.handle.duration.Observe(time.Since(r.start).Seconds())
	if code == codeOK {
		r.handle.ok.Inc()
		return
	}
	r.handle.requests.WithLabelValues(code).Inc()
}

// unlessCounted is deferred: it counts what did not return, a panic or the end of the goroutine.
func (r *running) unlessCounted() {
	if !r.counted {
		r.count(codePanic)
	}
}
