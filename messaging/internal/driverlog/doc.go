// SPDX-License-Identifier: Apache-2.0

// Package driverlog turns what a driver process prints into log records of the host. Nothing
// that is printed can do harm: lines are bounded, their rate is, no shape is assumed, and the
// secrets that the process was told are masked.
package driverlog
