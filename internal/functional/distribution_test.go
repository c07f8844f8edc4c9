// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"fmt"
	"strings"
	"testing"
)

// distribution tells why parts are no distribution of whole, whose letters are all different:
// every letter must be in exactly one part, and those of a part in the order of the whole.
func distribution(whole string, parts ...string) error {
	found := 0
	for i, part := range parts {
		last := -1
		for _, letter := range part {
			at := strings.IndexRune(whole, letter)
			if at < 0 {
				return fmt.Errorf("part %d has %q, which was not sent", i, letter)
			}
			if at <= last {
				return fmt.Errorf("part %d is out of order at %q: %q", i, letter, part)
			}
			if strings.Count(strings.Join(parts, ""), string(letter)) > 1 {
				return fmt.Errorf("%q arrived more than once: %q", letter, parts)
			}
			last = at
			found++
		}
	}
	if found < len(whole) {
		return fmt.Errorf("only %d of %d arrived: %q", found, len(whole), parts)
	}
	return nil
}

// TestDistribution proves the check that the tests of groups rest on.
func TestDistribution(t *testing.T) {
	for _, tc := range []struct {
		whole string
		parts []string
		ok    bool
	}{
		{"abc", []string{"abc"}, true},
		{"abcd", []string{"ad", "", "bc"}, true},
		{"abcd", []string{"ad", "cb"}, false},
		{"abcd", []string{"ad", "b"}, false},
		{"abcd", []string{"abd", "bc"}, false},
		{"abcd", []string{"abcd", "x"}, false},
	} {
		if err := distribution(tc.whole, tc.parts...); (err == nil) != tc.ok {
			t.Errorf("%q of %q: %v", tc.parts, tc.whole, err)
		}
	}
}
