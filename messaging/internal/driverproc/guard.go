// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	guardShell = "/bin/sh"
	// guardPath is where the guard's shell finds rm.
	guardPath = "PATH=/usr/bin:/bin"
	// guardWait is how long a guard that was told of the end may take.
	guardWait = 2 * time.Second
)

// A guard ignores what is sent to a whole group, and waits until the other end of its pipe is
// closed, which is when the host is gone.
const guardPrelude = `trap '' HUP INT QUIT PIPE ALRM TERM USR1 USR2 TSTP TTIN TTOU
while read -r line <&3; do :; done
`

// groupGuardScript kills the driver, removes the private directory $1 and kills the whole group,
// itself included. The driver's process id $2 is the group's: nobody else can have it while the
// guard is in the group.
const groupGuardScript = guardPrelude + `kill -KILL "$2"
rm -rf -- "$1" || rm -rf -- "$1"
kill -KILL 0
`

// dirGuardScript removes the directories that it is given.
const dirGuardScript = guardPrelude + `rm -rf -- "$@"
`

// guard is a shell that outlives the host by a moment, to remove what nobody else would. That of a
// driver is in its process group: the driver's children get no parent-death signal.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File      // its closing, by whomever, is the guard's sign
	done chan struct{} // closed when it was collected
	over atomic.Bool   // it has ended
}

// guardGroup starts the guard of a directory and the process group of a driver, which is not
// collected yet. lost is called when the guard ends.
func guardGroup(dir string, group int, lost func(error)) (*guard, error) {
	return startGuard(dir, group, lost, groupGuardScript, "parley-guard", dir, strconv.Itoa(group))
}

// guardDir starts the guard of a directory, in a group of its own. fresh is the directory's name
// until it is complete; it need not exist yet under either.
func guardDir(dir, fresh string) (*guard, error) {
	return startGuard(dir, 0, func(error) {}, dirGuardScript, "parley-guard", dir, fresh)
}

func startGuard(dir string, group int, lost func(error), script ...string) (*guard, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer closeAll(theirs)
	g := &guard{pipe: ours, done: make(chan struct{}), cmd: &exec.Cmd{
		Path: guardShell,
		Args: append([]string{"parley-guard", "-c"}, script...),
		// The marks, so that a sweep ends a guard as well.
		Env:         append(marks(dir), guardPath),
		Dir:         "/",
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pgid: group},
	}}
	if err := g.cmd.Start(); err != nil {
		closeAll(ours)
		return nil, err
	}
	go func() {
		defer close(g.done)
		err := g.cmd.Wait()
		g.over.Store(true)
		lost(err)
	}()
	return g, nil
}

// stands reports whether there is a guard that runs.
func (g *guard) stands() bool { return g != nil && !g.over.Load() }

// finish ends a guard whose driver has ended, and waits. Most often it was killed with the group.
// When it was not, because somebody else collected the driver and the group's id was no more to be
// trusted, the guard kills the group: it is in it.
func (g *guard) finish() {
	if g == nil {
		return
	}
	closeAll(g.pipe)
	timer := time.NewTimer(guardWait)
	defer timer.Stop()
	select {
	case <-g.done:
	case <-timer.C:
		_ = g.cmd.Process.Kill() // it may have ended now
		<-g.done
	}
}

// dismiss ends a guard that has nothing to do, and waits.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Kill() // it may have ended
	g.finish()
}
