// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Build is how a driver was built.
type Build struct {
	Info          driver.Info
	SDKVersion    string
	ProtocolMajor int
}

// Build starts the driver, unless it runs, and returns what its handshake told.
func (h *Host) Build(ctx context.Context, name string) (Build, error) {
	s := h.acquire(processKey{driver: name})
	defer h.release(s)
	p, err := s.process(ctx)
	if err != nil {
		return Build{}, err
	}
	return Build{Info: p.peer.Info(), SDKVersion: p.peer.SDKVersion(), ProtocolMajor: p.peer.Major()}, nil
}
