// SPDX-License-Identifier: Apache-2.0

//go:build unix

package host

import (
	"context"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverproc"
	"github.com/parleymq/parley/plugin/driver"
)

// attach connects to the driver that somebody started with --debug and named in the environment.
// It reports false when the environment names none. The connection is closed by the Attached's
// Kill; go-plugin has no part in it.
func attach(
	ctx context.Context, name string, limits bridge.Limits, env func(string) string,
) (grpc.ClientConnInterface, *driverproc.Attached, bool, error) {
	a, conn, err := driverproc.Reattach(ctx, name, env)
	if a == nil || err != nil {
		return nil, nil, err != nil, err
	}
	options := append(bridge.DialOptions(limits),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's directory is private
		grpc.WithContextDialer(a.Dialer(conn)),
		grpc.WithNoProxy(),
	)
	cc, err := grpc.NewClient("passthrough:///"+a.Name(), options...)
	if err != nil {
		_ = conn.Close() // the error that matters is gRPC's
		return nil, nil, true, err
	}
	a.Own(cc)
	a.Own(conn)
	return cc, a, true, nil
}

// attach makes a process of the driver that the environment names. It reports false when the
// environment names none.
func (s *supervisor) attach(ctx context.Context) (*process, bool, error) {
	cc, a, named, err := attach(ctx, s.key.driver, s.host.limits(), os.Getenv)
	if !named || err != nil {
		return nil, named, err
	}
	p := &process{runner: a, pid: a.Pid(), gone: make(chan struct{}), logger: s.logger, began: time.Now()}
	if err := p.hello(ctx, s.host, cc, driverfile.Candidate{Name: s.key.driver, Path: a.Name()}); err != nil {
		p.kill()
		return nil, true, err
	}
	s.logger.Warn("a driver is used that was started by hand with --debug: it is not watched, and its log is where it was started",
		"pid", p.pid, "address", a.Name(), "variable", a.Variable())
	p.supervise(s)
	return p, true, nil
}

// mayReplace refuses to put a process of ours in the place of one that somebody debugs.
func (s *supervisor) mayReplace() error {
	variable := driverproc.ReattachVariable(s.key.driver)
	if os.Getenv(variable) == "" {
		return nil
	}
	return driver.Errorf(driver.ReasonUnsupported, "driver %s was started by hand, as %s says, and is not reloaded", s.key.driver, variable).
		WithHint("start it again where it was started: the application finds it")
}
