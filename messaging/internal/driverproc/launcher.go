// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"os/exec"
	"path/filepath"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// launcher is a command that executes what is appended to its arguments.
type launcher struct {
	path string   // absolute, without symbolic links; empty when there is none
	args []string // with its name, as it was given
}

// findLauncher looks the command up in PATH and checks it as drivers are.
func findLauncher(command []string) (launcher, error) {
	if len(command) == 0 {
		return launcher{}, nil
	}
	name := command[0]
	path, err := exec.LookPath(name)
	if err == nil && !filepath.IsAbs(path) {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return launcher{}, driver.Errorf(driver.ReasonConfig, "launcher %s: %w", driverfile.ShellQuote(name), err).
			WithHint("install it, or name it by its absolute path")
	}
	file, err := driverfile.OpenTrusted(path)
	if err != nil {
		e := driver.AsError(err)
		refused := driver.Errorf(driver.ReasonConfig, "launcher %s: %s", driverfile.ShellQuote(name), e.Message)
		refused.Hint, refused.Err = e.Hint, e
		return launcher{}, refused
	}
	defer closeAll(file)
	return launcher{path: file.Name(), args: command}, nil
}

// wrap returns what to execute in place of program. A launcher gives the program the path as its
// name, and passes on the descriptor that the path leads to.
func (l launcher) wrap(program, shown string) (path string, args []string) {
	if l.path == "" {
		return program, []string{shown}
	}
	return l.path, append(append([]string(nil), l.args...), program)
}
