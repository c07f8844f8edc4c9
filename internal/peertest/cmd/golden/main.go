// SPDX-License-Identifier: Apache-2.0

// Golden records what real Python peers send to RabbitMQ and writes it to the
// testdata directories that the codecs and the driver are tested with:
//
//	go run ./internal/peertest/cmd/golden
//
// Run it at the top of the repository, after internal/peertest/install.sh. A
// second run changes nothing: identifiers that are random are replaced, and so
// are directories (see normalize.go). All else is as it was on the wire.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

func main() {
	root := flag.String("root", ".", "top `directory` of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return fmt.Errorf("%s is not the top of the repository: %w", root, err)
	}
	for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
		python, err := peertest.FindPython(release)
		if err != nil {
			return err
		}
		if err := recordRelease(ctx, root, python); err != nil {
			return fmt.Errorf("record oslo.messaging %s: %w", release, err)
		}
	}
	return nil
}

// recordRelease records one release on a node of its own, so that the default
// vhost is used and nothing was declared before.
func recordRelease(ctx context.Context, root string, python peertest.Python) (err error) {
	node, err := peertest.StartRabbitMQ(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()

	s := scenario{ctx: ctx, node: node, python: python}
	server, client, messages, err := s.record()
	if err != nil {
		return err
	}
	n := newNormalizer(python)
	methods := filepath.Join(root, "plugins", "rabbit", "testdata", "golden", python.Name)
	if err := writeMethods(filepath.Join(methods, "server_start.json"), n, server); err != nil {
		return err
	}
	if err := writeMethods(filepath.Join(methods, "client_first_call.json"), n, client); err != nil {
		return err
	}
	envelopes := filepath.Join(root, "sdk", "envelope", "testdata", "golden", python.Name)
	for _, m := range messages {
		if err := writeMessage(filepath.Join(envelopes, m.name+".json"), n, m.method); err != nil {
			return err
		}
	}
	return s.writeNotifications(filepath.Join(root, "internal", "interop", "testdata", "golden", python.Name), n)
}

// writeNotifications records notifications too.
func (s scenario) writeNotifications(dir string, n *normalizer) error {
	recorded, err := s.recordNotifications()
	if err != nil {
		return err
	}
	for _, sequence := range []struct {
		name    string
		methods []peertest.Method
	}{{"notifier_first", recorded.notifier}, {"listener_start", recorded.listener}, {"pool_start", recorded.pool}} {
		if err := writeMethods(filepath.Join(dir, sequence.name+".json"), n, sequence.methods); err != nil {
			return err
		}
	}
	for _, m := range recorded.messages {
		if err := writeMessage(filepath.Join(dir, m.name+".json"), n, m.method); err != nil {
			return err
		}
	}
	return nil
}
