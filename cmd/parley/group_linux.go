// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// groupOfItsOwn puts a process into a group that can be killed as a whole, and ends it with
// the thread that started it.
func groupOfItsOwn() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
