// SPDX-License-Identifier: Apache-2.0

// Package peertest starts the real programs that integration tests talk to: a
// private RabbitMQ node, a Redis, an Apache Qpid Broker-J and an Apache ActiveMQ
// Artemis, and Python oslo.messaging servers and clients.
//
// Everything it starts listens on the loopback interface only, takes ports that
// were free, lives in a directory of its own and is a child of the test process
// with a parent-death signal. Closing a peer leaves no process and no directory
// behind; a test run that is killed leaves no process.
//
// What has to be installed comes from install.sh in this directory, which
// "make test" runs. A test whose peer is missing fails and says so. With
// PARLEY_TEST_OPTIONAL=1 in the environment it is skipped instead, with a line
// that starts with NOT PROVEN.
package peertest
