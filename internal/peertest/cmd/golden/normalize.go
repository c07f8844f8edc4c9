// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/parleymq/parley/internal/peertest"
)

// normalizer replaces what differs from run to run and from machine to machine
// by text of the same form: the same identifier gets the same number each time.
type normalizer struct {
	site *regexp.Regexp // where the interpreter's libraries are
	ids  map[string]string
}

var (
	peerDir  = regexp.MustCompile(`/[^" ]*/parley-python-[0-9]+/`)
	hexID    = regexp.MustCompile(`[0-9a-f]{32}`)
	dashedID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// nameID matches the process id in py-amqp's connection name.
	nameID = regexp.MustCompile(`(\.py):[0-9]+:`)
	// stamp matches the time of a notification.
	stamp = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?`)
)

func newNormalizer(python peertest.Python) *normalizer {
	site := "/usr/lib/python3/dist-packages/"
	if python.Name != peertest.OsloDebian {
		site = filepath.Join(filepath.Dir(filepath.Dir(python.Path)), "lib") + "/python"
	}
	pattern := regexp.QuoteMeta(site)
	if python.Name != peertest.OsloDebian {
		pattern += `[0-9.]+/site-packages/`
	}
	return &normalizer{site: regexp.MustCompile(pattern), ids: make(map[string]string)}
}

func (n *normalizer) text(s string) string {
	s = peerDir.ReplaceAllLiteralString(s, "/peer/")
	s = n.site.ReplaceAllLiteralString(s, "/site-packages/")
	s = nameID.ReplaceAllString(s, "$1:1:")
	s = stamp.ReplaceAllLiteralString(s, "2026-01-02 03:04:05.000006")
	s = hexID.ReplaceAllStringFunc(s, func(id string) string {
		return n.number(id, "%032x")
	})
	return dashedID.ReplaceAllStringFunc(s, func(id string) string {
		return n.number(id, "00000000-0000-4000-8000-%012x")
	})
}

func (n *normalizer) number(id, format string) string {
	number, ok := n.ids[id]
	if !ok {
		number = fmt.Sprintf(format, len(n.ids)+1)
		n.ids[id] = number
	}
	return number
}

// value normalizes every text in a method's argument.
func (n *normalizer) value(v any) any {
	switch v := v.(type) {
	case string:
		return n.text(v)
	case map[string]any:
		table := make(map[string]any, len(v))
		for name, element := range v {
			table[name] = n.value(element)
		}
		return table
	default:
		return v
	}
}
