// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/internal/procfs"
)

// process names one process for good, so that others can tell that it has ended.
type process struct {
	PID int `json:"pid,omitempty"`
	// Host is the boot of the machine, which is another after each start and the same in all its
	// containers. Names of hosts are neither.
	Host string `json:"host,omitempty"`
	// Space is where PID counts: containers have their own. The host's name is part of it, since
	// machines that were cloned while they ran have the same boot.
	Space string `json:"space,omitempty"`
	// Start is procfs.Stat's.
	Start uint64 `json:"start,omitempty"`
}

// thisProcess is empty where there is no /proc: then nobody can tell.
func thisProcess() process {
	pid := os.Getpid()
	stat, ok := procfs.Read(pid)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, err2 := os.Readlink("/proc/self/ns/pid")
	name, err3 := os.Hostname()
	if !ok || err != nil || err2 != nil || err3 != nil {
		return process{}
	}
	return process{PID: pid, Host: strings.TrimSpace(string(boot)), Space: space + "@" + name, Start: stat.Start}
}

// sees tells whether p could see other in /proc.
func (p process) sees(other process) bool {
	return other.PID > 0 && p.Host != "" && p.Host == other.Host && p.Space == other.Space
}

// vanished tells cheaply that p, which this process sees, is no more. It misses one whose id another has.
func (p process) vanished() bool {
	return errors.Is(unix.Kill(p.PID, 0), unix.ESRCH)
}

// ended tells surely that p, which this process sees, is no more.
func (p process) ended() bool {
	if p.vanished() {
		return true
	}
	stat, ok := procfs.Read(p.PID)
	// It is hidden from us rather than gone when it cannot be read.
	return ok && (stat.Start != p.Start || stat.State == 'Z')
}

// processLooks asks once for each process, however many nodes it has.
type processLooks struct {
	gone, surelyGone map[process]bool
}

func (l *processLooks) vanished(p process) bool { return once(&l.gone, p, process.vanished) }

func (l *processLooks) ended(p process) bool { return once(&l.surelyGone, p, process.ended) }

// once is what ask says of p, from memory if it was asked before.
func once(known *map[process]bool, p process, ask func(process) bool) bool {
	if *known == nil {
		*known = make(map[process]bool)
	}
	answer, asked := (*known)[p]
	if !asked {
		answer = ask(p)
		(*known)[p] = answer
	}
	return answer
}
