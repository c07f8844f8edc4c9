// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/parleymq/parley/messaging"
)

// brokerFinding is one thing that the driver found at its broker.
type brokerFinding struct {
	Topic  string `json:"topic"`
	Status string `json:"status"` // ok, or warn for a flaw
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // may have several lines
}

// diagnose asks the driver what it sees of its broker.
func (x *examination) diagnose(ctx context.Context) stepResult {
	if x.direct() {
		return skippedStep(noBroker + " to look at")
	}
	found, err := x.transport.Diagnose(ctx)
	switch {
	case errors.Is(err, messaging.ErrUnsupported):
		return skippedStep("the driver has nothing to tell of its broker")
	case err != nil:
		return failedStep(x.silent(err))
	default:
		return findingsStep(found)
	}
}

// findingsStep is a warning when one of the findings is a flaw: the steps after it tell whether the
// broker works all the same.
func findingsStep(found []messaging.Finding) stepResult {
	r := stepResult{Status: stepOK}
	flaws := 0
	for _, f := range found {
		status := stepOK
		if f.Flaw {
			status = stepWarn
			flaws++
		}
		r.Findings = append(r.Findings, brokerFinding{
			Topic: findingLine(f.Topic), Status: status, Detail: findingLine(f.Detail), Hint: plainLines(f.Hint),
		})
	}
	switch {
	case flaws > 0:
		r.Status, r.Detail = stepWarn, fmt.Sprintf("%d of %d findings want a change at the broker", flaws, len(found))
	case len(found) == 0:
		r.Detail = "the driver found nothing worth telling"
	default:
		r.Detail = fmt.Sprintf("%d findings, all is well", len(found))
	}
	return r
}

// findingLine makes a driver's text fit for one line of a terminal.
func findingLine(s string) string {
	return strings.TrimSpace(uncontrolled(s))
}

func uncontrolled(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// plainLines keeps the lines of a driver's text, and nothing else that a terminal would act on.
func plainLines(s string) string {
	lines := strings.Split(strings.Trim(s, "\r\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(uncontrolled(strings.ReplaceAll(line, "\t", "    ")), " ")
	}
	return strings.Join(lines, "\n")
}

// printFinding shows a finding below its step, for people.
func (a *app) printFinding(f brokerFinding, indent string) {
	p := a.paint(a.stdout)
	say(a.stdout, "%s%s  %s: %s\n", indent, p.status(f.Status, pad(f.Status, len(stepFail))), f.Topic, f.Detail)
	if f.Hint == "" {
		return
	}
	deeper := indent + strings.Repeat(" ", len(stepFail)+2)
	first, more, _ := strings.Cut(f.Hint, "\n")
	say(a.stdout, "%s%s %s\n", deeper, p.bold("hint:"), first)
	for line := range strings.SplitSeq(more, "\n") {
		if more != "" {
			say(a.stdout, "%s%s\n", deeper+strings.Repeat(" ", len("hint: ")), line)
		}
	}
}
