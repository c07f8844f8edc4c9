// SPDX-License-Identifier: Apache-2.0

package messagingotel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingotel"
)

// traced returns options whose spans end up in the recorder.
func traced(opts ...sdktrace.TracerProviderOption) (*messagingotel.Options, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	return &messagingotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(append(opts, sdktrace.WithSpanProcessor(spans))...),
		Propagator:     propagation.TraceContext{},
	}, spans
}

// only returns the one span that has ended.
func only(t *testing.T, spans *tracetest.SpanRecorder) sdktrace.ReadOnlySpan {
	t.Helper()
	ended := spans.Ended()
	if len(ended) != 1 {
		t.Fatalf("%d spans ended, want 1", len(ended))
	}
	return ended[0]
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func expectAttributes(t *testing.T, s sdktrace.ReadOnlySpan, want map[string]string) {
	t.Helper()
	got := attributes(s)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("attribute %s is %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("attributes are %v, want %v", got, want)
	}
}

func sent(t *testing.T, o *messagingotel.Options, r *messaging.ClientRequest, err error) {
	t.Helper()
	h := messagingotel.ClientMiddleware(o)(func(context.Context, *messaging.ClientRequest) error { return err })
	if got := h(t.Context(), r); got != err {
		t.Errorf("the middleware returned %v, want %v", got, err)
	}
}

func TestClientSpan(t *testing.T) {
	for _, tc := range []struct {
		name     string
		r        messaging.ClientRequest
		wantName string
		wantKind trace.SpanKind
		want     map[string]string
	}{
		{
			name:     "call",
			r:        messaging.ClientRequest{Call: true, Method: "start", Target: messaging.Target{Topic: "compute", Version: "2.0"}},
			wantName: "compute/start", wantKind: trace.SpanKindClient,
			want: map[string]string{"messaging.operation.name": "call"},
		},
		{
			name:     "cast with a namespace",
			r:        messaging.ClientRequest{Method: "start", Target: messaging.Target{Topic: "compute", Namespace: "admin", Fanout: true}},
			wantName: "compute/admin.start", wantKind: trace.SpanKindProducer,
			want: map[string]string{"messaging.operation.name": "cast"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, spans := traced()
			sent(t, o, &tc.r, nil)
			s := only(t, spans)
			if s.Name() != tc.wantName || s.SpanKind() != tc.wantKind || s.Status().Code != codes.Unset {
				t.Errorf("span %q of kind %v with status %v", s.Name(), s.SpanKind(), s.Status())
			}
			tc.want["rpc.method"] = tc.wantName
			tc.want["rpc.system.name"] = "oslo_messaging"
			tc.want["messaging.system"] = "oslo_messaging"
			tc.want["messaging.destination.name"] = "compute"
			tc.want["messaging.operation.type"] = "send"
			expectAttributes(t, s, tc.want)
			if scope := s.InstrumentationScope(); scope.Version == "" || !strings.HasSuffix(scope.SchemaURL, "/1.43.0") {
				t.Errorf("scope is %+v", scope)
			}
		})
	}
}

func TestClientSendsTraceContext(t *testing.T) {
	o, spans := traced()
	r := &messaging.ClientRequest{Call: true, Method: "start"}
	r.SetHeader("mine", "kept")
	h := messagingotel.ClientMiddleware(o)(func(ctx context.Context, r *messaging.ClientRequest) error {
		id := trace.SpanContextFromContext(ctx).SpanID().String()
		if header := r.Headers["traceparent"]; !strings.Contains(header, id) {
			t.Errorf("traceparent is %q, the span %s", header, id)
		}
		return nil
	})
	if err := h(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if r.Headers["mine"] != "kept" || only(t, spans).Parent().IsValid() {
		t.Errorf("headers %v, parent %v", r.Headers, only(t, spans).Parent())
	}
}

func TestClientSpanBelowTheCallers(t *testing.T) {
	o, spans := traced()
	ctx, outer := o.TracerProvider.Tracer("test").Start(t.Context(), "outer")
	h := messagingotel.ClientMiddleware(o)(func(context.Context, *messaging.ClientRequest) error { return nil })
	if err := h(ctx, &messaging.ClientRequest{Method: "m"}); err != nil {
		t.Fatal(err)
	}
	if s := only(t, spans); s.Parent().SpanID() != outer.SpanContext().SpanID() {
		t.Errorf("the span's parent is %v", s.Parent())
	}
}

func TestErrorsAreNamedWithoutTheirText(t *testing.T) {
	const secret = "hunter2"
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&messaging.Error{Code: messaging.CodeNoReply, Message: secret}, "no_reply"},
		{fmt.Errorf("%s: %w", secret, messaging.ErrInDoubt), "in_doubt"},
		{&messaging.RemoteError{Module: "nova.exception", Class: "NotFound", Message: secret}, "nova.exception.NotFound"},
		{&messaging.RemoteError{Class: "NotFound", Message: secret}, "NotFound"},
		{&messaging.RemoteError{Message: secret}, "remote"},
		{&messaging.RemoteError{Class: strings.Repeat("x", 300)}, strings.Repeat("x", 256) + "…"},
		{context.Canceled, "cancelled"},
		{errors.New(secret), "*errors.errorString"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			o, spans := traced()
			sent(t, o, &messaging.ClientRequest{Call: true, Method: "m", Args: secret}, tc.err)
			s := only(t, spans)
			if s.Status().Code != codes.Error || s.Status().Description != tc.want || attributes(s)["error.type"] != tc.want {
				t.Errorf("status %+v, attributes %v", s.Status(), attributes(s))
			}
			if shown := fmt.Sprint(s.Status(), attributes(s), s.Events()); strings.Contains(shown, secret) {
				t.Errorf("the span shows the text: %s", shown)
			}
		})
	}
}

func TestPanicEndsTheSpan(t *testing.T) {
	o, spans := traced()
	h := messagingotel.ClientMiddleware(o)(func(context.Context, *messaging.ClientRequest) error { panic("hunter2") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = h(t.Context(), &messaging.ClientRequest{Method: "m"})
	}()
	s := only(t, spans)
	if s.Status().Description != "panic" || len(s.Events()) != 0 {
		t.Errorf("status %+v, events %v", s.Status(), s.Events())
	}
}

func TestUnsampled(t *testing.T) {
	o, spans := traced(sdktrace.WithSampler(sdktrace.NeverSample()))
	r := &messaging.ClientRequest{Method: "m"}
	sent(t, o, r, messaging.ErrClosed)
	if len(spans.Ended()) != 0 || !strings.HasSuffix(r.Headers["traceparent"], "-00") {
		t.Errorf("%d spans, headers %v", len(spans.Ended()), r.Headers)
	}
}

// TestSamplerSeesAttributes: they are given at the start, as samplers want them.
func TestSamplerSeesAttributes(t *testing.T) {
	seen := &sampler{}
	o, _ := traced(sdktrace.WithSampler(seen))
	sent(t, o, &messaging.ClientRequest{Method: "m", Target: messaging.Target{Topic: "t"}}, nil)
	if !slices.Contains(seen.attrs, attribute.String("rpc.method", "t/m")) {
		t.Errorf("the sampler saw %v", seen.attrs)
	}
}

type sampler struct{ attrs []attribute.KeyValue }

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.attrs = p.Attributes
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (*sampler) Description() string { return "test" }

// TestGlobals: without options the program's own provider and propagator are used, which do
// nothing here. The middleware must do as little.
func TestGlobals(t *testing.T) {
	r := &messaging.ClientRequest{Method: "m"}
	sent(t, nil, r, messaging.ErrClosed)
	if r.Headers != nil {
		t.Errorf("headers %v", r.Headers)
	}
}
