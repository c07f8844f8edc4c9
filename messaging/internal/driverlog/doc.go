// SPDX-License-Identifier: Apache-2.0

// Package driverlog turns what a driver process prints into log records of the host. Nothing
// that is printed can do harm: lines are bounded, their rate is, and no shape is assumed.
package driverlog
