// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RedisOptions changes how a Redis is started. The zero value and nil are ready
// to use: nothing is kept over a restart.
type RedisOptions struct {
	// Password is asked of every client.
	Password string
	// Config is added to the configuration file.
	Config string
	// TLS, when not nil, lets it listen for TLS as well, at TLSAddr.
	TLS *TLSFiles
	// Watch makes a sentinel of it, with a quorum of one: the addresses of the
	// masters to watch, by the name of their group.
	Watch map[string]string
	// StartTimeout bounds one start. Default 20 seconds.
	StartTimeout time.Duration
	// StopTimeout bounds a clean stop; it is killed after it. Default 10 seconds.
	StopTimeout time.Duration
}

func (o *RedisOptions) withDefaults() RedisOptions {
	var opts RedisOptions
	if o != nil {
		opts = *o
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = 20 * time.Second
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 10 * time.Second
	}
	return opts
}

// Redis is a private server or sentinel. It keeps its ports over Stop, Kill and
// Restart, and its data when Config says so.
type Redis struct {
	opts          RedisOptions
	program, dir  string
	port, tlsPort int

	mu     sync.Mutex // one start or stop at a time
	server *process   // nil when it is down
	closed bool
}

// StartRedis starts a private server and returns when it takes connections. The
// caller closes it.
func StartRedis(ctx context.Context, o *RedisOptions) (*Redis, error) {
	r := &Redis{opts: o.withDefaults()}
	var err error
	if r.program, err = exec.LookPath("redis-server"); err != nil {
		return nil, missing("the Redis server", err)
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	r.port, r.tlsPort = ports[0], ports[1]
	if r.dir, err = os.MkdirTemp("", "parley-redis-"); err != nil {
		return nil, fmt.Errorf("make the directory of a Redis: %w", err)
	}
	// A sentinel writes what it learns into its own file.
	if err = os.WriteFile(r.file(), []byte(r.config()), 0o600); err == nil {
		err = r.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Redis) file() string { return filepath.Join(r.dir, "redis.conf") }

func (r *Redis) config() string {
	lines := []string{
		// A title would take the place of the environment, which holds the mark.
		"bind 127.0.0.1", fmt.Sprintf("port %d", r.port), "dir " + r.dir, "daemonize no", "logfile \"\"", "set-proc-title no",
	}
	if r.opts.Watch == nil {
		lines = append(lines, "save \"\"", "appendonly no")
	}
	if r.opts.Password != "" {
		lines = append(lines, "requirepass "+r.opts.Password)
	}
	if tls := r.opts.TLS; tls != nil {
		lines = append(lines, fmt.Sprintf("tls-port %d", r.tlsPort), "tls-cert-file "+tls.Cert, "tls-key-file "+tls.Key, "tls-ca-cert-file "+tls.CA)
		if !tls.RequireClient {
			lines = append(lines, "tls-auth-clients no")
		}
	}
	for group, master := range r.opts.Watch {
		host, port, _ := net.SplitHostPort(master)
		lines = append(lines, fmt.Sprintf("sentinel monitor %s %s %s 1", group, host, port),
			"sentinel down-after-milliseconds "+group+" 500", "sentinel failover-timeout "+group+" 3000")
	}
	return strings.Join(append(lines, r.opts.Config), "\n") + "\n"
}

// start starts the process. The caller holds mu or owns r alone.
func (r *Redis) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.opts.StartTimeout,
		fmt.Errorf("no start within %v", r.opts.StartTimeout))
	defer cancel()
	args := []string{r.file()}
	if r.opts.Watch != nil {
		args = append(args, "--sentinel")
	}
	p, err := startProcess(processSpec{
		name: "redis-server", path: r.program, args: args, dir: r.dir,
		env: []string{markVariable + "=" + r.dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"},
	})
	if err != nil {
		return err
	}
	if err := p.waitListening(ctx, r.Addr()); err != nil {
		p.kill()
		return err
	}
	r.server = p
	return nil
}

// Addr is its host:port.
func (r *Redis) Addr() string { return loopback(r.port) }

// TLSAddr is its host:port for TLS, when it was started with TLS.
func (r *Redis) TLSAddr() string { return loopback(r.tlsPort) }

// PID is its process id, 0 while it is down.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return 0
	}
	return r.server.pid()
}

// Stop ends it cleanly. It can be started again with Restart.
func (r *Redis) Stop(ctx context.Context) error {
	return r.down(func(p *process) error {
		ctx, cancel := context.WithTimeoutCause(ctx, r.opts.StopTimeout,
			fmt.Errorf("no stop within %v", r.opts.StopTimeout))
		defer cancel()
		// A paused one could not handle the request.
		_ = p.signal(syscall.SIGCONT)
		return p.stop(ctx, syscall.SIGTERM)
	})
}

// Kill ends it as a crash would.
func (r *Redis) Kill() error {
	return r.down(func(p *process) error {
		p.kill()
		return nil
	})
}

func (r *Redis) down(end func(*process) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil
	}
	err := end(r.server)
	r.server = nil
	return err
}

// Restart starts one that is down, or stops and starts a running one.
func (r *Redis) Restart(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("restart redis-server: it was closed")
	}
	return r.start(ctx)
}

// Pause stops it from running without closing its connections, as a machine
// that hangs does.
func (r *Redis) Pause() error { return r.signal(syscall.SIGSTOP) }

// Resume lets a paused one go on.
func (r *Redis) Resume() error { return r.signal(syscall.SIGCONT) }

func (r *Redis) signal(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return fmt.Errorf("send %v to redis-server: it is down", sig)
	}
	return r.server.signal(sig)
}

// Output is the end of what it printed since its last start.
func (r *Redis) Output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return ""
	}
	return r.server.output.String()
}

// Close ends it and removes everything it left.
func (r *Redis) Close() error {
	err := r.Kill()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return err
	}
	r.closed = true
	return errors.Join(err, os.RemoveAll(r.dir))
}

// RunRedis starts a private server for one test, which may kill it, pause it
// and restart it.
func RunRedis(tb testing.TB, o *RedisOptions) *Redis {
	tb.Helper()
	r, err := StartRedis(tb.Context(), o)
	require(tb, err)
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}
