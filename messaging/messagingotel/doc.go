// SPDX-License-Identifier: Apache-2.0

// Package messagingotel traces calls and casts with OpenTelemetry.
//
//	t, err := messaging.Open(ctx, url, &messaging.Options{
//		ClientMiddleware: []messaging.ClientMiddleware{messagingotel.ClientMiddleware(nil)},
//		ServerMiddleware: []messaging.ServerMiddleware{messagingotel.ServerMiddleware(nil)},
//	})
//
// The client's span is that of the whole request, retries included; the server's is its child,
// where the driver's wire has a place for headers and the peer is traced too. A Python peer is
// not harmed by the headers: it does not see them.
//
// Spans follow version 1.43.0 of the semantic conventions: those of RPC, with those of messaging
// for the way through the broker. The kinds are client and server for a call, producer and
// consumer for a cast. A span's name is its rpc.method: topic, namespace if any, and method, as
// in "compute/start_instance" or "compute/admin.start_instance". A method that no endpoint of the
// server has is "_OTHER" there, and its span is named "oslo_messaging".
//
// A request that failed has the status Error with error.type: the [messaging.Code], the module
// and class of a [messaging.RemoteError], "cancelled", "panic" for what did not return, or the
// error's Go type. No span holds arguments, results, or the text of an error.
package messagingotel
