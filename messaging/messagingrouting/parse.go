// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/parleymq/parley/messaging"
)

// The limits of a file.
const (
	// MaxFileSize is how large a file may be, in bytes.
	MaxFileSize = 1 << 20
	// MaxNodes is how many keys and values it may have, each counted as often as it is referred
	// to: few lines can stand for very many.
	MaxNodes = 20_000
	// MaxPatternLength is how long a pattern may be, in bytes.
	MaxPatternLength = 1024
)

// maxDepth is how deep values are looked into: a file needs five levels, aliases included.
const maxDepth = 20

// The rules' keys.
const (
	keyEvents     = "accepted_events"
	keyPriorities = "accepted_priorities"
)

// Parse reads the rules of a file that is called name in errors. It does not look whether anybody
// knows the outlets; [Open] and [New] do. A file without groups is one: it sends nothing anywhere.
//
// All problems are reported, up to ten, joined, each an [messaging.ErrConfig] that begins
// "name:line: ".
func Parse(name, text string) (*Routes, error) {
	p := &parser{problems: problems{file: name}, routes: &Routes{name: name}, index: make(map[string]int)}
	p.file(text)
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.routes, nil
}

// parser reads one file.
type parser struct {
	problems
	routes *Routes
	index  map[string]int // of outlets, by name
	nodes  int            // seen so far
}

func (p *parser) file(text string) {
	switch {
	case len(text) > MaxFileSize:
		p.add(0, "", "the file is larger than %d bytes", MaxFileSize)
		return
	case !utf8.ValidString(text):
		p.add(0, "", "the file is not UTF-8")
		return
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		p.routes.blank = true // nothing but comments
		return
	} else if err != nil {
		p.syntax(err)
		return
	}
	if err := dec.Decode(&second); err == nil {
		p.add(second.Line, "", "a second document begins; a file has one")
		return
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
		return
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || isNull(doc.Content[0]) {
		p.routes.blank = true
		return
	}
	for _, e := range p.mapping(doc.Content[0], "the file", "groups, by name") {
		p.group(e)
	}
	if p.nodes > MaxNodes {
		p.all = nil // what is wrong with the rest follows from this
		p.add(0, "", "the file has more than %d keys and values, each counted as often as it is referred to", MaxNodes)
	}
}

// entry is a key and a value.
type entry struct {
	key   *yaml.Node
	value *yaml.Node // no alias
}

// group reads one group.
func (p *parser) group(e entry) {
	what := "group " + quoted(e.key)
	var g group
	for _, outlet := range p.mapping(e.value, what, "outlets, by name") {
		if outlet.key.Tag != "!!str" || outlet.key.Value == "" {
			p.add(outlet.key.Line, "quote it if it is a name", "%s: the name of an outlet is not text", what)
			continue
		}
		r := route{outlet: p.outlet(outlet.key)}
		where := what + ", outlet " + quoted(outlet.key)
		for _, rule := range p.mapping(outlet.value, where, "rules, or {} for none") {
			p.rule(&r, rule, where)
		}
		g = append(g, r)
	}
	p.routes.groups = append(p.routes.groups, g)
}

// outlet returns the number of an outlet.
func (p *parser) outlet(key *yaml.Node) int {
	i, ok := p.index[key.Value]
	if !ok {
		i = len(p.routes.outlets)
		p.index[key.Value] = i
		p.routes.outlets = append(p.routes.outlets, mention{key.Value, key.Line})
	}
	return i
}

// rule reads one rule.
func (p *parser) rule(r *route, rule entry, where string) {
	where += ", " + shown(rule.key.Value)
	switch rule.key.Value {
	case keyEvents:
		r.events = []glob{}
		for _, item := range p.patterns(rule.value, where) {
			if g, ok := p.pattern(item, item.Value, where); ok {
				r.events = append(r.events, g)
			}
		}
	case keyPriorities:
		r.priorities = []messaging.Priority{}
		for _, item := range p.patterns(rule.value, where) {
			p.priority(r, item, where)
		}
	default:
		p.add(rule.key.Line, "the rules are "+keyEvents+" and "+keyPriorities, "%s: there is no such rule", where)
	}
}

// priority reads a pattern of priorities, and adds those that it fits.
func (p *parser) priority(r *route, item *yaml.Node, where string) {
	g, ok := p.pattern(item, strings.ToLower(item.Value), where)
	if !ok {
		return
	}
	some := false
	for _, priority := range messaging.Priorities() {
		if g.fits(string(priority)) {
			some = true
			r.priorities = append(r.priorities, priority)
		}
	}
	if !some {
		hint := "there are " + priorityNames()
		if other, err := messaging.ParsePriority(item.Value); err == nil {
			hint = "write " + string(other)
		}
		p.add(item.Line, hint, "%s: %s fits no priority", where, quoted(item))
	}
}

func priorityNames() string {
	all := messaging.Priorities()
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

// pattern reads one pattern.
func (p *parser) pattern(item *yaml.Node, text, where string) (glob, bool) {
	switch {
	case text == "":
		p.add(item.Line, "", "%s: a pattern is empty", where)
		return nil, false
	case len(text) > MaxPatternLength:
		p.add(item.Line, "", "%s: a pattern is longer than %d bytes", where, MaxPatternLength)
		return nil, false
	}
	g, problem := parseGlob(text)
	if problem != "" {
		p.add(item.Line, `"[[]" fits a "["`, "%s: %s %s", where, quoted(item), string(problem))
		return nil, false
	}
	return g, true
}

// patterns returns the items of a list of texts.
func (p *parser) patterns(list *yaml.Node, where string) []*yaml.Node {
	if list.Kind != yaml.SequenceNode {
		p.add(list.Line, `write it as a list: ["compute.*"]`, "%s is %s, not a list of patterns", where, kindName(list))
		return nil
	}
	var items []*yaml.Node
	for _, item := range list.Content {
		item = p.resolved(item)
		switch {
		case item == nil:
			return nil
		case item.Kind != yaml.ScalarNode || item.Tag != "!!str":
			p.add(item.Line, "quote it if it is a pattern", "%s: an item is %s, not text", where, kindName(item))
		default:
			items = append(items, item)
		}
	}
	return items
}

// mapping returns the entries of a mapping, with those that it merges in.
func (p *parser) mapping(n *yaml.Node, what, of string) []entry {
	n = p.resolved(n)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		hint := "it is a mapping of " + of
		if isNull(n) {
			hint = "is an indentation missing? " + hint
		}
		p.add(n.Line, hint, "%s is %s", what, kindName(n))
		return nil
	}
	return p.entries(n, what, 0)
}

// entries returns those of a mapping. Its own keys win over merged ones, and earlier merged ones
// over later ones.
func (p *parser) entries(n *yaml.Node, what string, depth int) []entry {
	var own []entry
	var merged []*yaml.Node
	seen := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := p.resolved(n.Content[i]), p.resolved(n.Content[i+1])
		switch {
		case key == nil || value == nil:
			return nil
		case key.Kind != yaml.ScalarNode:
			p.add(key.Line, "", "%s: a key is %s, not text", what, kindName(key))
		case key.Tag == "!!merge":
			merged = append(merged, mergeSources(value)...)
		default:
			if before := seen[key.Value]; before != nil {
				p.add(key.Line, "", "%s: %s is there twice, first in line %d", what, quoted(key), before.Line)
				continue
			}
			seen[key.Value] = key
			own = append(own, entry{key, value})
		}
	}
	for _, source := range merged {
		source = p.resolved(source)
		if source == nil {
			return nil
		}
		if source.Kind != yaml.MappingNode || depth > maxDepth {
			p.add(source.Line, "", "%s: what is merged in is %s, or refers to itself", what, kindName(source))
			return nil
		}
		for _, e := range p.entries(source, what, depth+1) {
			if seen[e.key.Value] == nil {
				seen[e.key.Value] = e.key
				own = append(own, e)
			}
		}
	}
	return own
}

// mergeSources are what a merge key refers to: a mapping, or a list of them.
func mergeSources(value *yaml.Node) []*yaml.Node {
	if value.Kind == yaml.SequenceNode {
		return value.Content
	}
	return []*yaml.Node{value}
}

// resolved follows aliases, and counts. It returns nil when there are too many.
func (p *parser) resolved(n *yaml.Node) *yaml.Node {
	p.nodes++
	for range maxDepth {
		if p.nodes > MaxNodes {
			return nil
		}
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			return n
		}
		n = n.Alias
		p.nodes++
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func quoted(n *yaml.Node) string { return `"` + shown(n.Value) + `"` }

// kindName says what a value is.
func kindName(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "empty"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!str":
		return "text"
	default:
		return "a " + strings.TrimPrefix(n.Tag, "!!")
	}
}
