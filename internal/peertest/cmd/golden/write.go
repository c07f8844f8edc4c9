// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parleymq/parley/internal/peertest"
)

// goldenMessage is the form of a message file.
type goldenMessage struct {
	Exchange   string `json:"exchange"`
	RoutingKey string `json:"routing_key"`
	Mandatory  bool   `json:"mandatory"`
	Properties any    `json:"properties"`
	Body       string `json:"body"`
}

// goldenMethod is the form of one method in a sequence file. Connection numbers
// count in the order of their first method.
type goldenMethod struct {
	Connection int    `json:"connection"`
	Channel    uint16 `json:"channel"`
	Method     string `json:"method"`
	Args       any    `json:"args"`
}

func writeMessage(file string, n *normalizer, m peertest.Method) error {
	exchange, _ := m.Args["exchange"].(string)
	key, _ := m.Args["routing_key"].(string)
	mandatory, _ := m.Args["mandatory"].(bool)
	// The body first: its identifiers are numbered in the order of their place.
	body := n.text(string(m.Body))
	return write(file, goldenMessage{
		Exchange:   exchange,
		RoutingKey: n.text(key),
		Mandatory:  mandatory,
		Properties: n.value(m.Properties),
		Body:       body,
	})
}

// writeMethods writes a sequence. A publish stands there without its message.
func writeMethods(file string, n *normalizer, methods []peertest.Method) error {
	numbers := make(map[int]int)
	sequence := make([]goldenMethod, 0, len(methods))
	for _, m := range methods {
		if numbers[m.Conn] == 0 {
			numbers[m.Conn] = len(numbers) + 1
		}
		sequence = append(sequence, goldenMethod{numbers[m.Conn], m.Channel, m.Name, n.value(m.Args)})
	}
	return write(file, sequence)
}

func write(file string, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644) //nolint:gosec // files of the repository, for everyone to read
}
