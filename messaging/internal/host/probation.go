// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"time"
)

// probation is the first minute of a program that was swapped in. The one before is kept open,
// for by then its path may name the new one.
type probation struct {
	before program // with a file
	id     fileID  // of the program on trial
	name   string  // of it, for people
}

// rejected is a program that failed its trial, and what is started instead of it until another
// file is found.
type rejected struct {
	id     fileID
	before program // with a file
}

// beginProbation puts the program of a swap on trial. A second swap within the first minute
// keeps the program that is known to work.
func (s *supervisor) beginProbation(before program, now program) {
	if s.probation != nil {
		before.close()
		before = s.probation.before
	}
	s.probation = &probation{before: before, id: now.id, name: describeProgram(now)}
}

func describeProgram(p program) string {
	if p.found.Version == "" {
		return p.found.Path
	}
	return p.found.Path + " " + p.found.Version
}

// endProbation trusts the program that is on trial.
func (s *supervisor) endProbation() {
	if s.probation != nil {
		s.probation.before.close()
		s.probation = nil
	}
}

// takeBack rejects a program that failed on trial: the one before is started next.
func (s *supervisor) takeBack(cause error) {
	t := s.probation
	if t == nil {
		return
	}
	s.probation = nil
	if s.rejected != nil {
		s.rejected.before.close()
	}
	s.rejected = &rejected{id: t.id, before: t.before}
	message := fmt.Sprintf("%s failed in its first %s; %s is started again", t.name, s.host.opts.ProbationTime, describeProgram(t.before))
	s.logger.Error("driver is rolled back", "failed", t.name, "to", describeProgram(t.before), "cause", cause.Error())
	s.enter(Restarting, message, func(*Running) {})
	s.host.noteReload(ReloadResult{
		Time: time.Now(), Driver: s.key.driver, Class: s.key.class, From: t.name, To: describeProgram(t.before),
		Message: message + ": " + cause.Error(),
	})
}

// trialTimer fires when a probation is over; it does nothing while there is none.
func (s *supervisor) trialTimer() *time.Timer {
	return time.NewTimer(s.host.opts.ProbationTime)
}
