// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleymq/parley/plugin/driver"
)

// Limits of transport URLs.
const (
	maxURL         = 8192 // bytes
	maxHosts       = 256
	maxScheme      = 128 // bytes
	maxVirtualHost = 255 // bytes; AMQP 0-9-1 has no room for more
	maxPort        = 65535
)

// URL is a transport URL, taken apart and validated:
//
//	driver[+variant]://[user[:password]@]host[:port][,...]/virtual_host?option=value
//
// It formats with "***" for passwords, however it is printed.
type URL struct {
	// Scheme is what was written, in lower case; Driver what it means after aliases were
	// resolved, and Variant what followed "+".
	Scheme  string
	Driver  string
	Variant string
	// Hosts are the brokers, in the order written; possibly none.
	Hosts []driver.Host
	// VirtualHost is the path without its first slash, decoded once. HasVirtualHost tells an
	// empty one that was written ("rabbit://host/") from none ("rabbit://host").
	VirtualHost    string
	HasVirtualHost bool
	// Query are the options; values of a repeated key are joined with commas.
	Query map[string]string
}

// ParseURL parses a transport URL as upstream does (oslo_messaging/transport.py,
// TransportURL.parse), and stricter where upstream fails later or not at all:
//
//   - Hosts are separated by commas. User and password are split from the host at its last
//     "@", from each other at the first ":", and percent-decoded once. A "%" that begins no
//     escape stands for itself. Credentials are not inherited by later hosts.
//   - A host is a name, an IPv4 or an IPv6 address; the latter in brackets, or without them
//     when it has no port. A port is a number from 1 to 65535.
//   - What comes after "#" is dropped.
//
// The driver is found by looking up first the whole scheme, then the part before "+", among
// the aliases: those given, then the built-in ones ([LegacyAliases]). An alias names a driver
// or another alias; an alias of a name to itself shields it from the built-in ones. A cycle, or
// an alias to what cannot be a driver's name, is an error.
//
// Errors are of ErrInvalidURL and never quote the URL, which may hold a password.
func ParseURL(raw string, aliases map[string]string) (*URL, error) {
	return parseTransportURL(raw, aliases, LegacyAliases())
}

// parseTransportURL is ParseURL with all layers of aliases: Open adds what drivers declare.
func parseTransportURL(raw string, layers ...map[string]string) (*URL, error) {
	u, err := parseURL(raw, layers...)
	if err != nil {
		return nil, &Error{Code: CodeInvalidURL, Op: "parse transport URL", Message: err.Error(), Err: err}
	}
	return u, nil
}

// LegacyAliases returns the built-in aliases: the names drivers had in Nova, and the one of kombu.
// amqp is not among them: most libraries mean RabbitMQ's AMQP 0-9-1 by it, and oslo.messaging its
// AMQP 1.0 driver. An application that knows which says so in its own aliases. The map is the
// caller's to change.
func LegacyAliases() map[string]string {
	return map[string]string{
		"nova.openstack.common.rpc.impl_kombu": "rabbit",
		"nova.openstack.common.rpc.impl_qpid":  "qpid",
		"nova.openstack.common.rpc.impl_zmq":   "zmq",
		"nova.rpc.impl_kombu":                  "rabbit",
		"nova.rpc.impl_qpid":                   "qpid",
		"nova.rpc.impl_zmq":                    "zmq",
		"kombu":                                "rabbit",
	}
}

var errNoScheme = errors.New("transport URL has no scheme; write it as e.g. rabbit://user@host:5672/vhost")

// parseURL parses raw. The layers of aliases come in the order of precedence; the first is the
// application's and is checked as a whole.
func parseURL(raw string, layers ...map[string]string) (*URL, error) {
	switch {
	case len(raw) > maxURL:
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	case !utf8.ValidString(raw):
		return nil, errors.New("the URL is not UTF-8")
	case strings.ContainsFunc(raw, unicode.IsControl):
		return nil, errors.New("the URL has a control character; was a line break copied with it?")
	}
	scheme, rest, err := cutScheme(raw)
	if err != nil {
		return nil, err
	}
	u := &URL{Scheme: strings.ToLower(scheme)}
	if u.Driver, u.Variant, err = resolveDriver(u.Scheme, layers); err != nil {
		return nil, err
	}
	authority, path, query, err := splitRest(rest)
	if err != nil {
		return nil, err
	}
	if u.Hosts, err = parseHosts(authority); err != nil {
		return nil, err
	}
	if err = u.setVirtualHost(path); err != nil {
		return nil, err
	}
	if u.Query, err = parseQuery(query); err != nil {
		return nil, err
	}
	return u, nil
}

// cutScheme splits at the first colon. Schemes may hold dots and underscores, which net/url
// does not take, for the aliases' sake.
func cutScheme(raw string) (scheme, rest string, err error) {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok || !isScheme(scheme) {
		return "", "", errNoScheme
	}
	// "user:password@host" looks like a scheme and must not be quoted.
	if rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
		return "", "", errNoScheme
	}
	if len(scheme) > maxScheme {
		return "", "", fmt.Errorf("the scheme is longer than %d bytes", maxScheme)
	}
	return scheme, rest, nil
}

// isScheme reports whether s is a letter followed by letters, digits and "+", "-", ".", "_".
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20 // lower case, for letters
		letter := 'a' <= c && c <= 'z'
		other := '0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-._", s[i]) >= 0
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return s != ""
}

// isDriverName reports whether s can be the name of a driver: a letter followed by letters,
// digits and dashes, all lower case. It is part of a file name and never a path.
func isDriverName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// resolveDriver turns a scheme into a driver's name and a variant.
func resolveDriver(scheme string, layers []map[string]string) (name, variant string, err error) {
	merged := make(map[string]string)
	for _, layer := range slices.Backward(layers) {
		for from, to := range layer {
			merged[strings.ToLower(from)] = to
		}
	}
	if err := checkAliases(layers[0]); err != nil {
		return "", "", err
	}
	if _, ok := merged[scheme]; ok {
		name, err = follow(scheme, merged)
		return name, "", err
	}
	base, variant, hasVariant := strings.Cut(scheme, "+")
	if hasVariant && variant == "" {
		return "", "", fmt.Errorf("the scheme %q ends in \"+\"; name a variant or leave it out", scheme)
	}
	name, err = follow(base, merged)
	return name, variant, err
}

// checkAliases finds mistakes in the application's aliases, also in those not used now.
func checkAliases(aliases map[string]string) error {
	for _, from := range slices.Sorted(maps.Keys(aliases)) {
		if !isScheme(from) {
			return fmt.Errorf("alias %q cannot be the scheme of a URL; use letters, digits and \"+-._\"", from)
		}
		if err := checkAliasTarget(from, aliases[from]); err != nil {
			return err
		}
	}
	return nil
}

func checkAliasTarget(from, to string) error {
	if !isScheme(to) || strings.Contains(to, "+") {
		return fmt.Errorf("alias %q points to %q, which cannot be a driver; an alias names a driver, never a path", from, to)
	}
	return nil
}

// follow follows the chain of aliases that begins with name to the driver at its end.
func follow(name string, aliases map[string]string) (string, error) {
	chain := []string{name}
	for {
		to, ok := aliases[name]
		if !ok || strings.ToLower(to) == name {
			break
		}
		if err := checkAliasTarget(name, to); err != nil {
			return "", err
		}
		name = strings.ToLower(to)
		if slices.Contains(chain, name) {
			return "", fmt.Errorf("the aliases go round in a circle: %s", strings.Join(append(chain, name), " -> "))
		}
		chain = append(chain, name)
	}
	if isDriverName(name) {
		return name, nil
	}
	if len(chain) > 1 {
		return "", fmt.Errorf("alias %q points to %q, which cannot be a driver; names are lower-case letters, digits and dashes", chain[len(chain)-2], name)
	}
	return "", fmt.Errorf("%q is no alias and cannot be a driver; names are lower-case letters, digits and dashes", name)
}

// splitRest splits what follows the scheme into its parts, still encoded. The path is kept
// with its first slash, to tell an empty one from none.
func splitRest(rest string) (authority, path, query string, err error) {
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, _ = strings.Cut(rest, "?")
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		authority = after
		if i := strings.IndexByte(after, '/'); i >= 0 {
			authority, path = after[:i], after[i:]
		}
	} else {
		path = rest
	}
	// "rabbit://user:12/34@host/" parses, with half of the password as the virtual host.
	tail := path
	if path == "" {
		tail = query + fragment
	}
	if !strings.Contains(authority, "@") && strings.Contains(tail, "@") {
		return "", "", "", errors.New(`an "@" stands after the hosts; in a user name or password write "/" as %2F, "?" as %3F and "#" as %23, elsewhere write "@" as %40`)
	}
	return authority, path, query, nil
}

// parseHosts parses the part between "//" and the path. Errors name a host by its position,
// because its text may be part of a password.
func parseHosts(authority string) ([]driver.Host, error) {
	var hosts []driver.Host
	position := 0
	for part := range strings.SplitSeq(authority, ",") {
		position++
		if part == "" {
			continue
		}
		if len(hosts) == maxHosts {
			return nil, fmt.Errorf("the URL has more than %d hosts", maxHosts)
		}
		h, err := parseHost(part)
		if err != nil {
			return nil, fmt.Errorf("host %d: %w", position, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func parseHost(part string) (driver.Host, error) {
	var h driver.Host
	if i := strings.LastIndexByte(part, '@'); i >= 0 {
		user, password, hasPassword := strings.Cut(part[:i], ":")
		h.User, h.HasUser = unescape(user, false), true
		h.Password, h.HasPassword = driver.Secret(unescape(password, false)), hasPassword
		part = part[i+1:]
	}
	name, port, err := splitPort(part)
	if err != nil {
		return h, err
	}
	h.Name, h.Port = name, port
	return h, nil
}

const hintComma = `; in a user name or password write "," as %2C, ":" in a user name as %3A and "/" as %2F`

var (
	errPort    = fmt.Errorf("the port is not a number from 1 to %d%s", maxPort, hintComma)
	errBracket = errors.New("the address in brackets is not an IPv6 address, written such as [::1]:5672")
	errHost    = errors.New("the host name has a character that no host name has" + hintComma)
)

// splitPort splits a host from its port; zero is none.
func splitPort(s string) (name string, port int, err error) {
	if strings.HasPrefix(s, "[") {
		return splitBracketed(s)
	}
	if strings.Count(s, ":") > 1 { // an IPv6 address without brackets has no port
		if !isIPv6(s) {
			return "", 0, errPort
		}
		return s, 0, nil
	}
	name, portText, hasPort := strings.Cut(s, ":")
	if hasPort {
		if port, err = parsePort(portText); err != nil {
			return "", 0, err
		}
	}
	if strings.ContainsFunc(name, isNotInHost) {
		return "", 0, errHost
	}
	return name, port, nil
}

func splitBracketed(s string) (string, int, error) {
	name, after, ok := strings.Cut(s[1:], "]")
	if !ok || !isIPv6(name) {
		return "", 0, errBracket
	}
	if after == "" {
		return name, 0, nil
	}
	portText, ok := strings.CutPrefix(after, ":")
	if !ok {
		return "", 0, errBracket
	}
	port, err := parsePort(portText)
	return name, port, err
}

func parsePort(s string) (int, error) {
	if len(s) == 0 || len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return 0, errPort
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPort {
		return 0, errPort
	}
	return n, nil
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && !strings.ContainsFunc(a.Zone(), isNotInHost)
}

func isNotInHost(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune(`[]<>"'\^`+"`{|}", r)
}

func (u *URL) setVirtualHost(path string) error {
	encoded, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	vhost := unescape(encoded, false)
	if len(vhost) > maxVirtualHost {
		return fmt.Errorf("the virtual host is longer than %d bytes", maxVirtualHost)
	}
	if problem, _ := textProblem(vhost); problem != "" {
		return fmt.Errorf("the virtual host %s", problem)
	}
	u.VirtualHost, u.HasVirtualHost = vhost, true
	return nil
}

// parseQuery parses key=value pairs. Nothing of a pair that is wrong is quoted.
func parseQuery(query string) (map[string]string, error) {
	options := make(map[string]string)
	position := 0
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		position++
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("option %d of the query is not of the form name=value", position)
		}
		key, value = unescape(key, true), unescape(value, true)
		if problem, _ := textProblem(key + value); problem != "" {
			return nil, fmt.Errorf("option %d of the query %s", position, problem)
		}
		if before, repeated := options[key]; repeated {
			value = before + "," + value
		}
		options[key] = value
	}
	return options, nil
}

// unescape decodes percent escapes once, as Python's unquote does: what is no escape stands
// for itself, and bytes that are not UTF-8 become U+FFFD. In a query "+" is a space.
func unescape(s string, inQuery bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case s[i] == '+' && inQuery:
			out = append(out, ' ')
		default:
			out = append(out, s[i])
		}
	}
	return strings.ToValidUTF8(string(out), string(utf8.RuneError))
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// String returns the URL with the canonical driver, and with "***" for passwords and for
// options whose names tell that they are secret.
func (u URL) String() string {
	var b strings.Builder
	b.WriteString(u.Driver)
	if u.Variant != "" {
		b.WriteString("+" + u.Variant)
	}
	b.WriteString("://")
	for i, h := range u.Hosts {
		if i > 0 {
			b.WriteByte(',')
		}
		writeHost(&b, h)
	}
	if u.HasVirtualHost {
		b.WriteString("/" + escapePath(u.VirtualHost))
	}
	separator := "?"
	for _, key := range slices.Sorted(maps.Keys(u.Query)) {
		value := url.QueryEscape(u.Query[key])
		if isSecretKey(key) && value != "" {
			value = maskedText
		}
		b.WriteString(separator + url.QueryEscape(key) + "=" + value)
		separator = "&"
	}
	return b.String()
}

func writeHost(b *strings.Builder, h driver.Host) {
	if h.HasUser {
		b.WriteString(escapeUser(h.User))
		if h.HasPassword {
			b.WriteString(":" + h.Password.String())
		}
		b.WriteByte('@')
	}
	if strings.Contains(h.Name, ":") {
		b.WriteString("[" + h.Name + "]")
	} else {
		b.WriteString(h.Name)
	}
	if h.Port != 0 {
		b.WriteString(":" + strconv.Itoa(h.Port))
	}
}

// escapeUser encodes everything that could end a user name.
func escapeUser(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapePath encodes a virtual host; "/" needs no escape after the first.
func escapePath(s string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(s))
}

// GoString is String: %#v shows no password either.
func (u URL) GoString() string { return u.String() }

// MarshalText is String, for JSON and logs.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
