// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// Case is one sentence about drivers that is true or not.
type Case struct {
	// Rule is the id of the rule in package driver, or the capability, that the case proves.
	Rule string
	// Name is the sentence.
	Name string

	needs []driver.Capability // the driver must declare them
	only  driver.Capability   // the same, or the case says nothing of it
	lacks driver.Capability   // the driver must not declare it, or the case says nothing of it
	hook  string              // the Harness must have it
	slow  bool                // gets four times the time
	run   func(ctx context.Context, w *world)
}

// String returns the rule and the sentence.
func (c Case) String() string { return c.Rule + " " + c.Name }

// Cases returns all cases, in the order they run.
func Cases() []Case {
	return slices.Concat(
		describeCases(), sendCases(), failFastCases(), directCases(), timeCases(), bodyCases(), listenCases(), scopedCases(),
		replyCases(), lostCases(), notificationCases(), poolCases(), queueCases(), pollCases(), doneCases(), receiptCases(), asyncCases(), stopCases(), closeCases(),
		brokerCases(), diagnosisCases(), ledgerCases(),
	)
}

// casesFor returns the cases that say something of a driver.
func casesFor(info driver.Info) []Case {
	return slices.DeleteFunc(Cases(), func(c Case) bool {
		return c.lacks != "" && info.Has(c.lacks) || c.only != "" && !info.Has(c.only)
	})
}

// missing says why c cannot be run with h, or returns "".
func (c Case) missing(h Harness, info driver.Info) string {
	for _, need := range c.needs {
		if !info.Has(need) {
			return fmt.Sprintf("the driver does not declare the capability %q", need)
		}
	}
	if !h.has(c.hook) {
		return "the harness has no " + c.hook
	}
	return ""
}

// Run runs every case that the driver and the harness allow as a subtest of t, and logs what
// was not proven.
func Run(t *testing.T, h Harness) {
	t.Helper()
	var unproven []string
	all := casesFor(h.Info())
	for _, c := range all {
		if why := c.missing(h, h.Info()); why != "" {
			unproven = append(unproven, c.String()+": "+why)
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			if why := c.prove(t, h); why != "" {
				unproven = append(unproven, c.String()+": "+why)
			}
		})
	}
	for _, u := range slices.Concat(unproven, elsewhere(h.Info())) {
		t.Logf("NOT PROVEN: %s", u)
	}
	t.Logf("driver %s: %d of %d cases ran, %d not proven", h.Info().Name, len(all)-len(unproven), len(all), len(unproven))
}

// elsewhere lists the rules that need more than a Conn to be proven.
func elsewhere(info driver.Info) []string {
	rules := []string{
		"SEND-5 InDoubt when the connection breaks before the broker confirmed: needs a proxy, the driver's own tests",
		"LISTEN-3 shared objects are declared as upstream does: compare the broker's objects, the driver's own tests",
		"OPEN-1 OPEN-2 OPEN-4 what Open refuses and never shows: the driver's own tests",
		"STATE-1 STATE-2 what is reported: the driver's own tests",
		"LIFE-3 a killed process: the tests of the host",
	}
	if !info.Has(driver.CapStableReplies) {
		rules = append(rules, "LOST-1 the loss of the reply address alone, with the connection alive: the driver's own tests")
	}
	if info.Has(driver.CapDirect) {
		rules = append(rules, "DIRECT-4 a listener that is about to be found: the driver's own tests")
	}
	if info.Has(driver.CapAckOnReceipt) {
		rules = append(rules, "RECEIPT-2 what is given again after a kill: the driver's own tests")
	}
	return rules
}

// prove runs the case. It returns why it proved nothing, or "".
func (c Case) prove(t TB, h Harness) string {
	t.Helper()
	timeout := h.timeout()
	if c.slow {
		timeout *= 4
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	w := newWorld(t, h)
	defer w.finish()
	c.run(ctx, w)
	return w.unproven
}
