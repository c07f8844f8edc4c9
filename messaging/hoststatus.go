// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
)

// HostStatus is what a running [Host] has written down for other programs of its user. It has
// no credentials.
type HostStatus struct {
	// PID and Program are the application.
	PID     int
	Program string
	// Since is when the Host started its first driver.
	Since time.Time
	// ReloadSignal names the signal that makes it reload its drivers; empty for none.
	ReloadSignal string
	Drivers      []RunningDriver
	// Reloads has the last one of each driver and class.
	Reloads []ReloadResult
}

// ReloadResult is what became of a reload, or of a program that failed its first minute.
type ReloadResult struct {
	Time          time.Time
	Driver, Class string
	// From and To name the programs, before and now, with version and process.
	From, To string
	// OK: To is another process, started from the file that was found.
	OK      bool
	Message string
}

// RunningHosts lists the Hosts of this user that run drivers now, in all of its programs. An
// empty runtimeDir means the default, as in [HostOptions].
func RunningHosts(runtimeDir string) ([]HostStatus, error) {
	all, err := host.ReadStatus(runtimeDir)
	if err != nil {
		return nil, operation{verb: "list running hosts"}.wrap(err)
	}
	list := make([]HostStatus, 0, len(all))
	for _, st := range all {
		list = append(list, statusFrom(st))
	}
	return list, nil
}

func statusFrom(st host.Status) HostStatus {
	s := HostStatus{PID: st.PID, Program: st.Program, Since: st.Since, ReloadSignal: st.ReloadSignal}
	for _, d := range st.Drivers {
		r := runningFrom(d.Running)
		if d.Cause != "" {
			r.Err = errors.New(d.Cause)
		}
		s.Drivers = append(s.Drivers, r)
	}
	for _, r := range st.Reloads {
		s.Reloads = append(s.Reloads, ReloadResult{
			Time: r.Time, Driver: r.Driver, Class: r.Class, From: r.From, To: r.To, OK: r.OK, Message: r.Message,
		})
	}
	return s
}
