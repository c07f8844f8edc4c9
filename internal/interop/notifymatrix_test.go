// SPDX-License-Identifier: Apache-2.0

package interop

import "testing"

// notifyCell is one row of the matrix of notifications: with each release of oslo.messaging, what a
// Python listener gets of a Go notifier, and a Go listener of a Python one.
type notifyCell struct {
	name       string
	goNotifies func(t *testing.T, p *notePeers)
	pyNotifies func(t *testing.T, p *notePeers)
}

func notifyMatrix() []notifyCell {
	return []notifyCell{
		{"levels and topics", testGoNotifiesLevels, testPythonNotifiesLevels},
		{"names", testGoNotifiesNames, testPythonNotifiesNames},
		{"values", testGoNotifiesValues, testPythonNotifiesValues},
		{"2^70", testGoNotifiesHuge, testPythonNotifiesHuge},
		{"NaN", testGoNotifiesNaN, testPythonNotifiesNaN},
		{"lone surrogates", testGoNotifiesSurrogates, testPythonNotifiesSurrogates},
		{"1 MiB", testGoNotifiesMebibyte, testPythonNotifiesMebibyte},
		{"context", testGoNotifiesContext, testPythonNotifiesContext},
		{"headers", testGoNotifiesHeaders, testPythonNotifiesHeaders},
		{"filters", testGoFiltered, testPythonFiltered},
		{"batches", testGoNotifiesBatches, testPythonNotifiesBatches},
		{"one pool of both", testGoNotifiesPool, testPythonNotifiesPool},
		{"two pools", testGoNotifiesPools, testPythonNotifiesPools},
		{"what Go requeues", testGoRequeuesGo, testGoRequeuesPython},
		{"what Python requeues", testPythonRequeuesGo, testPythonRequeuesPython},
		{"a requeued batch", testGoBatchAgain, testPythonBatchAgain},
		{"dead letters", testGoDeadLetters, testPythonDeadLetters},
	}
}

// TestNotificationMatrix runs every row with each release, in both directions.
func TestNotificationMatrix(t *testing.T) {
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p := newNotePeers(t, m)
		for _, c := range notifyMatrix() {
			t.Run(c.name+"/Go notifies", func(t *testing.T) { c.goNotifies(t, p) })
			t.Run(c.name+"/Python notifies", func(t *testing.T) { c.pyNotifies(t, p) })
		}
	})
}
