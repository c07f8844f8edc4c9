// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// targetUses are the rows of the table that the public API has a way to ask: each makes use of a
// target and tells whether it was refused.
func targetUses(t *testing.T) map[string]func(messaging.Target) error {
	t.Helper()
	// A broker for the server alone: at the other one nobody has ever listened, so that no
	// request waits.
	serving, tr := messagingtest.NewBroker().Transport(t, quiet()), messagingtest.NewBroker().Transport(t, quiet())
	options := &messaging.RPCClientOptions{Mandatory: true}
	return map[string]func(messaging.Target) error{
		"RPC server": func(target messaging.Target) error {
			s := messaging.NewRPCServer(serving, target, nil)
			result := served(s)
			select {
			case err := <-result:
				return err
			case <-s.Ready():
				shutDown(t, s)
				wantServe(t, result, messaging.ErrServerClosed)
				return nil
			}
		},
		"RPC client, call": func(target messaging.Target) error {
			return messaging.NewRPCClient(tr, target, options).Call(soon(t), "m", nil, nil)
		},
		"RPC client, cast": func(target messaging.Target) error {
			return messaging.NewRPCClient(tr, target, options).Cast(soon(t), "m", nil)
		},
	}
}

// TestTargetRules takes the table of the page cell by cell: a required field may not be missing,
// an optional one may be there or not, any other is refused. Before that, nothing is sent.
func TestTargetRules(t *testing.T) {
	rules := sectionOf(t, "Which field means something where")[0]
	values := map[string]string{"exchange": "e", "topic": "t", "namespace": "n", "version": "1.0", "server": "s", "fanout": "yes"}
	uses := targetUses(t)
	for _, row := range rules.rows {
		use, ok := uses[row[0]]
		if !ok {
			continue // an endpoint, and what is to come
		}
		delete(uses, row[0])
		var base messaging.Target // with what is required
		for i, f := range fields() {
			if row[i+1] == "required" {
				base = f.in(base, values[f.name])
			}
		}
		if err := use(base); errors.Is(err, messaging.ErrInvalidTarget) {
			t.Errorf("%s %v: %v", row[0], base, err)
		}
		for i, f := range fields() {
			t.Run(row[0]+"/"+f.name, func(t *testing.T) {
				with := errors.Is(use(f.in(base, values[f.name])), messaging.ErrInvalidTarget)
				without := errors.Is(use(f.in(base, "")), messaging.ErrInvalidTarget)
				want := map[string][2]bool{"required": {false, true}, "optional": {false, false}, "–": {true, false}}
				if got := [2]bool{with, without}; got != want[row[i+1]] || !slices.Contains([]string{"required", "optional", "–"}, row[i+1]) {
					t.Errorf("it is %s; refused with it: %t, without it: %t", row[i+1], with, without)
				}
			})
		}
	}
	for name := range uses {
		t.Errorf("the table has no row for %q", name)
	}
}

// TestEndpointFields: what an endpoint has no use for, its options do not have.
func TestEndpointFields(t *testing.T) {
	for _, row := range sectionOf(t, "Which field means something where")[0].rows {
		if row[0] != "endpoint" {
			continue
		}
		for i, f := range fields() {
			_, has := reflect.TypeFor[messaging.EndpointOptions]().FieldByName(strings.ToUpper(f.name[:1]) + f.name[1:])
			if has != (row[i+1] == "optional") {
				t.Errorf("EndpointOptions has a %s: %t, the page says %s", f.name, has, row[i+1])
			}
		}
		return
	}
	t.Error("the table has no row for endpoints")
}

// TestTargetRulesAreTheSame: the table of the page is the one in the documentation of Target.
func TestTargetRulesAreTheSame(t *testing.T) {
	source, err := os.ReadFile(root + "/messaging/target.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range sectionOf(t, "Which field means something where")[0].rows {
		found := false
		for line := range strings.Lines(string(source)) {
			after, ok := strings.CutPrefix(line, "//\t"+row[0])
			if ok && slices.Equal(strings.Fields(after), row[1:]) {
				found = true
			}
		}
		if !found {
			t.Errorf("messaging.Target does not say %q", row)
		}
	}
}
