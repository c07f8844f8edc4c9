// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// NewVhost makes a vhost of the test's own and deletes it, with everything in
// it, when the test ends.
func (r *RabbitMQ) NewVhost(tb testing.TB) string {
	tb.Helper()
	name := "test-" + strings.ToLower(rand.Text())
	if err := r.AddVhost(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// The test's context has ended by now. A node that the test took down
		// takes its vhosts along.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if r.foreign == nil && r.PID() == 0 {
			return
		}
		if err := r.DeleteVhost(ctx, name); err != nil {
			tb.Error(err)
		}
	})
	return name
}

// AddVhost makes a vhost that the node's own user may use.
func (r *RabbitMQ) AddVhost(ctx context.Context, name string) error {
	if err := r.manage(ctx, http.MethodPut, nil, "vhosts", name); err != nil {
		return fmt.Errorf("add vhost %q: %w", name, err)
	}
	return r.Allow(ctx, rabbitUser, name)
}

// DeleteVhost deletes a vhost. Its connections are closed by the broker.
func (r *RabbitMQ) DeleteVhost(ctx context.Context, name string) error {
	if err := r.manage(ctx, http.MethodDelete, nil, "vhosts", name); err != nil {
		return fmt.Errorf("delete vhost %q: %w", name, err)
	}
	return nil
}

// AddUser makes a user that may do nothing until Allow is called.
func (r *RabbitMQ) AddUser(ctx context.Context, name, password string) error {
	user := map[string]string{"password": password, "tags": ""}
	if err := r.manage(ctx, http.MethodPut, user, "users", name); err != nil {
		return fmt.Errorf("add user %q: %w", name, err)
	}
	return nil
}

// Allow gives a user all permissions in a vhost.
func (r *RabbitMQ) Allow(ctx context.Context, user, vhost string) error {
	return r.Permit(ctx, user, vhost, ".*", ".*", ".*")
}

// Permit gives a user permissions in a vhost, by expressions for the names of objects.
func (r *RabbitMQ) Permit(ctx context.Context, user, vhost, configure, write, read string) error {
	all := map[string]string{"configure": configure, "write": write, "read": read}
	if err := r.manage(ctx, http.MethodPut, all, "permissions", vhost, user); err != nil {
		return fmt.Errorf("allow user %q in vhost %q: %w", user, vhost, err)
	}
	return nil
}

// manage sends one request to the management interface. A rabbitmqctl command
// would do the same in a second; this takes milliseconds.
func (r *RabbitMQ) manage(ctx context.Context, method string, body any, path ...string) error {
	escaped := make([]string, len(path))
	for i, element := range path {
		escaped[i] = url.PathEscape(element)
	}
	target := "http://" + loopback(r.node.ManagementPort) + "/api/" + strings.Join(escaped, "/")
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.SetBasicAuth(rabbitUser, rabbitPassword)
	req.Header.Set("Content-Type", "application/json")
	// No connection is kept, so that no goroutine outlives the call.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer closeQuietly(resp.Body)
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, text)
	}
	return nil
}
