// SPDX-License-Identifier: Apache-2.0

// Package driverfile finds the files of drivers and judges whether they may be started: where
// they are looked for, what their names say, who may have written them, and which checksum they
// must have. It starts nothing, but
// for the description of a driver that is being installed.
package driverfile
