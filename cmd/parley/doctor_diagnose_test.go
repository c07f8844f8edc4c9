// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// TestFindingsStep: each finding has a line, a flaw is a warning, and no text of a driver does
// anything to a terminal.
func TestFindingsStep(t *testing.T) {
	r := findingsStep([]messaging.Finding{
		{Topic: "product", Detail: "a broker 1.2"},
		{Topic: "node policy", Detail: "missing\x1b[31m\nred", Flaw: true, Hint: "add this:\r\n{\n\t\"a\": 1\x07\n}\n"},
	})
	r.Step = "broker"
	var out bytes.Buffer
	a := &app{stdout: &out}
	a.printStep(r)
	want := "warn  broker     1 of 2 findings want a change at the broker\n" +
		"                 ok    product: a broker 1.2\n" +
		"                 warn  node policy: missing [31m red\n" +
		"                       hint: add this:\n" +
		"                             {\n" +
		"                                 \"a\": 1\n" +
		"                             }\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"findings":[{"topic":"product","status":"ok","detail":"a broker 1.2"},{"topic":"node policy","status":"warn"`) {
		t.Errorf("%v: %s", err, text)
	}
	if r := findingsStep(nil); r.Status != stepOK || r.Detail == "" {
		t.Errorf("without findings: %+v", r)
	}
}

// TestDiagnoseWithoutBroker: there is nothing to look at.
func TestDiagnoseWithoutBroker(t *testing.T) {
	x := &examination{info: driver.Info{Capabilities: []driver.Capability{driver.CapDirect}}}
	if r := x.diagnose(t.Context()); r.Status != stepSkip || !strings.HasPrefix(r.Detail, noBroker) {
		t.Errorf("got %+v", r)
	}
}
