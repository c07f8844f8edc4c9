// SPDX-License-Identifier: Apache-2.0

package messagingprom_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingprom"
)

// expect compares the metrics of the given names with their text.
func expect(t *testing.T, m prometheus.Collector, text string, names ...string) {
	t.Helper()
	if err := testutil.CollectAndCompare(m, strings.NewReader(text), names...); err != nil {
		t.Error(err)
	}
}

// text returns what a scrape gets.
func text(t *testing.T, m prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if response.Code != http.StatusOK {
		t.Fatalf("%d: %s", response.Code, response.Body)
	}
	return response.Body.String()
}

// send sends a request that ends with err.
func send(t *testing.T, h messaging.ClientMiddleware, r *messaging.ClientRequest, err error) {
	t.Helper()
	got := h(func(context.Context, *messaging.ClientRequest) error { return err })(t.Context(), r)
	if got != err {
		t.Errorf("the middleware returned %v, want %v", got, err)
	}
}

func start(call bool) *messaging.ClientRequest {
	return &messaging.ClientRequest{Call: call, Method: "start", Target: messaging.Target{Topic: "compute"}}
}

func TestCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, "ok"},
		{messaging.ErrNoReply, "no_reply"},
		{fmt.Errorf("wrapped: %w", &messaging.Error{Code: messaging.CodeInDoubt}), "in_doubt"},
		{messaging.ErrNoSuchMethod, "remote"},
		{context.Canceled, "cancelled"},
		{context.DeadlineExceeded, "expired"},
		{errors.New("hunter2"), "error"},
		{&messaging.Error{Code: "\xff"}, "\uFFFD"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			m := messagingprom.New(nil)
			send(t, m.ClientMiddleware(), start(true), tc.err)
			all := text(t, m)
			if want := `code="` + tc.want + `",kind="call",method="start",topic="compute"} 1`; !strings.Contains(all, want) {
				t.Error(all)
			}
		})
	}
}

func TestClientCountsAndTimes(t *testing.T) {
	m := messagingprom.New(&messagingprom.Options{Buckets: []float64{3600, 1, 1}, ConstLabels: prometheus.Labels{"site": "a"}})
	h := m.ClientMiddleware()
	send(t, h, start(true), nil)
	send(t, h, start(true), nil)
	send(t, h, start(false), messaging.ErrInDoubt)
	expect(t, m, `
# HELP parley_client_requests_total Requests sent, by how they ended.
# TYPE parley_client_requests_total counter
parley_client_requests_total{code="ok",kind="call",method="start",site="a",topic="compute"} 2
parley_client_requests_total{code="ok",kind="cast",method="start",site="a",topic="compute"} 0
parley_client_requests_total{code="in_doubt",kind="cast",method="start",site="a",topic="compute"} 1
# HELP parley_client_in_flight Requests being sent now.
# TYPE parley_client_in_flight gauge
parley_client_in_flight{kind="call",method="start",site="a",topic="compute"} 0
parley_client_in_flight{kind="cast",method="start",site="a",topic="compute"} 0
`, "parley_client_requests_total", "parley_client_in_flight")
	all := text(t, m)
	if !strings.Contains(all, `_bucket{kind="call",method="start",site="a",topic="compute",le="3600"} 2`) {
		t.Error(all)
	}
}

func TestInFlight(t *testing.T) {
	m := messagingprom.New(nil)
	h := m.ClientMiddleware()(func(context.Context, *messaging.ClientRequest) error {
		expect(t, m, `
# HELP parley_client_in_flight Requests being sent now.
# TYPE parley_client_in_flight gauge
parley_client_in_flight{kind="call",method="start",topic="compute"} 1
`, "parley_client_in_flight")
		return nil
	})
	if err := h(t.Context(), start(true)); err != nil {
		t.Fatal(err)
	}
}

func TestServerCounts(t *testing.T) {
	m := messagingprom.New(nil)
	h := m.ServerMiddleware()(func(_ context.Context, r *messaging.ServerRequest) (any, error) {
		if !r.Found {
			return nil, messaging.ErrNoSuchMethod
		}
		return 42, nil
	})
	for i := range 1000 { // names of a peer's choice
		_, err := h(t.Context(), &messaging.ServerRequest{RequestInfo: messaging.RequestInfo{
			Method: fmt.Sprint("guess", i), Call: true, Target: messaging.Target{Topic: "compute"},
		}})
		if err != error(messaging.ErrNoSuchMethod) {
			t.Fatal(err)
		}
	}
	result, err := h(t.Context(), &messaging.ServerRequest{RequestInfo: messaging.RequestInfo{
		Method: "start", Found: true, Target: messaging.Target{Topic: "compute"},
	}})
	if result != 42 || err != nil {
		t.Errorf("the middleware returned %v, %v", result, err)
	}
	expect(t, m, `
# HELP parley_server_requests_total Requests handled, by how they ended.
# TYPE parley_server_requests_total counter
parley_server_requests_total{code="ok",kind="call",method="(unknown)",topic="compute"} 0
parley_server_requests_total{code="remote",kind="call",method="(unknown)",topic="compute"} 1000
parley_server_requests_total{code="ok",kind="cast",method="start",topic="compute"} 1
`, "parley_server_requests_total")
}

// TestWhatDoesNotReturnIsCounted: a panic, and the end of the goroutine.
func TestWhatDoesNotReturnIsCounted(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("on purpose") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			m := messagingprom.New(nil)
			client := m.ClientMiddleware()(func(context.Context, *messaging.ClientRequest) error { end(); return nil })
			server := m.ServerMiddleware()(func(context.Context, *messaging.ServerRequest) (any, error) { end(); return nil, nil })
			var ended sync.WaitGroup
			for _, f := range []func(){
				func() { _ = client(t.Context(), start(true)) },
				func() { _, _ = server(t.Context(), &messaging.ServerRequest{}) },
			} {
				ended.Go(func() {
					defer func() { _ = recover() }()
					f()
				})
			}
			ended.Wait()
			all := text(t, m)
			if strings.Count(all, `code="panic"`) != 2 || strings.Contains(all, "in_flight{kind=\"call\",method=\"start\",topic=\"compute\"} 1") {
				t.Error(all)
			}
		})
	}
}

func TestSeriesAreBounded(t *testing.T) {
	m := messagingprom.New(&messagingprom.Options{MaxMethods: 3})
	h := m.ClientMiddleware()
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range 100 {
				r := start(i%2 == 0)
				r.Method = fmt.Sprint("method", i)
				send(t, h, r, nil)
			}
		})
	}
	senders.Wait()
	// At most three methods in two kinds, and the others in two kinds.
	if n := testutil.CollectAndCount(m, "parley_client_requests_total"); n < 4 || n > 8 {
		t.Errorf("%d series", n)
	}
	all := text(t, m)
	if !strings.Contains(all, `kind="cast",method="(other)",topic="(other)"`) {
		t.Error(all)
	}
}

// TestKnownMethodsAreKnownForBothKinds: a method within the limit has both its series, also when
// the second comes after the room was full.
func TestKnownMethodsAreKnownForBothKinds(t *testing.T) {
	m := messagingprom.New(&messagingprom.Options{MaxMethods: 1})
	h := m.ClientMiddleware()
	other := start(false)
	other.Method = "stop"
	send(t, h, start(true), nil)
	send(t, h, other, nil)
	send(t, h, start(false), nil)
	expect(t, m, `
# HELP parley_client_requests_total Requests sent, by how they ended.
# TYPE parley_client_requests_total counter
parley_client_requests_total{code="ok",kind="call",method="start",topic="compute"} 1
parley_client_requests_total{code="ok",kind="cast",method="start",topic="compute"} 1
parley_client_requests_total{code="ok",kind="cast",method="(other)",topic="(other)"} 1
`, "parley_client_requests_total")
}

func TestAnyNameCanBeCounted(t *testing.T) {
	m := messagingprom.New(nil)
	for _, method := range []string{"", "\xff", "start\n", strings.Repeat("é", 1<<20)} {
		r := start(true)
		r.Method = method
		send(t, m.ClientMiddleware(), r, nil)
	}
	all := text(t, m)
	if len(all) < 100 || len(all) > 64<<10 {
		t.Errorf("%d bytes", len(all))
	}
}

func BenchmarkClient(b *testing.B) {
	h := messagingprom.New(nil).ClientMiddleware()(func(context.Context, *messaging.ClientRequest) error { return nil })
	r := start(true)
	b.ReportAllocs()
	for b.Loop() {
		_ = h(b.Context(), r)
	}
}
