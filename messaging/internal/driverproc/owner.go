// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"fmt"
	"os"
)

// owner is the identity of a host's process: never a bare process id, which may be another
// process's tomorrow, after a restart of the machine, or in another container.
type owner struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	Boot      string `json:"boot,omitempty"`
	// Namespace is the one in which PID means something.
	Namespace string `json:"pid_namespace,omitempty"`
}

// self is this process.
func self() owner {
	pid := os.Getpid()
	return owner{PID: pid, StartTime: processStartTime(pid), Boot: bootID(), Namespace: pidNamespace()}
}

// alive reports whether the very process runs.
func (o owner) alive() bool {
	started := processStartTime(o.PID)
	return started != 0 && started == o.StartTime && bootID() == o.Boot && !ended(o.PID)
}

// mark is the owner as a value of the environment, in which its drivers carry it.
func (o owner) mark() string {
	return fmt.Sprintf("%d:%d:%s:%s", o.PID, o.StartTime, o.Boot, o.Namespace)
}

// parseMark reads a mark. It reports false for one that says nothing on this machine, as it runs
// now: of another boot or another process namespace.
func parseMark(text string) (owner, bool) {
	var o owner
	if _, err := fmt.Sscanf(text, "%d:%d:", &o.PID, &o.StartTime); err != nil || o.StartTime == 0 {
		return owner{}, false
	}
	o.Boot, o.Namespace = bootID(), pidNamespace()
	return o, o.mark() == text
}
