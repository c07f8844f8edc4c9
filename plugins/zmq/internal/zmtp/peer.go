// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"crypto/tls"
	"crypto/x509"
	"net"
)

// Peer is what is known of the other side. Only CommonName and Names are proven, and only when
// there is TLS.
type Peer struct {
	SocketType string   // of its READY
	Identity   string   // of its READY, empty for a ROUTER
	Address    string   // of its socket; the endpoint for ipc
	CommonName string   // of its verified certificate
	Names      []string // DNS names, then IP addresses and URIs, of its verified certificate
}

// addressOf is the other end's address, or the endpoint when it has none.
func addressOf(c net.Conn, endpoint string) string {
	if a := c.RemoteAddr(); a != nil && a.Network() != "unix" {
		return a.String()
	}
	return endpoint
}

// certified adds the names of the leaf that state verified.
func (p *Peer) certified(state tls.ConnectionState) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return
	}
	leaf := state.VerifiedChains[0][0]
	p.CommonName, p.Names = leaf.Subject.CommonName, namesOf(leaf)
}

func namesOf(leaf *x509.Certificate) []string {
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	return names
}
