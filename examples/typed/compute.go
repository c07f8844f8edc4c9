// SPDX-License-Identifier: Apache-2.0

// Package typed is a small service whose methods have types. Server and client share the
// declarations below: a method that is spelled wrong, or called with the wrong arguments,
// does not compile.
package typed

import (
	"context"
	"sync"

	"github.com/parleymq/parley/messaging"
)

// StartArgs are the arguments of start_instance. The tags are their names on the wire.
type StartArgs struct {
	InstanceID string `json:"instance_id"`
	Flavor     string `json:"flavor"`
}

// StartReply is the result of start_instance.
type StartReply struct {
	Host  string `json:"host"`
	State string `json:"state"`
}

// ListReply is the result of list_instances, which came with version 2.3.
type ListReply struct {
	IDs []string `json:"ids"`
}

// Methods are what a compute host can be asked for.
type Methods struct {
	Start messaging.Method[StartArgs, StartReply]
	List  messaging.Method[struct{}, ListReply]
}

// NewMethods returns the methods of the compute interface, version 2.3.
func NewMethods() Methods {
	return Methods{
		Start: messaging.Method[StartArgs, StartReply]{Name: "start_instance"},
		List:  messaging.Method[struct{}, ListReply]{Name: "list_instances", Since: "2.3"},
	}
}

// Manager runs the instances of one host.
type Manager struct {
	Host string

	mu        sync.Mutex
	instances []string // guarded by mu
}

// Endpoint returns the manager's methods, for an RPC server. Registering is exposing: the
// manager's other methods cannot be called from outside.
func (m *Manager) Endpoint() *messaging.Endpoint {
	ep := messaging.NewEndpoint(&messaging.EndpointOptions{Version: "2.3"})
	methods := NewMethods()
	methods.Start.Handle(ep, m.start)
	methods.List.Handle(ep, m.list)
	return ep
}

func (m *Manager) start(_ context.Context, args StartArgs) (StartReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instances = append(m.instances, args.InstanceID)
	return StartReply{Host: m.Host, State: "running"}, nil
}

func (m *Manager) list(context.Context, struct{}) (ListReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ListReply{IDs: append([]string{}, m.instances...)}, nil
}
