// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below the range from which Linux gives outgoing connections
// theirs (32768 and up). Else a connection could sit on a stopped node's port
// when the node is started again.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts returns n different loopback ports on which nothing listens. They
// are drawn at random, so that several test processes rarely meet.
func freePorts(n int) ([]int, error) {
	var config net.ListenConfig
	var ports []int
	var errs []error
	for len(ports) < n {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // no secret
		l, err := config.Listen(context.Background(), "tcp", loopback(port))
		if err != nil {
			errs = append(errs, err)
			if len(errs) == 100 {
				return nil, fmt.Errorf("find %d free loopback ports from %d to %d: %w", n, firstPort, lastPort, errors.Join(errs[:3]...))
			}
			continue
		}
		// Kept open until the end, so that none is drawn twice.
		defer closeQuietly(l)
		ports = append(ports, port)
	}
	return ports, nil
}

// loopback is the address of a port on this machine.
func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
