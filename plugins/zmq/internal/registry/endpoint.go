// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
)

const (
	schemeTCP = "tcp://"
	schemeIPC = "ipc://"
	// maxEndpoint is longer than any host name or path of a socket.
	maxEndpoint = 512
)

// parseEndpoint returns an endpoint as this package writes them: tcp://host:port or ipc:///path.
// Without a scheme it is one of TCP; def stands for a port that is missing, unless it is zero.
func parseEndpoint(text string, def int) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%.100q is no endpoint: %s", text, why)
	}
	if len(text) > maxEndpoint {
		return bad("it is too long")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return bad("it has a space or a control character")
	}
	if file, ok := strings.CutPrefix(text, schemeIPC); ok {
		if !path.IsAbs(file) {
			return bad("the path of a socket starts with a slash")
		}
		return text, nil
	}
	address, ok := strings.CutPrefix(text, schemeTCP)
	if !ok && strings.Contains(text, "://") {
		return bad("want tcp:// or ipc://")
	}
	host, port, err := splitAddress(address, def)
	if err != nil {
		return bad(err.Error())
	}
	return schemeTCP + net.JoinHostPort(host, port), nil
}

// splitAddress takes "host:port" apart, where host may be an address of IPv6 in brackets.
func splitAddress(address string, def int) (host, port string, err error) {
	if def != 0 && !hasPort(address) {
		address = net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(def))
	}
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", errors.New("want host:port")
	}
	if host == "" || strings.ContainsAny(host, "*/@[]") {
		return "", "", fmt.Errorf("%.40q is no host", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("%.40q is no port", port)
	}
	return host, port, nil
}

// hasPort tells whether something like a port follows the host; several colons and no brackets
// are an address of IPv6.
func hasPort(address string) bool {
	if strings.HasPrefix(address, "[") {
		return strings.Contains(address, "]:")
	}
	return strings.Count(address, ":") == 1
}
