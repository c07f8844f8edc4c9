// SPDX-License-Identifier: Apache-2.0

package context_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	appcontext "github.com/parleymq/parley/examples/context"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// serve runs a server with one endpoint until stop is called.
func serve(ctx context.Context, t *messaging.Transport, o *messaging.RPCServerOptions, ep *messaging.Endpoint) (stop func()) {
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "compute", Server: "host1"}, o, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	<-srv.Ready()
	return func() {
		if err := srv.Shutdown(ctx); err != nil {
			log.Fatal(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			log.Fatal(err)
		}
		if err := t.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

// A request context is a map of JSON values. What a handler sends with its own context carries
// it on.
func Example_requestContext() {
	ctx := context.Background()
	// A program says messaging.Open(ctx, "rabbit://user:password@broker/", nil).
	t, err := messagingtest.NewBroker().Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("whoami", func(ctx context.Context, _ map[string]any) (any, error) {
		rc, _ := messaging.RequestContextFrom(ctx)
		return rc["user_id"], nil
	})
	defer serve(ctx, t, nil, ep)()

	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, nil)
	ctx = messaging.WithRequestContext(ctx, messaging.RequestContext{"user_id": "alice", "request_id": "req-1"})
	var user string
	err = client.Call(ctx, "whoami", nil, &user)
	fmt.Println(user, err)

	// Output:
	// alice <nil>
}

// NewLogHandler makes log records say which request they are about: those of the server, and those
// that a handler logs with its context.
func Example_logging() {
	ctx := context.Background()
	text := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutWhatDiffers})
	logger := slog.New(messaging.NewLogHandler(text, nil))
	t, err := messagingtest.NewBroker().Open(ctx, &messaging.Options{Logger: logger})
	if err != nil {
		log.Fatal(err)
	}
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("resize", func(ctx context.Context, args map[string]any) (any, error) {
		logger.InfoContext(ctx, "resizing", "id", args["id"])
		return nil, errors.New("no room")
	})
	stop := serve(ctx, t, nil, ep)

	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, nil)
	ctx = messaging.WithRequestContext(ctx, messaging.RequestContext{"user_id": "alice", "request_id": "req-1"})
	err = client.Call(ctx, "resize", map[string]any{"id": "i-1"}, nil)
	stop()
	fmt.Println(err)

	// Output:
	// level=INFO msg=resizing id=i-1 request_id=req-1 user_id=alice method=resize target=compute/host1
	// level=WARN msg="handler failed" method=resize call=true error="no room" request_id=req-1 user_id=alice target=compute/host1
	// errors.errorString: no room
}

// withoutWhatDiffers leaves out what differs from run to run.
func withoutWhatDiffers(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "message_id" {
		return slog.Attr{}
	}
	return a
}

// A Serializer gives the context a type of the application's own.
func Example_serializer() {
	ctx := context.Background()
	t, err := messagingtest.NewBroker().Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("whoami", func(ctx context.Context, _ map[string]any) (any, error) {
		id, ok := appcontext.IdentityFrom(ctx)
		if !ok {
			return "nobody", nil
		}
		return id.User + " of " + id.Project, nil
	})
	defer serve(ctx, t, &messaging.RPCServerOptions{Serializer: appcontext.Serializer{}}, ep)()

	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, &messaging.RPCClientOptions{
		Serializer: appcontext.Serializer{},
	})
	var who string
	err = client.Call(ctx, "whoami", nil, &who)
	fmt.Println(who, err)

	asked := appcontext.WithIdentity(ctx, appcontext.Identity{RequestID: "req-1", User: "alice", Project: "demo"})
	err = client.Call(asked, "whoami", nil, &who)
	fmt.Println(who, err)

	// What the server cannot accept is the caller's error.
	bad := appcontext.WithIdentity(ctx, appcontext.Identity{User: "mallory"})
	err = client.Call(bad, "whoami", nil, &who)
	var remote *messaging.RemoteError
	fmt.Println("refused:", errors.As(err, &remote))

	// Output:
	// nobody <nil>
	// alice of demo <nil>
	// refused: true
}
