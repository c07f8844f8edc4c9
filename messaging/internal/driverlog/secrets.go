// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// minSecret is the shortest text that is taken for a secret: a shorter one would blot out
	// half of every line, and keeps no secret.
	minSecret = 4
	// masked stands where a secret was.
	masked = "***"
)

// Secrets are texts that a driver knows and should not print, such as the passwords of the URLs
// that it has open. Whatever form a line has them in, they are replaced by "***". Secrets can be
// added at any time; none is ever taken out. A nil *Secrets has none. It is safe for concurrent
// use.
type Secrets struct {
	mu    sync.Mutex               // held by Add
	forms atomic.Pointer[[]string] // the longest first, never changed
}

// Add adds a secret. One of several lines counts by its lines, since a log has lines.
func (s *Secrets) Add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var forms []string
	if old := s.forms.Load(); old != nil {
		forms = slices.Clone(*old)
	}
	for line := range strings.Lines(secret) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) < minSecret {
			continue
		}
		for _, form := range spellings(line) {
			if len(form) >= minSecret && !slices.Contains(forms, form) {
				forms = append(forms, form)
			}
		}
	}
	// A secret may be part of another one's spelling.
	slices.SortStableFunc(forms, func(a, b string) int { return len(b) - len(a) })
	s.forms.Store(&forms)
}

// spellings are the forms in which programs print a text: as it is, in a URL, in JSON and in
// quotes, and as JSON has bytes.
func spellings(secret string) []string {
	_, user, _ := strings.Cut(url.UserPassword("", secret).String(), ":")
	quoted := strconv.Quote(secret)
	forms := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), user, quoted[1 : len(quoted)-1],
		base64.StdEncoding.EncodeToString([]byte(secret)),
	}
	if text, err := json.Marshal(secret); err == nil {
		forms = append(forms, string(text[1:len(text)-1]))
	}
	return forms
}

// Redact returns text without the secrets. It costs a search for each of them, and nothing
// else as long as there are none in it.
func (s *Secrets) Redact(text string) string {
	if s == nil {
		return text
	}
	forms := s.forms.Load()
	if forms == nil {
		return text
	}
	for _, form := range *forms {
		if strings.Contains(text, form) {
			text = strings.ReplaceAll(text, form, masked)
		}
	}
	return text
}

// redactCut is Redact for a text that was cut: what is at its end may be the beginning of a
// secret.
func (s *Secrets) redactCut(text string) string {
	text = s.Redact(text)
	if s == nil {
		return text
	}
	forms := s.forms.Load()
	if forms == nil {
		return text
	}
	for _, form := range *forms {
		for n := min(len(form), len(text)); n > 1; n-- {
			if strings.HasSuffix(text, form[:n]) {
				return text[:len(text)-n] + masked
			}
		}
	}
	return text
}

// redactLine is the text of a line without the secrets.
func (s *Secrets) redactLine(line Line) string {
	if line.Cut {
		return s.redactCut(line.Text)
	}
	return s.Redact(line.Text)
}

// clean makes a foreign text fit for a log record.
func (s *Secrets) clean(text string) string { return Printable(s.Redact(text)) }
