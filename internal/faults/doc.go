// SPDX-License-Identifier: Apache-2.0

// Package faults holds the tests that kill and stop real processes under load: the driver at
// either end, the application that runs it, and RabbitMQ; that keep back its confirms, cut
// connections and delete queues. Client and server are applications of their own (internal/app),
// each with its driver process. What needs no RabbitMQ is done on every wire.
//
// A ledger holds every call and every run of the method. What is proven of each fault: every
// call returns by its deadline with an answer or an error, nothing is run twice (where a broker
// may give a request again, [testbed.Wire].Regiven, such a run is counted apart, and only beside
// the fault that explains it), what was answered was run, calls succeed again within five seconds,
// and nothing is left behind when the applications end.
//
// The leak tests look for what many calls leave in a process that lives on.
//
// The figures are logged, and written to the file that PARLEY_FAULTS_JSON names.
package faults
