// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// sharedVariable names the descriptor file of a node to use instead of starting
// one. The peerctl command writes such a file.
const sharedVariable = "PARLEY_TEST_RABBITMQ"

// UseRabbitMQ returns a node for tests that only send and receive: the one that
// PARLEY_TEST_RABBITMQ names, else a new private one. Such tests keep to vhosts
// of their own; what would disturb others on the node returns an error.
func UseRabbitMQ(ctx context.Context) (*RabbitMQ, error) {
	file := os.Getenv(sharedVariable)
	if file == "" {
		return StartRabbitMQ(ctx, nil)
	}
	return AttachRabbitMQ(file)
}

// AttachRabbitMQ returns the node that a descriptor file describes.
func AttachRabbitMQ(file string) (*RabbitMQ, error) {
	text, err := os.ReadFile(file) //nolint:gosec // whoever runs the tests names the file
	if err != nil {
		return nil, fmt.Errorf("read the descriptor of a shared RabbitMQ node: %w", err)
	}
	r := &RabbitMQ{server: server{name: "rabbitmq-server", foreign: errShared}}
	if err := json.Unmarshal(text, &r.node); err != nil {
		return nil, fmt.Errorf("read the descriptor %s of a shared RabbitMQ node: %w", file, err)
	}
	return r, nil
}

// WriteDescriptor writes the file with which AttachRabbitMQ finds the node. It
// appears whole or not at all, so a reader may wait for it.
func (r *RabbitMQ) WriteDescriptor(file string) error { return writeDescriptor(file, r.node) }

// readDescriptor reads what writeDescriptor has written, of what is named.
func readDescriptor(file, what string, node any) error {
	text, err := os.ReadFile(file) //nolint:gosec // whoever runs the tests names the file
	if err != nil {
		return fmt.Errorf("read the descriptor of a shared %s: %w", what, err)
	}
	if err := json.Unmarshal(text, node); err != nil {
		return fmt.Errorf("read the descriptor %s of a shared %s: %w", file, what, err)
	}
	return nil
}

// writeDescriptor writes a file that appears whole or not at all.
func writeDescriptor(file string, node any) error {
	text, err := json.Marshal(node)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("write descriptor: %w", err)
	}
	// After the rename there is nothing of that name to remove.
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(append(text, '\n'))
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write descriptor %s: %w", file, err)
	}
	return nil
}

// RunRabbitMQ starts a private node for one test, which may kill it, pause it
// and restart it.
func RunRabbitMQ(tb testing.TB, o *RabbitMQOptions) *RabbitMQ {
	tb.Helper()
	r, err := StartRabbitMQ(tb.Context(), o)
	return closeAfter(tb, r, err)
}

// RunSharedRabbitMQ is UseRabbitMQ for one test.
func RunSharedRabbitMQ(tb testing.TB) *RabbitMQ {
	tb.Helper()
	r, err := UseRabbitMQ(tb.Context())
	return closeAfter(tb, r, err)
}
