// SPDX-License-Identifier: Apache-2.0

package address

import (
	"strconv"
	"strings"
)

// What peers call themselves in the product property of their open.
const (
	productQpidCpp  = "qpid-cpp"
	productBrokerJ  = "Apache Qpid Broker-J" // and what follows, such as " Core"
	productRabbitMQ = "RabbitMQ"
	productArtemis  = "apache-activemq-artemis"
)

// Resolver makes the addresses for one peer. Its zero value is of no use; see Options.For. Its
// methods may be called from any goroutine.
type Resolver struct {
	// Mode is Legacy or Routable.
	Mode Mode
	// Why says for people how Mode was chosen.
	Why string

	opts         Options
	capabilities capabilities
}

// For resolves the mode for a peer of that product, "" when it sent none.
//
// Dynamic is upstream's rule: legacy addresses for qpid-cpp and for who does not tell, routable
// ones for everybody else. Two peers that cannot work with routable addresses at all have legacy
// ones nevertheless: Broker-J takes the part before the first slash for an exchange, and RabbitMQ
// ends the session.
func (o Options) For(product string) Resolver {
	r := Resolver{opts: o, capabilities: o.capabilitiesFor(product)}
	r.Mode, r.Why = o.mode(product)
	return r
}

func (o Options) mode(product string) (Mode, string) {
	switch {
	case o.Mode == Legacy || o.Mode == Routable:
		return o.Mode, "addressing_mode is " + string(o.Mode)
	case product == "":
		return Legacy, "the peer does not tell its product, and upstream takes legacy addresses then"
	case product == productQpidCpp:
		return Legacy, "the peer is " + productQpidCpp + ", which has legacy addresses with upstream too"
	case isProduct(product, productBrokerJ):
		return Legacy, "the peer is " + shown(product) + ", which splits addresses at a slash; upstream has to be set to legacy for it"
	case isProduct(product, productRabbitMQ):
		return Legacy, "the peer is " + shown(product) + ", which refuses addresses with a slash; upstream has to be set to legacy for it"
	default:
		return Routable, "the peer is " + shown(product) + ", and upstream takes routable addresses for all but " + productQpidCpp
	}
}

func isProduct(product, name string) bool {
	return len(product) >= len(name) && strings.EqualFold(product[:len(name)], name)
}

// shown quotes what a peer calls itself, which may be anything.
func shown(product string) string {
	const most = 64
	if len(product) > most {
		product = strings.ToValidUTF8(product[:most], "") + "…"
	}
	return strconv.Quote(product)
}
