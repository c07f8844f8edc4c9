// SPDX-License-Identifier: Apache-2.0

// Package testbed is what the tests through real driver processes have in common: it builds
// the drivers, starts one RabbitMQ for a test program, opens transports whose logs are kept,
// and looks for the processes and files that are left.
//
// Everything is beside the machine's own drivers and runtime directory: the drivers are built
// into a new directory, and their sockets are in another one.
package testbed
