// SPDX-License-Identifier: Apache-2.0

package messaginghttp

import (
	"net/url"
	"strings"

	"github.com/parleymq/parley/messaging"
)

// masked stands for a secret.
const masked = "***"

// secrets knows the names of secrets.
type secrets struct{ names map[string]bool }

// newSecrets adds the application's names to those that are credentials by some standard: of OAuth,
// OpenID Connect and SAML, of signed URLs (S3, GCS, Azure, Swift's tempurl), of sessions.
func newSecrets(more []string) *secrets {
	s := &secrets{names: make(map[string]bool)}
	for _, name := range append([]string{
		"auth", "assertion", "authcode", "code", "codeverifier", "jwt", "key", "otp", "passcode", "samlart", "samlrequest", "samlresponse",
		"session", "sessionid", "jsessionid", "phpsessid", "sid", "sig", "ticket", "tempurlsig", "secwebsocketprotocol",
	}, more...) {
		s.names[plain(name)] = true
	}
	return s
}

// plain is a name without what does not matter.
func plain(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

func (s *secrets) has(name string) bool {
	p := plain(name)
	return messaging.IsSecretKey(name) || s.names[p] || strings.HasSuffix(p, "signature")
}

// query returns a query with the values of secrets masked, and everything else as it was. It also
// takes URLs: their query, and the parameters that some put behind "#" or into the path.
func (s *secrets) query(text string) string {
	if !strings.Contains(text, "=") {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		part, rest, end := text, "", ""
		if i := strings.IndexAny(text, "?#&;"); i >= 0 {
			part, end, rest = text[:i], text[i:i+1], text[i+1:]
		}
		b.WriteString(s.parameter(part))
		b.WriteString(end)
		text = rest
	}
	return b.String()
}

// parameter masks the value of one that is secret.
func (s *secrets) parameter(text string) string {
	name, _, ok := strings.Cut(text, "=")
	if !ok {
		return text
	}
	decoded, err := url.QueryUnescape(name)
	if err != nil {
		decoded = name
	}
	if !s.has(decoded) {
		return text
	}
	return name + "=" + masked
}

// url masks what is secret in a text when it looks like a URL, password included.
func (s *secrets) url(text string) string {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		host := rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			host = rest[:i]
		}
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			text = scheme + "://" + masked + rest[at:]
		}
	}
	return s.query(text)
}
