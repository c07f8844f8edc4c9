// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/plugin/driver"
)

// reattachPrefix begins the name of the variable by which an application finds a driver that
// was started with --debug.
const reattachPrefix = "PARLEY_REATTACH_"

// reattachment is the value of that variable.
type reattachment struct {
	Network  string `json:"network"`
	Address  string `json:"address"`
	PID      int    `json:"pid"`
	Protocol int    `json:"protocol"`
}

// export is the shell command that sets the variable.
func (r reattachment) export(name string) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	variable := reattachPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	// A quote in the path would end the shell's.
	return fmt.Sprintf("export %s='%s'", variable, strings.ReplaceAll(string(text), "'", `\u0027`)), nil
}

// runDebug is what "--debug" does: the driver waits for applications that were told where it is,
// until somebody ends it.
func runDebug(d driver.Driver, opts *ServeOptions, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// With the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := serveDebug(ctx, d, opts, stdout, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// serveDebug serves applications, one after the other, until ctx ends.
func serveDebug(ctx context.Context, d driver.Driver, opts *ServeOptions, stdout, stderr io.Writer) error {
	info := d.Describe()
	listener, cleanUp, err := listenPrivately(ctx, info.Name)
	if err != nil {
		return err
	}
	defer cleanUp()
	line, err := reattachment{
		Network: "unix", Address: listener.Addr().String(), PID: os.Getpid(), Protocol: bridge.ProtocolMajor,
	}.export(info.Name)
	if err != nil {
		return err
	}

	// The records are for the one who debugs: all of them, whatever the application wants.
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	slog.SetDefault(logger)
	limits := opts.limits()
	server := bridge.NewServer(d, bridge.ServerConfig{
		SDKVersion: version.Number, Limits: limits, Logger: logger, Successive: true,
		SessionStarted: func() { logger.Info("an application uses the driver") },
		SessionEnded:   func() { logger.Info("the application has gone; the next one may come") },
	})
	grpcServer := grpc.NewServer(bridge.ServerOptions(limits)...)
	server.Register(grpcServer)
	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(listener) }() // ends with Stop, without an error

	_, _ = fmt.Fprintln(stdout, line)
	_, _ = fmt.Fprintf(stderr, debugHelp, info.Name)
	select {
	case err = <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.CloseAll(closing); err != nil {
		logger.Warn("closing connections failed", "err", err.Error())
	}
	grpcServer.Stop()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) { // that, when it had not begun yet
		return err
	}
	return nil
}

// debugHelp says what to do with the line on standard output.
const debugHelp = `parley-driver-%[1]s waits for applications. Run the line above in the shell that starts the application, or put
the variable into its environment. The application connects here instead of starting a driver of its own, and
neither stops this process nor minds when a breakpoint does. Log records come here. Ctrl-C ends it.

`

// socketName is the socket in its directory.
const socketName = "socket"

// listenPrivately listens in a directory that is this user's alone. cleanUp removes it.
func listenPrivately(ctx context.Context, name string) (_ net.Listener, cleanUp func(), err error) {
	dir, err := debugDir(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("make a directory for the socket: %w", err)
	}
	cleanUp = func() { _ = os.RemoveAll(dir) } // a leftover harms nobody, and is used again
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		cleanUp()
		return nil, nil, fmt.Errorf("%w (a socket's path has room for about 100 bytes; set TMPDIR to a short one)", err)
	}
	return listener, cleanUp, nil
}

// debugDir makes the directory. It is the same each time, so that an application finds the driver
// again when it was built anew; another one while that is in use.
func debugDir(ctx context.Context, name string) (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("parley-debug-%d-%s", os.Geteuid(), name))
	if os.Mkdir(dir, 0o700) == nil || leftBehind(ctx, dir) {
		return dir, nil
	}
	return os.MkdirTemp("", "parley-debug-") // with mode 0700
}

// leftBehind reports whether dir is this user's, private, and nobody listens there any more.
func leftBehind(ctx context.Context, dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 || !ours(info) {
		return false
	}
	socket := filepath.Join(dir, socketName)
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err == nil {
		_ = conn.Close() // it was only looked at
		return false
	}
	err = os.Remove(socket)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}
