// SPDX-License-Identifier: Apache-2.0

// Package messaging is remote procedure calls and notifications over a message broker, on the
// wire of OpenStack's oslo.messaging: its Python peers call Parley's servers and are called by
// Parley's clients. The broker behind it is named by a URL, and spoken to by a driver, which
// is a process of its own.
//
// # A call
//
// Client and server share the declaration of a method:
//
//	var Start = messaging.Method[StartArgs, StartReply]{Name: "start_instance", Since: "2.3"}
//
//	// The server.
//	ep := messaging.NewEndpoint(&messaging.EndpointOptions{Version: "2.3"})
//	Start.Handle(ep, func(ctx context.Context, a StartArgs) (StartReply, error) { … })
//	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "compute", Server: "host1"}, nil, ep)
//	err := srv.Serve(ctx)
//
//	// The client.
//	c := messaging.NewRPCClient(t, messaging.Target{Topic: "compute", Version: "2.0"}, nil)
//	reply, err := Start.Call(ctx, c, StartArgs{InstanceID: "i-1"})
//
// [RPCClient.Call] and [Endpoint.HandleFunc] do the same without types.
//
// # Who said so
//
// An error is a [*RemoteError] when the server reported it, and an [*Error] when this side
// did; errors.Is with the package's sentinels tells which. A cancelled context is returned as
// context.Canceled. No error or log record holds a password.
//
// # What is promised
//
// A request is run at most once. It is acknowledged to the broker before it is run, nothing is
// sent twice on the way there, and what a broker delivers twice is dropped by its unique id. A
// caller whose server died learns that by its deadline, and cannot know whether the method ran.
// Where a method may run more than once, [Repeatable] lets the client send a request again whose
// fate is unknown, and [AckAfterHandler] lets another server have what a dead one had begun.
// A reply is sent until it has arrived, as long as somebody waits for it: the second copy of
// one finds no call and is dropped.
//
// Every wait ends: calls and casts by the nearest of their context, the client's Timeout and
// [Options.ReplyTimeout]; servers by Shutdown or the end of their context.
//
// # Values
//
// Arguments, results and request contexts are JSON as Python's json module speaks it. Typed
// values are encoded and decoded by encoding/json; in untyped ones integers are exact (int64 or
// *big.Int), 1 and 1.0 are different, and NaN is a value. A field of type any inside a struct
// is encoding/json's and takes numbers as float64; use json.RawMessage or json.Number where
// that is not enough.
//
// # Around a request
//
// Middleware on both sides ([ClientMiddleware], [ServerMiddleware]) sees each request and its
// result; tracing and metrics are packages of their own made of it, messagingotel and
// messagingprom. A [Serializer] turns an application's types, and its own request context, into
// JSON and back. [NewLogHandler] shows in every log record which request it belongs to.
//
// # Goroutines
//
// A [Transport] has one goroutine that receives replies, from its first call to Close; an
// [RPCServer] has up to Concurrency workers while it serves. Nothing else runs in the
// background for longer than a call takes.
package messaging
