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
	// StartTimeout bounds one start. Default a minute.
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
		opts.StartTimeout = time.Minute
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 10 * time.Second
	}
	return opts
}

// Redis is a private server or sentinel. It keeps its ports over Stop, Kill and
// Restart, and its data when Config says so.
type Redis struct {
	server

	opts          RedisOptions
	program, dir  string
	port, tlsPort int
}

// StartRedis starts a private server and returns when it takes connections. The
// caller closes it.
func StartRedis(ctx context.Context, o *RedisOptions) (*Redis, error) {
	r := &Redis{opts: o.withDefaults()}
	r.server = server{
		name: "redis-server", startTimeout: r.opts.StartTimeout, stopTimeout: r.opts.StopTimeout,
		launch: r.launch, remove: func() error { return os.RemoveAll(r.dir) },
	}
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

func (r *Redis) launch(ctx context.Context) (*process, error) {
	args := []string{r.file()}
	if r.opts.Watch != nil {
		args = append(args, "--sentinel")
	}
	p, err := startProcess(processSpec{
		name: r.name, path: r.program, args: args, dir: r.dir,
		env: []string{markVariable + "=" + r.dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"},
	})
	if err != nil {
		return nil, err
	}
	if err := p.waitListening(ctx, r.Addr()); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// Addr is its host:port.
func (r *Redis) Addr() string { return loopback(r.port) }

// TLSAddr is its host:port for TLS, when it was started with TLS.
func (r *Redis) TLSAddr() string { return loopback(r.tlsPort) }

// RunRedis starts a private server for one test, which may kill it, pause it
// and restart it.
func RunRedis(tb testing.TB, o *RedisOptions) *Redis {
	tb.Helper()
	r, err := StartRedis(tb.Context(), o)
	return closeAfter(tb, r, err)
}
