// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// A driver that prints its password, in whatever way, and dies with it on its lips tells nobody.
func TestRunnerMasksSecrets(t *testing.T) {
	const secret = `S3cr3t/of "the driver`
	c := newClient(t, helperCandidate(t), helperMode("tell-secret", "HELPER_SECRET="+secret))
	c.mustServe(t)
	c.runner.AddSecret("pw") // too short to be told from other texts
	c.runner.AddSecret(secret)
	must(t, c.runner.Signal(syscall.SIGUSR1))
	<-c.runner.Exited()
	gone := c.runner.GoneError(io.EOF)
	c.mustBeGone(t) // its output is read to the end

	for _, want := range []string{
		"text has ***", "dialling amqp://user:***@broker", "message has ***", "panic: cannot log in with ***",
	} {
		if c.logs.With(t, want) == nil {
			t.Errorf("no record %q", want)
		}
	}
	if m := c.logs.With(t, "message has ***"); m["password"] != "***" || m["level"] != "ERROR" {
		t.Errorf("record %v", m)
	}
	if m := c.logs.With(t, "the driver printed to its standard output"); m == nil || m["text"] != "stdout has ***" {
		t.Errorf("record %v", m)
	}
	var told strings.Builder
	for _, record := range c.logs.All(t) {
		for _, v := range record {
			_, _ = fmt.Fprintln(&told, v)
		}
	}
	state := c.runner.ExitState()
	told.WriteString(gone.Error() + state.Crash + strings.Join(state.Stderr, "\n"))
	if strings.Contains(told.String(), "S3cr3t") {
		t.Errorf("the secret is in:\n%s", told.String())
	}
	hosttest.MustSay(t, gone, gone.Reason, "panic: cannot log in with ***")
}
