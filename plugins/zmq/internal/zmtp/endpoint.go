// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// maxSocketPath is what Linux allows, less the closing zero and the suffix of a temporary name.
const maxSocketPath = 107 - len(socketSuffix)

// endpoint is a parsed address.
type endpoint struct {
	text string
	path string // of ipc; host and ports are empty then
	host string // "*" for all addresses
	low  int
	high int // the same as low, unless the text has a range
}

// parseEndpoint reads tcp://HOST:PORT, tcp://HOST:PORT-PORT and ipc:///PATH.
func parseEndpoint(text string) (endpoint, error) {
	e := endpoint{text: text}
	var err error
	switch scheme, rest, _ := strings.Cut(text, "://"); scheme {
	case "tcp":
		err = e.parseTCP(rest)
	case "ipc":
		err = e.parseIPC(rest)
	default:
		err = errors.New("it starts neither with tcp:// nor with ipc://")
	}
	if err != nil {
		return e, driver.Errorf(driver.ReasonConfig, "endpoint %q: %w", text, err).
			WithHint("write it as tcp://HOST:PORT, tcp://HOST:FIRST-LAST, tcp://*:PORT or ipc:///PATH")
	}
	return e, nil
}

func (e *endpoint) parseTCP(rest string) error {
	host, ports, err := net.SplitHostPort(rest)
	if err != nil {
		return err
	}
	if e.host = host; host == "" {
		return errors.New("it has no host")
	}
	low, high, isRange := strings.Cut(ports, "-")
	if e.low, err = port(low); err != nil {
		return err
	}
	if e.high = e.low; isRange {
		if e.high, err = port(high); err != nil {
			return err
		}
		if e.low == 0 || e.high < e.low {
			return fmt.Errorf("%s is no range of ports", ports)
		}
	}
	return nil
}

func port(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no port", text)
	}
	return int(n), nil
}

func (e *endpoint) parseIPC(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return errors.New("the path is not absolute")
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path has %d bytes, a socket's may have %d", len(path), maxSocketPath)
	}
	e.path = filepath.Clean(path)
	return nil
}

// dialable says whether one peer is meant.
func (e *endpoint) dialable() error {
	if e.path != "" || e.host != "*" && e.low == e.high && e.low > 0 {
		return nil
	}
	return driver.Errorf(driver.ReasonConfig, "endpoint %q names no single peer", e.text).
		WithHint("one address and one port can be dialled")
}

// address is what package net takes.
func (e *endpoint) address(port int) string {
	host := e.host
	if host == "*" {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// with is the endpoint's text with another port.
func (e *endpoint) with(port int) string {
	return "tcp://" + net.JoinHostPort(e.host, strconv.Itoa(port))
}
