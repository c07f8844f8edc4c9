// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"syscall"
)

// SignalForTest sends a signal to the process of a driver, as an operator could.
func (h *Host) SignalForTest(name string, sig syscall.Signal) error {
	h.mu.Lock()
	s := h.running[processKey{driver: name}]
	h.mu.Unlock()
	p, err := s.process(context.Background())
	if err != nil {
		return err
	}
	return p.runner.Signal(sig)
}
