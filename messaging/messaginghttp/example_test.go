// SPDX-License-Identifier: Apache-2.0

package messaginghttp_test

import (
	"net/http"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messaginghttp"
)

func ExampleMiddleware() {
	serve := func(t *messaging.Transport, mux *http.ServeMux) error {
		n := messaging.NewNotifier(t, &messaging.NotifierOptions{PublisherID: "api.host1"})
		notify := messaginghttp.Middleware(n, &messaginghttp.Options{ServiceName: "compute", IgnoreMethods: []string{http.MethodGet, http.MethodHead}})
		server := &http.Server{Addr: ":8774", Handler: notify(mux), ReadHeaderTimeout: 10 * time.Second}
		return server.ListenAndServe()
	}
	_ = serve
}
