// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// golden is a message that a Python peer published, as testdata/golden has it.
type golden struct {
	Exchange   string         `json:"exchange"`
	RoutingKey string         `json:"routing_key"`
	Mandatory  bool           `json:"mandatory"`
	Properties map[string]any `json:"properties"`
	Body       string         `json:"body"`
}

// TestGolden decodes what Python peers of several releases sent, and encodes the message again
// to the very same bytes.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(filepath.Base(filepath.Dir(file))+"/"+name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(text, &g); err != nil {
				t.Fatal(err)
			}
			contentType, _ := g.Properties["content_type"].(string)
			encoding, _ := g.Properties["content_encoding"].(string)
			m, err := Decode(contentType, encoding, "", []byte(g.Body), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if want := kindOf(name); m.Kind != want {
				t.Errorf("it is a %s, want a %s", m.Kind, want)
			}
			if m.UniqueID == "" {
				t.Error("it has no unique id")
			}
			if failed := strings.Contains(name, "reply_failure") || strings.HasPrefix(name, "reply_no_such") || strings.HasPrefix(name, "reply_unsupported"); failed != (len(m.Failure) > 0) {
				t.Errorf("its failure is %q", m.Failure)
			}
			back, err := Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			if string(back) != g.Body {
				t.Errorf("encoded again:\n%s\nwant:\n%s", back, g.Body)
			}
		})
	}
}

// kindOf tells the kind by the name of the file.
func kindOf(name string) driver.Kind {
	switch {
	case strings.HasPrefix(name, "call"):
		return driver.Call
	case strings.HasPrefix(name, "cast"), strings.HasPrefix(name, "fanout"):
		return driver.Cast
	case strings.HasPrefix(name, "reply"):
		return driver.Reply
	case strings.HasPrefix(name, "heartbeat"):
		return driver.Heartbeat
	default:
		return driver.Notification
	}
}
