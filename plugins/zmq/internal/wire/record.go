// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// maxNode bounds a node's id, which is 32 bytes long.
const maxNode = 255

// recordText returns the JSON of a record, which has nothing that has none.
func recordText(r *registry.Record) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return text
}

// parseRecord is the other way, with limits: a short text can be that of a long list.
func parseRecord(text []byte) (*registry.Record, error) {
	switch {
	case len(text) > MaxRecord:
		return nil, fmt.Errorf("has %d bytes and the limit is %d", len(text), MaxRecord)
	case !utf8.Valid(text):
		return nil, errors.New("is not valid UTF-8")
	}
	r := new(registry.Record)
	// The outer fields hide the record's of the same name.
	outer := struct {
		*registry.Record
		Targets   json.RawMessage `json:"targets"`
		Endpoints json.RawMessage `json:"endpoints"`
	}{Record: r}
	if err := json.Unmarshal(text, &outer); err != nil {
		return nil, malformed(err)
	}
	var err error
	if r.Targets, err = parseList[registry.Target](outer.Targets, "targets", MaxTargets); err != nil {
		return nil, err
	}
	if r.Endpoints, err = parseList[string](outer.Endpoints, "endpoints", MaxEndpoints); err != nil {
		return nil, err
	}
	if r.Node == "" || len(r.Node) > maxNode {
		return nil, errors.New("has no usable node id")
	}
	return r, nil
}

// parseList decodes one entry after the other, so that no list grows beyond its limit.
func parseList[T any](text json.RawMessage, what string, limit int) ([]T, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return nil, fmt.Errorf("its %s are no list", what)
	}
	var list []T
	for d.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("has more than %d %s", limit, what)
		}
		var entry T
		if err := d.Decode(&entry); err != nil {
			return nil, malformed(err)
		}
		list = append(list, entry)
	}
	return list, nil
}

// malformed keeps what encoding/json quotes of a text out of logs.
func malformed(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("is malformed JSON at offset %d", syntax.Offset)
	}
	return errors.New("has a value of the wrong type")
}
