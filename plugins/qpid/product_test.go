// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// TestRefusalsOfProducts: who is refused a link is told what to do with that peer.
func TestRefusalsOfProducts(t *testing.T) {
	refused := func(c amqp.ErrCond) error { return &amqp.LinkError{RemoteErr: &amqp.Error{Condition: c}} }
	for _, tt := range []struct {
		product, addr string
		err           error
		reason        driver.Reason
		hint          string
	}{
		{"RabbitMQ", "unicast.v/w", refused(amqp.ErrCondInvalidField), driver.ReasonPrecondition, "rabbit://"},
		{"RabbitMQ", "unicast.v", refused(amqp.ErrCondNotImplemented), driver.ReasonUnsupported, "rabbit://"},
		{"RabbitMQ", "unicast.v", &amqp.ConnError{}, driver.ReasonNotConnected, ""},
		{"Apache Qpid Broker-J Core", "unicast.v/w", refused(amqp.ErrCondNotFound), driver.ReasonNoRoute, "no slash"},
		{"Apache Qpid Broker-J Core", "unicast.v", refused(amqp.ErrCondNotFound), driver.ReasonNoRoute, "parley doctor"},
		{"qpid-cpp", "unicast.v/w", refused(amqp.ErrCondNotFound), driver.ReasonNoRoute, "parley doctor"},
	} {
		s := &session{product: tt.product}
		e := s.attachError("attach to "+tt.addr, tt.addr, tt.err)
		if e.Reason != tt.reason || !strings.Contains(e.Hint, tt.hint) || (tt.hint == "") != (e.Hint == "") {
			t.Errorf("%s, %s: %v", tt.product, tt.addr, e)
		}
	}
	if e := (&session{product: "RabbitMQ"}).attachError("attach", "a", nil); e != nil {
		t.Errorf("no error became %v", e)
	}
}

// TestNoFanoutOnRabbitMQ: it would take the link, and give the one copy to any server.
func TestNoFanoutOnRabbitMQ(t *testing.T) {
	for product, refused := range map[string]bool{"RabbitMQ": true, "Apache Qpid Broker-J Core": false, "apache-activemq-artemis": false, "": false} {
		s := &session{product: product}
		if e := s.cannot(address.Multicast); (e != nil) != refused {
			t.Errorf("%q: %v", product, e)
		}
		if e := s.cannot(address.Anycast); e != nil {
			t.Errorf("%q: %v", product, e)
		}
	}
}
