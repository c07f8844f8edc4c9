// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// What a record may hold. Records are foreign bytes: whoever can write to the store writes them.
const (
	maxRecordBytes = 1 << 20
	maxEndpoints   = 16
	maxTargets     = 10_000
	maxText        = 1024
	nodeIDLength   = 32
)

// checkRecord says what is wrong with a record that was read.
func checkRecord(r *Record) error {
	switch {
	case !isNodeID(r.Node):
		return fmt.Errorf("its node id %.40q is not %d hexadecimal digits", r.Node, nodeIDLength)
	case len(r.Endpoints) > maxEndpoints:
		return fmt.Errorf("it has %d endpoints, more than %d", len(r.Endpoints), maxEndpoints)
	case len(r.Targets) > maxTargets:
		return fmt.Errorf("it has %d targets, more than %d", len(r.Targets), maxTargets)
	case max(len(r.Instance), len(r.Name)) > maxText:
		return fmt.Errorf("its name or instance is longer than %d bytes", maxText)
	}
	for _, e := range r.Endpoints {
		if _, err := parseEndpoint(e, 0); err != nil {
			return err
		}
	}
	for _, t := range r.Targets {
		if t.longest() > maxText {
			return fmt.Errorf("it has a target with a name longer than %d bytes", maxText)
		}
	}
	return nil
}

// Check says what is wrong with a record that a peer sent.
func Check(r *Record) error { return checkRecord(r) }

// trimRecord leaves out what a newer release may say and this one does not understand.
func trimRecord(r *Record) {
	r.Targets = slices.DeleteFunc(r.Targets, func(t Target) bool {
		switch t.Kind {
		case driver.SourceServer, driver.SourceReplies, driver.SourceNotifications:
			return false
		default:
			return true
		}
	})
}

func (t *Target) longest() int {
	return max(len(t.Exchange), len(t.Topic), len(t.Server), len(t.Reply), len(t.Priority), len(t.Pool))
}

// clone copies what a caller could still change.
func (r Record) clone() *Record {
	r.Endpoints, r.Targets = slices.Clone(r.Endpoints), slices.Clone(r.Targets)
	return &r
}

func (r *Record) equal(o *Record) bool {
	return r.Node == o.Node && r.Instance == o.Instance && r.Name == o.Name && r.Version == o.Version && r.Legacy == o.Legacy &&
		slices.Equal(r.Endpoints, o.Endpoints) && slices.Equal(r.Targets, o.Targets)
}

// isNodeID tells whether s is 32 lower-case hexadecimal digits.
func isNodeID(s string) bool {
	return len(s) == nodeIDLength && strings.Trim(s, "0123456789abcdef") == ""
}

// errTrailing is for text behind the end of a JSON value, such as that of a file half replaced.
var errTrailing = errors.New("there is more behind the end of the JSON")
