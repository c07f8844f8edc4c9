// SPDX-License-Identifier: Apache-2.0

package messaginghttp

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/parleymq/parley/messaging"
)

// The event types, upstream's.
const (
	eventRequest  = "http.request"
	eventResponse = "http.response"
)

// middleware is one Middleware.
type middleware struct {
	notifier *messaging.Notifier
	opts     Options
	ignored  []string // methods
	secrets  *secrets
}

// payload is that of both notifications.
type payload struct {
	Request   map[string]string `json:"request"`
	Response  *response         `json:"response,omitempty"`
	Exception *exception        `json:"exception,omitempty"`
}

// Middleware returns what puts notifications around a handler. The handler gets a writer that can
// flush, hijack and push when the server's can, directly and by [http.ResponseController].
//
// The notifications carry what the notifier lets through of the request context in the request's
// context (see [messaging.WithRequestContext]), and do not end with it.
func Middleware(n *messaging.Notifier, opts *Options) func(http.Handler) http.Handler {
	m := &middleware{}
	if opts != nil {
		m.opts = *opts
	}
	m.secrets = newSecrets(m.opts.Secrets)
	for _, method := range m.opts.IgnoreMethods {
		m.ignored = append(m.ignored, strings.ToUpper(strings.TrimSpace(method)))
	}
	with := []messaging.NotifierOption{messaging.NeverWait()}
	if m.opts.PublisherID != "" {
		with = append(with, messaging.PublisherID(m.opts.PublisherID))
	}
	m.notifier = n.With(with...)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(next, w, r) })
	}
}

func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if slices.Contains(m.ignored, strings.ToUpper(r.Method)) || !m.notifier.Enabled() {
		next.ServeHTTP(w, r)
		return
	}
	p := payload{Request: m.environ(r)} // now: handlers change requests
	ctx := context.WithoutCancel(r.Context())
	m.notify(ctx, eventRequest, p)
	recorded, given := newWriter(w)
	finished := false
	defer func() {
		if finished {
			return
		}
		value := recover()
		if value == nil { // the handler ended its goroutine
			p.Exception = &exception{Value: `"the handler ended its goroutine"`, Traceback: []string{}}
			m.notify(ctx, eventResponse, p)
			return
		}
		p.Exception = newException(value, callers())
		m.notify(ctx, eventResponse, p)
		panic(value)
	}()
	next.ServeHTTP(given, r)
	finished = true
	p.Response = m.response(recorded)
	m.notify(ctx, eventResponse, p)
}

// notify sends without waiting. What goes wrong is the notifier's to tell, and never the client's.
func (m *middleware) notify(ctx context.Context, eventType string, p payload) {
	m.notifier.NotifyAndForget(ctx, messaging.PriorityInfo, eventType, p)
}
