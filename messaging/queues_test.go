// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// describing is a Conn that tells what its driver is, as those of a host do.
type describing struct {
	driver.Conn
	driver.QueueInspector
	info driver.Info
}

func (c describing) Info() driver.Info { return c.info }

func queuesTransport(t *testing.T, d *memory.Driver) *Transport {
	t.Helper()
	c, err := d.Open(t.Context(), driver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	transport := NewTransport(describing{c, c.(driver.QueueInspector), d.Describe()}, nil)
	t.Cleanup(func() { _ = transport.Close(context.WithoutCancel(t.Context())) })
	return transport
}

func TestNotificationQueues(t *testing.T) {
	transport := queuesTransport(t, memory.New())
	n := NewNotifier(transport, &NotifierOptions{Topics: []string{"t"}})
	for range 2 {
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
	target := Target{Topic: "t"}
	got, err := transport.NotificationQueues(t.Context(), []Target{target, target}, []Priority{PriorityInfo, PriorityWarn}, "")
	want := []NotificationQueue{
		{Name: "openstack/t.info", Topics: []NotificationTopic{{"openstack", "t", PriorityInfo}}, Exists: true, Messages: 2},
		{Name: "openstack/t.warn", Topics: []NotificationTopic{{"openstack", "t", PriorityWarn}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) || !got[0].Unheard() || got[1].Unheard() {
		t.Errorf("got %+v, %v", got, err)
	}
	if all, err := transport.NotificationQueues(t.Context(), []Target{target}, nil, "p"); err != nil || len(all) != len(Priorities()) || all[0].Pool != "p" {
		t.Errorf("all priorities: %+v, %v", all, err)
	}
}

func TestNotificationQueuesRefused(t *testing.T) {
	transport := queuesTransport(t, memory.New())
	target := []Target{{Topic: "t"}}
	for _, tt := range []struct {
		name       string
		transport  *Transport
		targets    []Target
		priorities []Priority
		pool       string
		want       error
	}{
		{"no target", transport, nil, nil, "", ErrInvalidTarget},
		{"no topic", transport, []Target{{}}, nil, "", ErrInvalidTarget},
		{"a priority that is none", transport, target, []Priority{"loud"}, "", ErrConfig},
		{"a pool that is none", transport, target, nil, "a\x00", ErrConfig},
		{"a driver that cannot", queuesTransport(t, memory.NewDirect()), target, nil, "", ErrUnsupported},
	} {
		if _, err := tt.transport.NotificationQueues(t.Context(), tt.targets, tt.priorities, tt.pool); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	if err := transport.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := transport.NotificationQueues(t.Context(), target, nil, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
}
