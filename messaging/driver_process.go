// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
)

// DriverPhase is where the process of a driver stands. It says nothing of the broker: that is
// [Transport.State].
type DriverPhase string

// The phases of a driver's process.
const (
	// DriverStarting: the first process is being started.
	DriverStarting = DriverPhase(host.Starting)
	// DriverReady: the process answers.
	DriverReady = DriverPhase(host.Ready)
	// DriverDegraded: the process lives and its heartbeats are late.
	DriverDegraded = DriverPhase(host.Degraded)
	// DriverRestarting: the process ended, and the next one is waited for or being started.
	DriverRestarting = DriverPhase(host.Restarting)
	// DriverBroken: it failed too often. Nothing is started for a while, and calls fail at once
	// with the cause.
	DriverBroken = DriverPhase(host.Broken)
	// DriverDraining: the process finishes what it has and is then stopped.
	DriverDraining = DriverPhase(host.Draining)
	// DriverStopped: nobody uses the driver any more. It is the last.
	DriverStopped = DriverPhase(host.Stopped)
)

// RunningDriver is a driver that a Host runs now.
type RunningDriver struct {
	Name string
	// Class tells the processes of isolated transports apart; it is empty for the shared one.
	Class string
	// Phase is where the process stands, since Since.
	Phase DriverPhase
	Since time.Time
	// PID is the process, zero while there is none.
	PID int
	// Version is what the driver says of itself, File its program without symbolic links.
	Version, File string
	// Starts counts the processes that were ready so far; above 1 the driver was started again.
	Starts int
	// Transports is how many transports share the process.
	Transports int
	// RetryAt is when the next start is tried, in the phases Restarting and Broken.
	RetryAt time.Time
	// Err is why there is no process, or why it is degraded, or nil.
	Err error
}

// DriverEvent is a change of the phase of a driver.
type DriverEvent struct {
	RunningDriver
	Time time.Time
	// Message says in words what happened, where the phase alone does not.
	Message string
}

// Running lists the drivers that run now.
func (h *Host) Running() []RunningDriver {
	running := h.inner.Running()
	list := make([]RunningDriver, 0, len(running))
	for _, r := range running {
		list = append(list, runningFrom(r))
	}
	return list
}

func runningFrom(r host.Running) RunningDriver {
	return RunningDriver{
		Name: r.Driver, Class: r.Class, Phase: DriverPhase(r.Phase), Since: r.Since, PID: r.PID,
		Version: r.Version, File: r.File, Starts: r.Lives, Transports: r.Users, RetryAt: r.RetryAt, Err: r.Err,
	}
}

func eventTo(tell func(DriverEvent)) func(host.Event) {
	if tell == nil {
		return nil
	}
	return func(e host.Event) {
		tell(DriverEvent{RunningDriver: runningFrom(e.Running), Time: e.Time, Message: e.Message})
	}
}
