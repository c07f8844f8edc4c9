// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/plugin/driver"
)

// ServeOptions tune Serve; nil means the defaults.
type ServeOptions struct {
	// MaxFrameBytes is the largest frame that is sent or taken, 16 MiB if zero. The application
	// has a limit of its own; the smaller counts.
	MaxFrameBytes int
	// MaxMessageBytes is the largest message, 64 MiB if zero: what does not fit into a chunk goes
	// in several, between others. Again the smaller of the two sides' counts.
	MaxMessageBytes int
}

func (o *ServeOptions) limits() bridge.Limits {
	return bridge.Limits{MaxFrameBytes: o.MaxFrameBytes, MaxMessageBytes: o.MaxMessageBytes}
}

const (
	// drainTimeout bounds closing the connections before the process ends.
	drainTimeout = 5 * time.Second
	// sessionGrace is how long a process lives without a session: before the first, in case
	// the host died meanwhile, and after one ended.
	sessionGrace = 30 * time.Second
)

// Serve runs d as this process and does not return: it ends the process, with status 0 when
// the application let it go or is gone, 1 when it was started by hand, 2 for wrong usage.
//
// Standard output belongs to the handshake and standard error to log records; a driver that
// prints to either does no harm, and what it printed appears in the application's log. So does
// what is logged by slog's default logger and by the standard log package, which Serve sets:
// their records obey the level that the application wants.
//
// Ctrl-C in a terminal that it shares with the application is not for the driver, and ignored.
// On SIGTERM it closes its connections and ends.
func Serve(d driver.Driver, opts *ServeOptions) {
	os.Exit(run(d, opts, os.Args[1:], os.Stdout, os.Stderr))
}

// run is Serve with its surroundings given.
func run(d driver.Driver, opts *ServeOptions, args []string, stdout, stderr io.Writer) int {
	if opts == nil {
		opts = &ServeOptions{}
	}
	if len(args) == 1 && args[0] == "--debug" {
		return runDebug(d, opts, stdout, stderr)
	}
	if len(args) > 0 {
		return command(d.Describe(), args, stdout, stderr)
	}
	handshake := bridge.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		printUsage(d.Describe(), stderr)
		return 1
	}
	return serve(d, opts, handshake)
}

func serve(d driver.Driver, opts *ServeOptions, handshake plugin.HandshakeConfig) int {
	tuneRuntime()
	level := new(slog.LevelVar)
	logger := newLogger(os.Stderr, level)
	streams := newStdio()
	limits := opts.limits()
	life := newLifeline(logger)
	server := bridge.NewServer(d, bridge.ServerConfig{
		SDKVersion: version.Number, Limits: limits, Logger: logger, Level: level,
		SessionStarted: life.sessionStarted, SessionEnded: life.sessionEnded,
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  handshake,
			VersionedPlugins: bridge.Plugins(server),
			GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
				o = append(o, streams.serverOptions()...)
				return grpc.NewServer(append(o, bridge.ServerOptions(limits)...)...)
			},
			// Its records say nothing that ours do not.
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr, JSONFormat: true}),
		})
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case <-served: // the host said Shutdown
	case <-term:
		logger.Debug("SIGTERM: closing connections")
	case <-life.over():
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.CloseAll(ctx); err != nil {
		logger.Warn("closing connections failed", "err", err.Error())
	}
	return 0
}

func command(info driver.Info, args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && args[0] == "describe":
		if err := printDescription(info, stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help"):
		printUsage(info, stdout)
		return 0
	default:
		_, _ = fmt.Fprintf(stderr, "unknown arguments %q\n\n", args)
		printUsage(info, stderr)
		return 2
	}
}
