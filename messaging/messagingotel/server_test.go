// SPDX-License-Identifier: Apache-2.0

package messagingotel_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingotel"
)

const parent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"

func received(call, found bool) *messaging.ServerRequest {
	return &messaging.ServerRequest{
		RequestInfo: messaging.RequestInfo{
			Method: "start", Namespace: "admin", Call: call, Found: found, MessageID: "id-1",
			Target: messaging.Target{Topic: "compute", Server: "host1"},
		},
		Headers: map[string]string{"traceparent": parent},
	}
}

func TestServerSpan(t *testing.T) {
	for _, tc := range []struct {
		name     string
		r        *messaging.ServerRequest
		wantName string
		wantKind trace.SpanKind
		want     map[string]string
	}{
		{
			name: "call", r: received(true, true), wantName: "compute/admin.start", wantKind: trace.SpanKindServer,
			want: map[string]string{"messaging.operation.name": "call", "rpc.method": "compute/admin.start"},
		},
		{
			name: "cast", r: received(false, true), wantName: "compute/admin.start", wantKind: trace.SpanKindConsumer,
			want: map[string]string{"messaging.operation.name": "cast", "rpc.method": "compute/admin.start"},
		},
		{
			name: "unknown method", r: received(true, false), wantName: "oslo_messaging", wantKind: trace.SpanKindServer,
			want: map[string]string{
				"messaging.operation.name": "call", "rpc.method": "_OTHER", "rpc.method_original": "compute/admin.start",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, spans := traced()
			h := messagingotel.ServerMiddleware(o)(func(ctx context.Context, _ *messaging.ServerRequest) (any, error) {
				if !trace.SpanFromContext(ctx).IsRecording() {
					t.Error("the handler's context has no span")
				}
				return 42, nil
			})
			if result, err := h(t.Context(), tc.r); result != 42 || err != nil {
				t.Errorf("the middleware returned %v, %v", result, err)
			}
			s := only(t, spans)
			if s.Name() != tc.wantName || s.SpanKind() != tc.wantKind || s.Status().Code != codes.Unset {
				t.Errorf("span %q of kind %v with status %v", s.Name(), s.SpanKind(), s.Status())
			}
			if p := s.Parent(); !p.IsRemote() || p.SpanID().String() != "0102030405060708" {
				t.Errorf("the parent is %+v", p)
			}
			tc.want["rpc.system.name"] = "oslo_messaging"
			tc.want["messaging.system"] = "oslo_messaging"
			tc.want["messaging.destination.name"] = "compute"
			tc.want["messaging.operation.type"] = "process"
			tc.want["messaging.message.id"] = "id-1"
			expectAttributes(t, s, tc.want)
		})
	}
}

func TestServerSpanWithoutATracedClient(t *testing.T) {
	for name, headers := range map[string]map[string]string{
		"no headers": nil, "nonsense": {"traceparent": "zz-\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			o, spans := traced()
			h := messagingotel.ServerMiddleware(o)(func(context.Context, *messaging.ServerRequest) (any, error) {
				return nil, messaging.ErrNoSuchMethod
			})
			r := received(true, true)
			r.Headers, r.MessageID = headers, ""
			if _, err := h(t.Context(), r); err != error(messaging.ErrNoSuchMethod) {
				t.Errorf("the middleware returned %v", err)
			}
			s := only(t, spans)
			if s.Parent().IsValid() || s.Status().Description != "oslo_messaging.rpc.dispatcher.NoSuchMethod" {
				t.Errorf("parent %v, status %+v", s.Parent(), s.Status())
			}
			if _, ok := attributes(s)["messaging.message.id"]; ok {
				t.Error("the span has an empty message id")
			}
		})
	}
}
