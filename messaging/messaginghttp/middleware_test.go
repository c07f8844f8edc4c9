// SPDX-License-Identifier: Apache-2.0

package messaginghttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messaginghttp"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

const patience = 20 * time.Second

// payload is that of a notification.
type payload struct {
	Request  map[string]string
	Response *struct {
		Status  *string
		Headers map[string]string
	}
	Exception *struct {
		Value     string
		Traceback []string
	}
}

// stage is a server behind the middleware.
type stage struct {
	broker *messagingtest.Broker
	server *httptest.Server
	client *http.Client
}

func newStage(t *testing.T, opts *messaginghttp.Options, handler http.HandlerFunc) *stage {
	t.Helper()
	s := &stage{broker: messagingtest.NewBroker()}
	tr := s.broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{PublisherID: "notifier"})
	s.serve(t, n, opts, handler)
	return s
}

func (s *stage) serve(t *testing.T, n *messaging.Notifier, opts *messaginghttp.Options, handler http.HandlerFunc) {
	t.Helper()
	s.server = httptest.NewUnstartedServer(messaginghttp.Middleware(n, opts)(handler))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.Start()
	t.Cleanup(s.server.Close)
	s.client = s.server.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
}

// do makes a request, and returns the response and its body.
func (s *stage) do(t *testing.T, method, path, body string, header http.Header) (answer, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header}, string(text)
}

// expect returns the payload of the next notification of a type.
func (s *stage) expect(t *testing.T, eventType string) payload {
	t.Helper()
	sent := s.broker.Expect(t, messagingtest.Match{EventType: eventType})
	if sent.Priority != "info" {
		t.Errorf("%s at %s", eventType, sent.Priority)
	}
	if strings.Contains(string(sent.Body), "S3cr3t") {
		t.Errorf("a secret left: %s", sent.Body)
	}
	var p payload
	if err := json.Unmarshal(sent.Payload, &p); err != nil {
		t.Fatalf("%v: %s", err, sent.Payload)
	}
	return p
}

func TestRequestAndResponse(t *testing.T) {
	s := newStage(t, &messaginghttp.Options{PublisherID: "api.host", ServiceName: "compute"}, func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "hello" {
			t.Errorf("the handler read %q, %v", body, err)
		}
		r.Header.Set("X-Later", "1") // is not what came
		w.Header().Set("Location", "/x?token=S3cr3t&a=b")
		w.Header()["X-Many"] = []string{"a", "b"}
		w.Header().Set("Set-Cookie", "id=S3cr3t")
		w.Header().Set("X-Subject-Token", "S3cr3t")
		w.WriteHeader(http.StatusCreated)
		w.Header().Set("X-Late", "1")
		_, _ = w.Write([]byte("done"))
	})
	res, body := s.do(t, http.MethodPost, "/v2/servers%20x/1?a=b&access_token=S3cr3t&X-Amz-Signature=S3cr3t&tok%65n=S3cr3t;code=S3cr3t&c", "hello", http.Header{
		"Content-Type": {"text/plain"}, "X-Auth-Token": {"S3cr3t"}, "X_auth_token": {"S3cr3t"}, "Authorization": {"Basic S3cr3t"}, "Cookie": {"a=S3cr3t"},
		"Proxy-Authorization": {"S3cr3t"}, "X-Service-Token": {"S3cr3t"}, "X-Api-Key": {"S3cr3t"}, "X-Hub-Signature": {"S3cr3t"},
		"Referer": {"https://u:S3cr3t@h/p?q=1&sig=S3cr3t"}, "X-Original-Url": {"/p?ticket=S3cr3t"}, "X-Service-Name": {"forged"}, "X-Multi": {"1", "2"},
	})
	if res.status != http.StatusCreated || body != "done" || res.header.Get("Set-Cookie") != "id=S3cr3t" {
		t.Errorf("the client got %v, %q", res, body)
	}
	request := s.expect(t, "http.request")
	for key, want := range map[string]string{
		"REQUEST_METHOD": "POST", "PATH_INFO": "/v2/servers x/1", "SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1",
		"QUERY_STRING": "a=b&access_token=***&X-Amz-Signature=***&tok%65n=***;code=***&c", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "5",
		"HTTP_X_SERVICE_NAME": "compute", "HTTP_REFERER": "https://***@h/p?q=1&sig=***", "HTTP_X_ORIGINAL_URL": "/p?ticket=***", "HTTP_X_MULTI": "1, 2",
		"HTTP_HOST": s.server.Listener.Addr().String(),
	} {
		if got := request.Request[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for key := range request.Request {
		if key != strings.ToUpper(key) || slices.Contains([]string{
			"HTTP_X_AUTH_TOKEN", "HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_PROXY_AUTHORIZATION", "HTTP_X_SERVICE_TOKEN", "HTTP_X_API_KEY", "HTTP_X_HUB_SIGNATURE", "HTTP_X_LATER",
		}, key) {
			t.Errorf("the request has %s", key)
		}
	}
	if request.Response != nil || request.Exception != nil {
		t.Errorf("http.request has more than that: %+v", request)
	}
	response := s.expect(t, "http.response")
	if fmt.Sprint(response.Request) != fmt.Sprint(request.Request) {
		t.Errorf("the request changed: %v", response.Request)
	}
	if r := response.Response; r == nil || r.Status == nil || *r.Status != "201 Created" || response.Exception != nil {
		t.Fatalf("got %+v", response)
	}
	for key, want := range map[string]string{"Location": "/x?token=***&a=b", "X-Many": "a, b", "Set-Cookie": "***", "X-Subject-Token": "***", "X-Late": ""} {
		if got := response.Response.Headers[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	s := newStage(t, nil, func(http.ResponseWriter, *http.Request) {})
	s.do(t, http.MethodGet, "/", "", nil)
	sent := s.broker.Expect(t, messagingtest.Match{EventType: "http.request"})
	if !strings.Contains(string(sent.Body), `"publisher_id":"notifier"`) {
		t.Errorf("got %s", sent.Body)
	}
	p := s.expect(t, "http.response")
	if got := p.Request["HTTP_X_SERVICE_NAME"]; got != s.server.Listener.Addr().String() {
		t.Errorf("the service is %q", got)
	}
	if p.Response == nil || *p.Response.Status != "200 OK" || len(p.Response.Headers) != 0 {
		t.Errorf("got %+v", p.Response)
	}
}

func TestIgnoredAndDisabled(t *testing.T) {
	s := newStage(t, &messaginghttp.Options{IgnoreMethods: []string{" get", "OPTIONS"}, Secrets: []string{"X-Mine", "pin_code"}},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	s.do(t, http.MethodGet, "/", "", nil)
	s.do(t, http.MethodOptions, "/", "", nil)
	s.do(t, http.MethodPut, "/?PinCode=S3cr3t&spin_code=1", "", http.Header{"X-Mine": {"S3cr3t"}})
	p := s.expect(t, "http.response")
	if _, ok := p.Request["HTTP_X_MINE"]; ok || p.Request["REQUEST_METHOD"] != "PUT" || p.Request["QUERY_STRING"] != "PinCode=***&spin_code=1" || *p.Response.Status != "418 I'm a teapot" {
		t.Errorf("got %+v", p)
	}
	if n := len(s.broker.Sent(messagingtest.Match{})); n != 2 {
		t.Errorf("%d notifications", n)
	}
	tr := s.broker.Transport(t, nil)
	off := &stage{broker: s.broker}
	off.serve(t, messaging.NewNotifier(tr, &messaging.NotifierOptions{Outlets: []messaging.Outlet{messaging.NoopOutlet()}}), nil,
		func(w http.ResponseWriter, _ *http.Request) {
			if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
				t.Error("a writer is wrapped for nothing")
			}
		})
	off.do(t, http.MethodGet, "/", "", nil)
}

// boom is a panic's value.
type boom struct{ Password string }

func explode(v any) { panic(v) }

func TestPanicGoesOn(t *testing.T) {
	for name, tc := range map[string]struct {
		value any
		want  string
	}{
		"text": {"oops", `"oops"`}, "error": {errors.New("bad"), `*errors.errorString("bad")`}, "struct": {boom{"S3cr3t"}, "(messaginghttp_test.boom)"},
		"abort": {http.ErrAbortHandler, `*errors.errorString("net/http: abort Handler")`}, "number": {7, "int(7)"}, "its text panics": {(*explodes)(nil), "(*messaginghttp_test.explodes)"},
	} {
		t.Run(name, func(t *testing.T) {
			broker := messagingtest.NewBroker()
			n := messaging.NewNotifier(broker.Transport(t, nil), nil)
			s := &stage{broker: broker}
			var went any
			handler := messaginghttp.Middleware(n, nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { explode(tc.value) }))
			func() {
				defer func() { went = recover() }()
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}()
			if went != tc.value {
				t.Errorf("the panic became %v", went)
			}
			p := s.expect(t, "http.response")
			if p.Response != nil || p.Exception == nil || p.Exception.Value != tc.want {
				t.Fatalf("got %+v", p.Exception)
			}
			trace := p.Exception.Traceback
			if len(trace) == 0 || !strings.Contains(trace[len(trace)-1], "messaginghttp_test.explode\n") || !strings.Contains(trace[len(trace)-1], "middleware_test.go") {
				t.Errorf("the traceback is %q", trace)
			}
		})
	}
	t.Run("a nil pointer", func(t *testing.T) {
		s := newStage(t, nil, func(http.ResponseWriter, *http.Request) { _ = (*boom)(nil).Password })
		if res, err := s.client.Get(s.server.URL); err == nil {
			_ = res.Body.Close()
			t.Error("the client got an answer")
		}
		p := s.expect(t, "http.response")
		if p.Exception == nil || !strings.Contains(p.Exception.Value, "nil pointer") || !strings.Contains(p.Exception.Traceback[len(p.Exception.Traceback)-1], "middleware_test.go") {
			t.Errorf("got %+v", p.Exception)
		}
	})
}

type explodes struct{}

func (*explodes) Error() string { panic("no text") }

// TestGoexit has a handler that ends its goroutine.
func TestGoexit(t *testing.T) {
	broker := messagingtest.NewBroker()
	handler := messaginghttp.Middleware(messaging.NewNotifier(broker.Transport(t, nil), nil), nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { goexit() }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	<-done
	if p := (&stage{broker: broker}).expect(t, "http.response"); p.Exception == nil || !strings.Contains(p.Exception.Value, "ended its goroutine") {
		t.Errorf("got %+v", p)
	}
}

// TestWriterCan has what a server's writer can do, by type and by controller.
func TestWriterCan(t *testing.T) {
	gate := make(chan struct{})
	s := newStage(t, nil, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Errorf("SetWriteDeadline: %v", err)
		}
		switch r.URL.Path {
		case "/stream":
			for i := range 3 {
				_, _ = fmt.Fprintf(w, "%d\n", i)
				if i == 0 {
					w.(http.Flusher).Flush()
				} else if err := rc.Flush(); err != nil {
					t.Errorf("Flush: %v", err)
				}
				<-gate
			}
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusOK) // is too late
		case "/copy":
			if _, ok := w.(io.ReaderFrom); !ok {
				t.Error("files are copied")
			}
			_, _ = io.Copy(w, strings.NewReader("copied"))
			_, _ = io.WriteString(w, "!")
		case "/hijack", "/control":
			hijack := w.(http.Hijacker).Hijack
			if r.URL.Path == "/control" {
				hijack = rc.Hijack
			}
			conn, _, err := hijack()
			if err != nil {
				t.Errorf("Hijack: %v", err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\n\r\nraw")
		}
	})
	t.Run("streaming", func(t *testing.T) {
		res, err := s.client.Get(s.server.URL + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		lines := bufio.NewScanner(res.Body)
		for i := range 3 { // each arrives before the handler goes on
			if !lines.Scan() || lines.Text() != strconv.Itoa(i) {
				t.Fatalf("line %d is %q, %v", i, lines.Text(), lines.Err())
			}
			if i == 2 {
				s.broker.ExpectNone(t, messagingtest.Match{EventType: "http.response"})
			}
			gate <- struct{}{}
		}
		if p := s.expect(t, "http.response"); *p.Response.Status != "200 OK" {
			t.Errorf("got %v", *p.Response.Status)
		}
	})
	t.Run("early hints", func(t *testing.T) {
		if res, _ := s.do(t, http.MethodGet, "/early", "", nil); res.status != http.StatusAccepted {
			t.Errorf("got %d", res.status)
		}
		if p := s.expect(t, "http.response"); *p.Response.Status != "202 Accepted" {
			t.Errorf("got %v", *p.Response.Status)
		}
	})
	t.Run("copying", func(t *testing.T) {
		if _, body := s.do(t, http.MethodGet, "/copy", "", nil); body != "copied!" {
			t.Errorf("got %q", body)
		}
		s.expect(t, "http.response")
	})
	for _, path := range []string{"/hijack", "/control"} {
		t.Run(path, func(t *testing.T) {
			conn, err := net.DialTimeout("tcp", s.server.Listener.Addr().String(), patience)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n")
			if text, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(text), "raw") {
				t.Errorf("got %q, %v", text, err)
			}
			if p := s.expect(t, "http.response"); p.Response == nil || p.Response.Status != nil {
				t.Errorf("got %+v", p.Response)
			}
		})
	}
}

// TestWriterCannot has writers below that can less: what they cannot is not there.
func TestWriterCannot(t *testing.T) {
	type bare struct{ http.ResponseWriter }
	n := messaging.NewNotifier(messagingtest.NewTransport(t), nil)
	middleware := messaginghttp.Middleware(n, nil)
	for name, tc := range map[string]struct {
		w                      http.ResponseWriter
		flushes, hijacks, push bool
	}{
		"bare":     {bare{httptest.NewRecorder()}, false, false, false},
		"recorder": {httptest.NewRecorder(), true, false, false},
		"pushes": {struct {
			*httptest.ResponseRecorder
			http.Pusher
		}{httptest.NewRecorder(), nil}, true, false, true},
		"hijacks": {struct {
			bare
			http.Hijacker
		}{bare{httptest.NewRecorder()}, nil}, false, true, false},
	} {
		middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, f := w.(http.Flusher)
			_, h := w.(http.Hijacker)
			_, p := w.(http.Pusher)
			if f != tc.flushes || h != tc.hijacks || p != tc.push {
				t.Errorf("%s: flushes %v, hijacks %v, pushes %v", name, f, h, p)
			}
			if err := http.NewResponseController(w).Flush(); (err == nil) != tc.flushes {
				t.Errorf("%s: Flush: %v", name, err)
			}
		})).ServeHTTP(tc.w, httptest.NewRequest(http.MethodGet, "/", nil))
	}
}

// TestABrokerThatFails reaches nobody but the notifier's callback.
func TestABrokerThatFails(t *testing.T) {
	broker := messagingtest.NewBroker()
	failures := make(chan error, 16)
	never := 0
	n := messaging.NewNotifier(broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)}), &messaging.NotifierOptions{
		Retry: &never, OnResult: func(_ *messaging.Notification, err error) { failures <- err },
	})
	s := &stage{broker: broker}
	s.serve(t, n, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	for range 2 {
		broker.Fail(messagingtest.Match{}, driver.Errorf(driver.ReasonAccessRefused, "not for you"))
	}
	if res, body := s.do(t, http.MethodGet, "/", "", nil); res.status != http.StatusOK || body != "fine" {
		t.Errorf("the client got %d, %q", res.status, body)
	}
	for range 2 {
		if err := <-failures; !errors.Is(err, messaging.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
}

// TestLargeAndForeign has requests that are long, many, and no text.
func TestLargeAndForeign(t *testing.T) {
	broker := messagingtest.NewBroker()
	handler := messaginghttp.Middleware(messaging.NewNotifier(broker.Transport(t, nil), nil), nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("ü", 100_000))
		w.WriteHeader(799)
	}))
	r := httptest.NewRequest(http.MethodGet, "/a?x=%zz&\xff=1&to%zzken=2", nil)
	r.Host, r.RemoteAddr = "", "@"
	for i := range 1000 {
		r.Header.Set(fmt.Sprintf("X-%d", i), "\xff"+strings.Repeat("v", 100))
	}
	r.Header.Set("A-Long", strings.Repeat("v", 1<<20))
	handler.ServeHTTP(httptest.NewRecorder(), r)
	sent := broker.Expect(t, messagingtest.Match{EventType: "http.response"})
	if len(sent.Payload) > 100_000 {
		t.Errorf("the payload has %d bytes", len(sent.Payload))
	}
	var p payload
	if err := json.Unmarshal(sent.Payload, &p); err != nil || *p.Response.Status != "799" || len(p.Request["HTTP_A_LONG"]) > 5000 {
		t.Errorf("got %v, %+v", err, p.Response)
	}
}

func goexit() { runtime.Goexit() }
