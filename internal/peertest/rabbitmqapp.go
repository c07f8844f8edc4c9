// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// writePlugins leaves the management interface out and AMQP 1.0 in, as the options want it.
func (n rabbitNodeFiles) writePlugins(o RabbitMQOptions) error {
	var plugins []string
	if !o.Plain {
		plugins = append(plugins, "rabbitmq_management")
	}
	if o.AMQP1 {
		plugins = append(plugins, "rabbitmq_amqp1_0")
	}
	return os.WriteFile(n.path("enabled_plugins"), []byte("["+strings.Join(plugins, ",")+"].\n"), 0o600)
}

// StopApp stops the broker within its Erlang node, as rabbitmqctl stop_app does: all its
// connections are closed and its queues are written down. On a Plain node that takes a tenth of
// a second.
func (r *RabbitMQ) StopApp(ctx context.Context) error { return r.app(ctx, "stop") }

// CrashApp is StopApp after all connections broke, without a word, as at a crash of the broker. What
// was not written down is not lost by it: that takes Kill.
func (r *RabbitMQ) CrashApp(ctx context.Context) error {
	if r.foreign != nil {
		return r.foreign
	}
	if err := r.awaitBooted(ctx); err != nil {
		return err
	}
	if got, err := r.erlang(ctx, "[exit(C, kill) || C <- rabbit_networking:local_connections()]."); err != nil {
		return fmt.Errorf("break the broker's connections: %w: %s", err, got)
	}
	return r.app(ctx, "stop")
}

// StartApp starts what StopApp has stopped, in less than a second instead of the six of a node.
func (r *RabbitMQ) StartApp(ctx context.Context) error { return r.app(ctx, "start") }

// RestartApp is StopApp and StartApp.
func (r *RabbitMQ) RestartApp(ctx context.Context) error {
	return errors.Join(r.StopApp(ctx), r.StartApp(ctx))
}

func (r *RabbitMQ) app(ctx context.Context, what string) error {
	if r.foreign != nil {
		return r.foreign
	}
	// Without effect, and without a word, while the start of the node is not over: that goes on
	// for a moment after it takes connections.
	if err := r.awaitBooted(ctx); err != nil {
		return err
	}
	if got, err := r.erlang(ctx, "rabbit:"+what+"()."); err != nil || got != "{ok, ok}" {
		return fmt.Errorf("%s the broker's application: %w: %s", what, err, got)
	}
	want := "{ok, " + strconv.FormatBool(what == "start") + "}"
	if got, err := r.erlang(ctx, "rabbit:is_running()."); err != nil || got != want {
		return fmt.Errorf("%s the broker's application: it had no effect: %s %w", what, got, err)
	}
	return nil
}

func (r *RabbitMQ) awaitBooted(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := r.erlang(ctx, "whereis(rabbit_boot).")
		if err != nil || got == "{ok, undefined}" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of the broker's start: %w", context.Cause(ctx))
		}
	}
}

// erlang evaluates an expression in the node. It takes milliseconds, where rabbitmqctl eval
// takes a second of both processors.
func (r *RabbitMQ) erlang(ctx context.Context, expression string) (string, error) {
	path, err := exec.LookPath("erl_call")
	if err != nil {
		return "", missing("Erlang's erl_call", err)
	}
	cookie, err := os.ReadFile(r.node.path(".erlang.cookie"))
	if err != nil {
		return "", err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for tries := 1; ; tries++ {
		cmd := exec.CommandContext(ctx, path, "-sname", rabbitNode, "-c", string(cookie), "-timeout", "30", "-e")
		cmd.Env = r.node.environ()
		cmd.Stdin = strings.NewReader(expression + "\n")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		err = fmt.Errorf("evaluate %s in the broker's node: %w: %s", expression, err, out)
		if tries == erlangTries || !strings.Contains(string(out), "failed to connect to node") {
			return "", err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", err
		}
	}
}

// erlangTries is how often a node is asked that does not answer: a busy one is too slow at times for
// erl_call, which then has evaluated nothing.
const erlangTries = 30
