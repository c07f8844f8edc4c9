// SPDX-License-Identifier: Apache-2.0

package bench

import _ "embed" // the script

// ZMQEcho is the program of the workers in Python, for "python -c".
//
//go:embed zmqecho.py
var ZMQEcho string

// Notify is the program of the notifier in Python.
//
//go:embed notify.py
var Notify string
