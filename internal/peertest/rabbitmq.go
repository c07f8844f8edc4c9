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
	// AMQP1 lets the node speak AMQP 1.0 too, at the same Addr.
	AMQP1 bool
	// StartTimeout bounds one start of the node. Default 3 minutes: it is short on a quiet machine.
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
		opts.StartTimeout = 3 * time.Minute
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 20 * time.Second
	}
	return opts
}

// RabbitMQ is a private node. It keeps its ports and its data over Stop, Kill
// and Restart.
//
// Stop closes its connections at once, but its management interface takes five
// seconds more to end.
type RabbitMQ struct {
	server

	opts RabbitMQOptions
	node rabbitNodeFiles
	epmd *epmd
}

// errShared is returned for what would disturb the others on a shared node.
var errShared = errors.New("the node is shared with other test processes (" + sharedVariable + "): start one of your own with StartRabbitMQ")

// StartRabbitMQ starts a private node and returns when it takes connections.
// The caller closes it.
func StartRabbitMQ(ctx context.Context, o *RabbitMQOptions) (*RabbitMQ, error) {
	r := &RabbitMQ{opts: o.withDefaults()}
	r.server = server{
		name: "rabbitmq-server", startTimeout: r.opts.StartTimeout, stopTimeout: r.opts.StopTimeout,
		launch: r.launch, ended: r.endHelpers, remove: r.remove,
	}
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
	if r.opts.Plain || r.opts.AMQP1 {
		err = r.node.writePlugins(r.opts)
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

func (r *RabbitMQ) launch(ctx context.Context) (*process, error) {
	p, err := startProcess(processSpec{
		name: r.name,
		path: filepath.Join(rabbitScripts, "rabbitmq-server"),
		env:  r.node.environ(),
		dir:  r.node.Dir,
	})
	if err != nil {
		return nil, err
	}
	// The log file is appended to over restarts, the standard output is not.
	if err := p.waitOutput(ctx, " plugins.\n"); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// endHelpers waits until the broker's helpers noticed that it is gone, and
// kills those that do not.
func (r *RabbitMQ) endHelpers() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	endMarked(ctx, r.node.mark())
}

func (r *RabbitMQ) remove() error {
	if r.epmd != nil {
		r.epmd.close()
	}
	return os.RemoveAll(r.node.Dir)
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

// ctlPatience is how long rabbitmqctl may take before a list is asked for again.
const ctlPatience = 8 * time.Second

// Ctl runs rabbitmqctl on the node and returns its standard output. It takes
// about a second each time. A list that does not come, as was seen twice on a
// busy machine, is asked for again, with twice the patience.
func (r *RabbitMQ) Ctl(ctx context.Context, args ...string) (string, error) {
	patience := ctlPatience
	for len(args) > 0 && strings.HasPrefix(args[0], "list_") {
		bounded, cancel := context.WithTimeout(ctx, patience)
		out, err := r.ctl(bounded, args)
		again := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !again {
			return out, err
		}
		patience *= 2
	}
	return r.ctl(ctx, args)
}

func (r *RabbitMQ) ctl(ctx context.Context, args []string) (string, error) {
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
