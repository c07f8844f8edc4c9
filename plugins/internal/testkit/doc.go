// SPDX-License-Identifier: Apache-2.0

// Package testkit is what the drivers' own tests have in common that look inside of a driver: a
// configuration, messages and sources, waits that end, and what a Conn logs and reports. What every
// driver must do whatever it is made of is in sdk/drivertest.
//
// Only tests import it: internal/layout forbids a driver to link it.
package testkit
