// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

func benchMessages() map[string]driver.Message {
	const id = "75d9f1f2f5ed4931ae25e6480f2a136f"
	body := []byte(`{"method": "echo", "args": {"v": "` + strings.Repeat("x", 1024) + `"}, "namespace": "ns", "version": "1.0"}`)
	context := []byte(`{"user": "u1", "project": "p1", "roles": ["admin", "member"], "request_id": "req-1"}`)
	return map[string]driver.Message{
		"call":         {Kind: driver.Call, CallID: id, UniqueID: id, Body: body, Context: context, TimeLeft: time.Minute, Deadline: time.UnixMilli(1763900000123)},
		"cast":         {Kind: driver.Cast, UniqueID: id, Body: body, Context: context},
		"reply":        {Kind: driver.Reply, CallID: id, UniqueID: id, Body: []byte(`"` + strings.Repeat("x", 1024) + `"`)},
		"notification": {Kind: driver.Notification, Format: driver.NotificationV2, UniqueID: id, Body: body, Context: context},
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, m := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(&m, "unicast.openstack.topicA", "TempQueue484c847a-fb65-4462-a662-57d36239c191"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, m := range benchMessages() {
		encoded, err := Encode(&m, "to", "back")
		if err != nil {
			b.Fatal(err)
		}
		raw, err := encoded.MarshalBinary()
		if err != nil {
			b.Fatal(err)
		}
		received := new(amqp.Message)
		if err := received.UnmarshalBinary(raw); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var d driver.Delivery
				if err := Decode(&d, received, sourceOf(m.Kind)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
