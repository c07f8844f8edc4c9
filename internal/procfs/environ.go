// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxEnviron is more than the kernel lets a process be started with.
const maxEnviron = 8 << 20

// Environ is the environment that a process was started with, as NAME=value entries that end
// with a zero byte.
type Environ []byte

// ReadEnviron returns the environment of a process. It is empty for one that has ended, and for
// those of other users, unless this process is privileged.
func ReadEnviron(pid int) Environ {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if closeErr := f.Close(); err != nil || closeErr != nil {
		return nil
	}
	return text
}

// Get returns the value of a variable, or "".
func (e Environ) Get(name string) string {
	prefix := append([]byte(name), '=')
	for entry := range bytes.SplitSeq(e, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, prefix); ok {
			return string(value)
		}
	}
	return ""
}

// Pids returns the ids of all processes.
func Pids() []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // the pattern is fine
	}
	pids := make([]int, 0, len(dirs))
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Tracer is the id of the process that traces a process, as a debugger does, or 0.
func Tracer(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			tracer, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return tracer
		}
	}
	return 0
}

// Threads is how many threads a process has; a process whose first thread has ended counts it
// until all have. It is 0 when there is no such process.
func Threads(pid int) int {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return 0
	}
	return len(tasks)
}
