// SPDX-License-Identifier: Apache-2.0

//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package driverproc

import "syscall"

// prepare refuses limits: they cannot be set before the driver runs.
func (l Limits) prepare(*syscall.SysProcAttr) (stops bool, err error) {
	if l == (Limits{}) {
		return false, nil
	}
	return false, l.errorf("not on this system")
}

func (l Limits) confine(int) error { return nil }

func onMainThread() bool { return false }
