// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import "os"

// childPipes are the pipes between host and driver. The host keeps the write end of the
// lifeline and never writes: the driver reads end-of-file when the host is gone, however it
// ended.
type childPipes struct {
	stdout, stderr, lifeline                   *os.File
	stdoutTheirs, stderrTheirs, lifelineTheirs *os.File
}

func (p *childPipes) open() error {
	var err error
	if p.stdout, p.stdoutTheirs, err = os.Pipe(); err != nil {
		return err
	}
	if p.stderr, p.stderrTheirs, err = os.Pipe(); err == nil {
		p.lifelineTheirs, p.lifeline, err = os.Pipe()
	}
	if err != nil {
		p.closeOurs()
		p.closeTheirs()
	}
	return err
}

func (p *childPipes) closeOurs()   { closeAll(p.stdout, p.stderr, p.lifeline) }
func (p *childPipes) closeTheirs() { closeAll(p.stdoutTheirs, p.stderrTheirs, p.lifelineTheirs) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
