// SPDX-License-Identifier: Apache-2.0

// Package cost measures what it costs that a driver is a process of its own: the time from the start
// of an application to its first answer, the memory of idle processes, and what each listener and
// each waiting call adds.
//
// The application is a small program, the worker, that does what it is told by lines of JSON. What
// one thing costs is the difference of two sizes, divided by how many there are more; before it is
// measured, the worker, and the probe where it is the driver, give back the memory that is garbage.
// The probe is the fake driver with one goroutine more, which tells how many goroutines there are.
package cost
