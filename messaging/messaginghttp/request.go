// SPDX-License-Identifier: Apache-2.0

package messaginghttp

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// environ is a request as CGI has it, without secrets.
func (m *middleware) environ(r *http.Request) map[string]string {
	env := map[string]string{
		"REQUEST_METHOD":  cut(r.Method),
		"SCRIPT_NAME":     "",
		"PATH_INFO":       cut(r.URL.Path),
		"QUERY_STRING":    cut(m.secrets.query(r.URL.RawQuery)),
		"SERVER_PROTOCOL": cut(r.Proto),
	}
	m.addresses(env, r)
	m.headers(env, r)
	env["HTTP_HOST"] = cut(r.Host)
	env["HTTP_X_SERVICE_NAME"] = cut(cmp.Or(m.opts.ServiceName, r.Host))
	return env
}

// addresses adds who asks, and what is asked.
func (m *middleware) addresses(env map[string]string, r *http.Request) {
	if host, port, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		env["REMOTE_ADDR"], env["REMOTE_PORT"] = host, port
	} else {
		env["REMOTE_ADDR"] = cut(r.RemoteAddr)
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, "80"
		if r.TLS != nil {
			port = "443"
		}
	}
	env["SERVER_NAME"], env["SERVER_PORT"] = cut(host), cut(port)
}

// headers adds those that are no secrets.
func (m *middleware) headers(env map[string]string, r *http.Request) {
	if r.ContentLength > 0 {
		env["CONTENT_LENGTH"] = strconv.FormatInt(r.ContentLength, 10)
	}
	names := slices.Sorted(maps.Keys(r.Header))
	for _, name := range names[:min(len(names), maxHeaders)] {
		if m.secrets.has(name) {
			continue
		}
		key := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		switch key {
		case "CONTENT_LENGTH":
			continue
		case "CONTENT_TYPE":
		default:
			key = "HTTP_" + key
		}
		value := m.values(r.Header[name])
		if before, ok := env[key]; ok { // two names that are one in CGI
			value = cut(before + ", " + value)
		}
		env[key] = value
	}
}

// values is the value of a header that may be there several times.
func (m *middleware) values(all []string) string {
	masked := make([]string, len(all))
	for i, v := range all {
		masked[i] = m.secrets.url(v)
	}
	return cut(strings.Join(masked, ", "))
}

// cut makes text of what may be none, and short of what may be long.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= maxValue {
		return s
	}
	n := maxValue
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
