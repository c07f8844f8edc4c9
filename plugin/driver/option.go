// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// OptionType is the type of an option's value.
type OptionType string

// The types. Values are written as text in URLs: true/false, integers, decimal numbers.
const (
	// OptionString is any text.
	OptionString OptionType = "string"
	// OptionBool is true or false (also yes/no, on/off, 1/0, in any case).
	OptionBool OptionType = "bool"
	// OptionInt is a whole number.
	OptionInt OptionType = "int"
	// OptionSeconds is a duration: a number of seconds, fractions allowed, as upstream
	// writes its intervals, or with a unit as Go writes them ("1.5s", "200ms").
	OptionSeconds OptionType = "seconds"
)

// OptionSpec declares one option of a driver.
type OptionSpec struct {
	Name    string     `json:"name"`
	Type    OptionType `json:"type"`
	Default string     `json:"default"`
	Help    string     `json:"help"`
	// Secret values are never printed.
	Secret bool `json:"secret,omitempty"`
	// Choices, when not empty, are the only values allowed.
	Choices []string `json:"choices,omitempty"`
	// Min and Max bound OptionInt and OptionSeconds (in seconds) when set.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Renamed lists older names that are still understood.
	Renamed []string `json:"renamed,omitempty"`
}

// Bound returns a pointer for Min and Max.
func Bound(v float64) *float64 { return &v }

// Options are values by option name, validated.
type Options map[string]string

// ValidateOptions checks given against specs, resolves renamed options, and returns a value
// for every declared option. The first problem, in order of names, is returned as an *Error
// with ReasonConfig; an unknown name is answered with the nearest known one.
func ValidateOptions(specs []OptionSpec, given map[string]string) (Options, error) {
	out := make(Options, len(specs))
	byName := make(map[string]*OptionSpec, len(specs))
	for i := range specs {
		s := &specs[i]
		out[s.Name] = s.Default
		byName[s.Name] = s
		for _, old := range s.Renamed {
			byName[old] = s
		}
	}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s, ok := byName[name]
		if !ok {
			return nil, unknownOption(name, specs)
		}
		if err := s.check(given[name]); err != nil {
			return nil, err
		}
		out[s.Name] = given[name]
	}
	return out, nil
}

func unknownOption(name string, specs []OptionSpec) error {
	err := Errorf(ReasonConfig, "unknown option %q", name)
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	if near := Nearest(name, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	if len(names) == 0 {
		return err.WithHint("this driver has no options")
	}
	slices.Sort(names)
	return err.WithHint("known options: %s", strings.Join(names, ", "))
}

// check reports whether value fits the declaration.
func (s *OptionSpec) check(value string) error {
	shown := strconv.Quote(value)
	if s.Secret {
		shown = masked
	}
	bad := func(want string) error {
		return Errorf(ReasonConfig, "option %s=%s: want %s", s.Name, shown, want)
	}
	switch s.Type {
	case OptionBool:
		if _, err := parseBool(value); err != nil {
			return bad("true or false")
		}
	case OptionInt:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return bad("a whole number")
		}
		if !s.inBounds(float64(n)) {
			return bad(s.Bounds())
		}
	case OptionString: // any text will do
	case OptionSeconds:
		d, err := parseSeconds(value)
		if err != nil {
			return bad("a number of seconds, such as 30, 0.5 or 200ms")
		}
		if !s.inBounds(d.Seconds()) {
			return bad(s.Bounds() + " seconds")
		}
	}
	if len(s.Choices) > 0 && !slices.Contains(s.Choices, value) {
		return bad("one of " + strings.Join(s.Choices, ", "))
	}
	return nil
}

func (s *OptionSpec) inBounds(v float64) bool {
	return (s.Min == nil || v >= *s.Min) && (s.Max == nil || v <= *s.Max)
}

// Bounds says which numbers the option takes: "from 1 to 5", "at least 1" or "at most 5"; "" for all.
func (s *OptionSpec) Bounds() string {
	switch {
	case s.Min == nil && s.Max == nil:
		return ""
	case s.Min != nil && s.Max != nil:
		return fmt.Sprintf("from %s to %s", number(*s.Min), number(*s.Max))
	case s.Min != nil:
		return "at least " + number(*s.Min)
	default:
		return "at most " + number(*s.Max)
	}
}

// number is a bound as people write it: large ones without an exponent.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// String returns the value of a string option, or "" when there is none.
func (o Options) String(name string) string { return o[name] }

// Bool returns the value of a bool option. Values have been validated: what does not parse
// (an option that was never declared) is false.
func (o Options) Bool(name string) bool {
	v, err := parseBool(o[name])
	return err == nil && v
}

// Int returns the value of an int option, 0 when it was never declared.
func (o Options) Int(name string) int {
	n, err := strconv.Atoi(o[name])
	if err != nil {
		return 0
	}
	return n
}

// Duration returns the value of a seconds option, 0 when it was never declared.
func (o Options) Duration(name string) time.Duration {
	d, err := parseSeconds(o[name])
	if err != nil {
		return 0
	}
	return d
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	default:
		return false, fmt.Errorf("not a bool: %q", s)
	}
}

func parseSeconds(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		limit := math.MaxInt64 / float64(time.Second)
		if math.IsNaN(n) || n > limit || n < -limit {
			return 0, fmt.Errorf("out of range: %q", s)
		}
		return time.Duration(n * float64(time.Second)), nil
	}
	return time.ParseDuration(s)
}

// Nearest returns the candidate that looks most like name, or "" when none is near: at most
// two edits away, or a third of the name's length.
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes: option and driver names are ASCII.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
