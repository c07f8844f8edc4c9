// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rabbitScripts holds the broker's own scripts. The wrappers that Debian puts
// in front of them change the user and the cookie, and leave an epmd behind.
const rabbitScripts = "/usr/lib/rabbitmq/bin"

const (
	rabbitNode     = "parley@localhost"
	rabbitUser     = "guest"
	rabbitPassword = "guest"
)

// RabbitMQOptions changes how a node is started. The zero value and nil are
// ready to use.
type RabbitMQOptions struct {
	// Config is added to the node's rabbitmq.conf.
	Config string
	// TLS, when not nil, lets the node listen for TLS as well, at TLSAddr.
	TLS *TLSFiles
	// Plain leaves the management interface out: there is no AddVhost then, and the
	// application in the node stops at once; see RestartApp.
	Plain bool
	// StartTimeout bounds one start of the node. Default 60 seconds.
	StartTimeout time.Duration
	// StopTimeout bounds a clean stop; the node is killed after it. Default 20
	// seconds.
	StopTimeout time.Duration
}

func (o *RabbitMQOptions) withDefaults() RabbitMQOptions {
	var opts RabbitMQOptions
	if o != nil {
		opts = *o
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = 60 * time.Second
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 20 * time.Second
	}
	return opts
}

// RabbitMQ is a private node. It keeps its ports and its data over Stop, Kill
// and Restart.
type RabbitMQ struct {
	opts RabbitMQOptions
	node rabbitNodeFiles
	epmd *epmd
	// shared is set for a node that another process owns.
	shared bool

	mu     sync.Mutex // one start or stop at a time
	server *process   // nil when the node is down
	closed bool
}

// errShared is returned for what would disturb the others on a shared node.
var errShared = errors.New("the node is shared with other test processes (" + sharedVariable + "): start one of your own with StartRabbitMQ")

// StartRabbitMQ starts a private node and returns when it takes connections.
// The caller closes it.
func StartRabbitMQ(ctx context.Context, o *RabbitMQOptions) (*RabbitMQ, error) {
	r := &RabbitMQ{opts: o.withDefaults()}
	if _, err := os.Stat(filepath.Join(rabbitScripts, "rabbitmq-server")); err != nil {
		return nil, missing("the RabbitMQ server", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.opts.StartTimeout,
		fmt.Errorf("no start within %v", r.opts.StartTimeout))
	defer cancel()

	var err error
	if r.node, err = newRabbitNodeFiles(r.opts.Config, r.opts.TLS); err != nil {
		return nil, err
	}
	if r.opts.Plain {
		err = r.node.writePlain()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.node.Dir))
	}
	if r.epmd, err = startEPMD(ctx, r.node.EPMDPort, r.node.environMarked(r.node.epmdMark())); err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.node.Dir))
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// start starts the broker process. The caller holds mu or owns r alone.
func (r *RabbitMQ) start(ctx context.Context) error {
	p, err := startProcess(processSpec{
		name: "rabbitmq-server",
		path: filepath.Join(rabbitScripts, "rabbitmq-server"),
		env:  r.node.environ(),
		dir:  r.node.Dir,
	})
	if err != nil {
		return err
	}
	// The log file is appended to over restarts, the standard output is not.
	if err := p.waitOutput(ctx, " plugins.\n"); err != nil {
		p.kill()
		r.endHelpers()
		return err
	}
	r.server = p
	return nil
}

// Addr is the node's host:port for AMQP.
func (r *RabbitMQ) Addr() string { return loopback(r.node.Port) }

// TLSAddr is the node's host:port for AMQP over TLS, when it was started with TLS.
func (r *RabbitMQ) TLSAddr() string { return loopback(r.node.TLSPort) }

// URL is the transport URL of a vhost; "" and "/" are the default one.
func (r *RabbitMQ) URL(vhost string) string { return r.URLAt(r.Addr(), vhost) }

// URLAt is like URL for another address of the node, such as a proxy's.
func (r *RabbitMQ) URLAt(addr, vhost string) string {
	if vhost == "/" {
		vhost = ""
	}
	return fmt.Sprintf("rabbit://%s:%s@%s/%s", rabbitUser, rabbitPassword, addr, url.PathEscape(vhost))
}

// PID is the broker's process id, 0 while it is down or owned by another
// process.
func (r *RabbitMQ) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return 0
	}
	return r.server.pid()
}

// Ctl runs rabbitmqctl on the node and returns its standard output. It takes
// about a second each time.
func (r *RabbitMQ) Ctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(rabbitScripts, "rabbitmqctl"),
		append([]string{"--quiet", "--node", rabbitNode}, args...)...)
	cmd.Env = r.node.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()+stdout.String()))
	}
	return stdout.String(), nil
}

// Stop ends the node cleanly. Its connections are closed at once, but its
// management interface takes five seconds more to end. It can be started again
// with Restart.
func (r *RabbitMQ) Stop(ctx context.Context) error {
	return r.down(func(p *process) error {
		ctx, cancel := context.WithTimeoutCause(ctx, r.opts.StopTimeout,
			fmt.Errorf("no stop within %v", r.opts.StopTimeout))
		defer cancel()
		// A paused node could not handle the request.
		_ = p.signal(syscall.SIGCONT)
		return p.stop(ctx, syscall.SIGTERM)
	})
}

// Kill ends the node as a crash would.
func (r *RabbitMQ) Kill() error {
	return r.down(func(p *process) error {
		p.kill()
		return nil
	})
}

// down ends the broker process with end and waits for its helpers.
func (r *RabbitMQ) down(end func(*process) error) error {
	if r.shared {
		return errShared
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil
	}
	err := end(r.server)
	r.server = nil
	r.endHelpers()
	return err
}

// endHelpers waits until the broker's helpers noticed that it is gone, and
// kills those that do not.
func (r *RabbitMQ) endHelpers() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	endMarked(ctx, r.node.mark())
}

// Restart starts a node that is down, or stops and starts a running one.
func (r *RabbitMQ) Restart(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("restart rabbitmq-server: the node was closed")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.opts.StartTimeout,
		fmt.Errorf("no start within %v", r.opts.StartTimeout))
	defer cancel()
	return r.start(ctx)
}

// Pause stops the node from running without closing its connections, as a
// machine that hangs does.
func (r *RabbitMQ) Pause() error { return r.signal(syscall.SIGSTOP) }

// Resume lets a paused node go on.
func (r *RabbitMQ) Resume() error { return r.signal(syscall.SIGCONT) }

func (r *RabbitMQ) signal(sig syscall.Signal) error {
	if r.shared {
		return errShared
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return fmt.Errorf("send %v to rabbitmq-server: the node is down", sig)
	}
	return r.server.signal(sig)
}

// Output is the end of what the node printed since its last start.
func (r *RabbitMQ) Output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return ""
	}
	return r.server.output.String()
}

// Close ends the node and removes everything it left. Since nothing of it is
// kept, it does not wait for a clean stop. It does nothing to a shared node.
func (r *RabbitMQ) Close() error {
	if r.shared {
		return nil
	}
	err := r.Kill()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return err
	}
	r.closed = true
	if r.epmd != nil {
		r.epmd.close()
	}
	return errors.Join(err, os.RemoveAll(r.node.Dir))
}
