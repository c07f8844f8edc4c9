// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// defaultVersion is the version of an endpoint, and of a request, that names none
// (oslo_messaging/rpc/dispatcher.py).
const defaultVersion = "1.0"

// version is a parsed major.minor[.revision].
type version struct{ major, minor, revision int }

var errVersion = errors.New("want major.minor or major.minor.revision in whole numbers, such as 2.3")

// parseVersion takes major.minor[.revision] apart. Upstream ignores further parts; here they
// are an error, because a fourth number is more likely a mistake than a wish.
func parseVersion(text string) (version, error) {
	majorText, rest, ok := strings.Cut(text, ".")
	if !ok {
		return version{}, errVersion
	}
	minorText, revisionText, hasRevision := strings.Cut(rest, ".")
	var v version
	var err error
	if v.major, err = parseVersionNumber(majorText); err != nil {
		return version{}, err
	}
	if v.minor, err = parseVersionNumber(minorText); err != nil {
		return version{}, err
	}
	if hasRevision {
		if v.revision, err = parseVersionNumber(revisionText); err != nil {
			return version{}, err
		}
	}
	return v, nil
}

// maxVersionDigits keeps every number of a version within an int of 32 bits.
const maxVersionDigits = 9

func parseVersionNumber(text string) (int, error) {
	if text == "" || len(text) > maxVersionDigits {
		return 0, errVersion
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, errVersion
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errVersion
	}
	return n, nil
}

// compare orders versions as numbers.
func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor),
		cmp.Compare(v.revision, w.revision))
}

// serves reports whether an implementation of v can serve a request for w: the majors are
// equal and w is not newer.
func (v version) serves(w version) bool { return v.major == w.major && w.compare(v) <= 0 }

// Compatible reports whether an implementation of version implemented can serve a request for
// version requested: the major numbers are equal and requested is not the newer one. An empty
// implemented accepts everything; an empty requested is accepted by nothing else; what is not
// a version is compatible with nothing. It is the rule of version_is_compatible in upstream's
// oslo_messaging/_utils.py, for endpoints and for version caps alike.
func Compatible(implemented, requested string) bool {
	if implemented == "" {
		return true
	}
	i, err := parseVersion(implemented)
	if err != nil {
		return false
	}
	r, err := parseVersion(requested)
	return err == nil && i.serves(r)
}

// newest returns the version a request carries: the target's, raised to the one the method
// exists since. Either may be empty. The two must agree on the major number.
func newest(target, since string) (string, error) {
	if since == "" || since == target {
		return target, nil
	}
	s, err := parseVersion(since)
	if err != nil || target == "" {
		return since, err
	}
	t, err := parseVersion(target)
	switch {
	case err != nil:
		return "", err
	case t.major != s.major:
		return "", fmt.Errorf("the method is since %s, which has another major number than the target's version %s", since, target)
	case t.compare(s) >= 0:
		return target, nil
	default:
		return since, nil
	}
}
