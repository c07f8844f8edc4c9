// SPDX-License-Identifier: Apache-2.0

package host

import "time"

// Phase is where the process of a driver stands. It says nothing of the broker: that is the
// State of each connection.
type Phase string

// The phases.
const (
	// Starting: the first process is being started.
	Starting Phase = "starting"
	// Ready: the process answers.
	Ready Phase = "ready"
	// Degraded: the process lives and its heartbeats are late.
	Degraded Phase = "degraded"
	// Restarting: the process ended, and the next one is waited for or being started.
	Restarting Phase = "restarting"
	// Broken: it failed too often; nothing is started for a while, and calls fail at once.
	Broken Phase = "broken"
	// Draining: the process finishes what it has and is then stopped.
	Draining Phase = "draining"
	// Stopped: nobody uses the driver any more. It is the last.
	Stopped Phase = "stopped"
)

// Event is a change of a driver's phase.
type Event struct {
	Running
	Time time.Time
	// Message says in words what happened, where the phase alone does not.
	Message string
}

// Running is a driver that the Host runs now.
type Running struct {
	Driver  string    `json:"driver"`
	Class   string    `json:"class,omitempty"` // of isolated processes; empty for the shared one
	Phase   Phase     `json:"phase"`
	Since   time.Time `json:"since"`             // of the phase
	PID     int       `json:"pid,omitempty"`     // zero while there is no process
	Version string    `json:"version,omitempty"` // what the driver said of itself; empty before the first process
	File    string    `json:"file,omitempty"`    // the program, without symbolic links
	Lives   int       `json:"lives"`             // how many processes were ready so far
	Users   int       `json:"users"`             // connections that share the process
	RetryAt time.Time `json:"retry_at,omitzero"` // when the next start is tried, in Restarting and Broken
	Err     error     `json:"-"`                 // why there is no process, or why it is degraded
}
