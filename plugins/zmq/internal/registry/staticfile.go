// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

const (
	// peersPort is that of a peer whose port is not written: the old driver's.
	peersPort = 9501
	maxPeers  = 10_000
)

// peer is one entry of a file of peers: an endpoint, or an object with one.
type peer struct {
	Endpoint string `json:"endpoint"`
	// Name is for the people who read the file.
	Name string `json:"name"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *peer) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte(`"`)) {
		return json.Unmarshal(text, &p.Endpoint)
	}
	type plain peer
	return strictJSON(text, (*plain)(p))
}

// parsePeers reads a file of peers: an object with the list "peers", the bare list, or the file
// of the old driver's matchmaker, which has a list of hosts for each topic (upstream's
// oslo/messaging/_drivers/matchmaker_ring.py at 1.3.0). Topics do not matter: a node says
// itself what it listens to.
func parsePeers(text []byte) ([]string, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("it is empty")
	}
	if text[0] != '[' && text[0] != '{' {
		return nil, errors.New("it is neither an object nor a list")
	}
	if text[0] == '[' {
		var peers []peer
		if err := strictJSON(text, &peers); err != nil {
			return nil, err
		}
		return endpointsOf(peers)
	}
	var object map[string]json.RawMessage
	if err := strictJSON(text, &object); err != nil {
		return nil, err
	}
	if list, ok := object["peers"]; ok && len(object) == 1 {
		var peers []peer
		if err := strictJSON(list, &peers); err != nil {
			return nil, err
		}
		return endpointsOf(peers)
	}
	return parseRing(object)
}

// parseRing reads the old format.
func parseRing(object map[string]json.RawMessage) ([]string, error) {
	var peers []peer
	for _, topic := range slices.Sorted(maps.Keys(object)) {
		var hosts []string
		if err := strictJSON(object[topic], &hosts); err != nil {
			return nil, fmt.Errorf("%.100q is neither \"peers\" nor a topic with a list of hosts: %w", topic, err)
		}
		for _, host := range hosts {
			peers = append(peers, peer{Endpoint: host})
		}
		if len(peers) > maxPeers {
			break
		}
	}
	return endpointsOf(peers)
}

// endpointsOf returns each endpoint once, in the order of the file.
func endpointsOf(peers []peer) ([]string, error) {
	if len(peers) > maxPeers {
		return nil, fmt.Errorf("it has more than %d peers", maxPeers)
	}
	var endpoints []string
	seen := make(map[string]bool, len(peers))
	for _, p := range peers {
		endpoint, err := parseEndpoint(p.Endpoint, peersPort)
		if err != nil {
			return nil, err
		}
		if !seen[endpoint] {
			seen[endpoint] = true
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints, nil
}

// strictJSON reads exactly one value and no names that it does not know.
func strictJSON(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it ends in the middle of the JSON")
		}
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}
