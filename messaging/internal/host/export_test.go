// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"syscall"
)

// KillForTest kills the process of a driver with SIGKILL, as an operator could.
func (h *Host) KillForTest(name string) error {
	h.mu.Lock()
	s := h.running[processKey{driver: name}]
	h.mu.Unlock()
	p, err := s.process(context.Background(), false)
	if err != nil {
		return err
	}
	return p.runner.Signal(syscall.SIGKILL)
}
