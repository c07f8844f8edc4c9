// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// groupOfItsOwn puts a process into a group that can be killed as a whole.
func groupOfItsOwn() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
