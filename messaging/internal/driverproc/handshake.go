// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parleymq/parley/messaging/internal/driverlog"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// coreProtocol is the version of go-plugin's own handshake.
	coreProtocol = 1
	// A driver, or a library in it, may print this much before its handshake.
	maxNoiseLines = 100
	maxNoiseBytes = 64 << 10
	// What is kept of that for the error text.
	keptNoiseLines = 10
	keptNoiseBytes = 200
)

var (
	errNoHandshake = errors.New("no handshake was printed")
	errTooMuch     = errors.New("too much was printed before a handshake")
	errOpenLine    = errors.New("the handshake has no line end")
)

// handshake is the one line that a driver prints when it is ready:
// core|app|network|address|protocol[|certificate[|multiplex]].
type handshake struct {
	line     string
	core     int
	app      int
	network  string
	address  string
	protocol string
}

// parseHandshake reports whether a line has the shape of a handshake. It does not judge it.
func parseHandshake(line string) (handshake, bool) {
	line = strings.TrimSpace(line)
	parts := strings.Split(line, "|")
	if len(parts) < 4 {
		return handshake{}, false
	}
	core, ok := smallNumber(parts[0])
	if !ok {
		return handshake{}, false
	}
	app, ok := smallNumber(parts[1])
	if !ok || !lowerWord(parts[2]) || parts[3] == "" {
		return handshake{}, false
	}
	h := handshake{line: line, core: core, app: app, network: parts[2], address: parts[3], protocol: "netrpc"}
	if len(parts) > 4 {
		h.protocol = parts[4]
	}
	return h, true
}

// smallNumber reads digits only: no sign, no space.
func smallNumber(text string) (int, bool) {
	if text == "" || len(text) > 9 {
		return 0, false
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

func lowerWord(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) < 0
}

// noise is what was printed that is no handshake; some of it is kept for the error text.
type noise struct {
	kept  []string
	lines int
	bytes int
}

func (n *noise) add(line driverlog.Line) {
	n.lines++
	n.bytes += len(line.Text) + 1
	if len(n.kept) < keptNoiseLines {
		n.kept = append(n.kept, driverlog.Printable(driverlog.Shorten(line.Text, keptNoiseBytes)))
	}
}

func (n *noise) full() bool { return n.lines >= maxNoiseLines || n.bytes >= maxNoiseBytes }

// readHandshake reads lines until one is a handshake. It gives up after as much noise as is
// allowed, or at the end of the stream. seen is told each line of noise.
func readHandshake(lines *driverlog.Reader, seen func(driverlog.Line)) (handshake, noise, error) {
	var n noise
	for !n.full() {
		line, err := lines.Next()
		if err != nil {
			return handshake{}, n, errNoHandshake
		}
		if h, ok := parseHandshake(line.Text); ok && !line.Cut {
			if line.Open {
				return h, n, errOpenLine
			}
			return h, n, nil
		}
		n.add(line)
		seen(line)
	}
	return handshake{}, n, errTooMuch
}

// handshakeRules are what a host accepts.
type handshakeRules struct {
	majors []int  // of our own protocol
	dir    string // where the socket must be
}

// check judges a handshake. The errors have ReasonProtocol and do not name the driver.
func (r handshakeRules) check(h handshake) *driver.Error {
	switch {
	case h.core != coreProtocol:
		return driver.Errorf(driver.ReasonProtocol, "speaks version %d of go-plugin's handshake, this host version %d",
			h.core, coreProtocol).
			WithHint("build the driver again, with the SDK of this release")
	case h.protocol != "grpc":
		return driver.Errorf(driver.ReasonProtocol, "serves %q, this host speaks grpc alone", driverlog.Shorten(h.protocol, 40)).
			WithHint("build the driver with Parley's SDK")
	case !slices.Contains(r.majors, h.app):
		return r.otherMajor(h.app)
	case h.network != "unix":
		return driver.Errorf(driver.ReasonProtocol, "listens on network %q, this host uses unix sockets alone", h.network).
			WithHint("the driver must make its socket in the directory that PLUGIN_UNIX_SOCKET_DIR names")
	case !inside(r.dir, h.address):
		return driver.Errorf(driver.ReasonProtocol, "listens at %q, which is not in its private directory %s",
			driverlog.Shorten(h.address, keptNoiseBytes), r.dir).
			WithHint("the driver must make its socket in the directory that PLUGIN_UNIX_SOCKET_DIR names")
	default:
		return nil
	}
}

// otherMajor says which side is the older one. A driver that shares no major with the host
// names its lowest.
func (r handshakeRules) otherMajor(theirs int) *driver.Error {
	err := driver.Errorf(driver.ReasonProtocol, "speaks protocol major %d, this host speaks %s", theirs, r.majorList())
	switch {
	case len(r.majors) == 0:
		return err
	case theirs > slices.Max(r.majors):
		err.Message += ": the host is older"
		return err.WithHint("upgrade the application's parley module, or install an older version of the driver")
	case theirs < slices.Min(r.majors):
		err.Message += ": the driver is older"
		return err.WithHint("install a newer version of the driver")
	default:
		return err.WithHint("install a version of the driver that speaks one of the host's majors")
	}
}

func (r handshakeRules) majorList() string {
	texts := make([]string, len(r.majors))
	for i, m := range slices.Sorted(slices.Values(r.majors)) {
		texts[i] = strconv.Itoa(m)
	}
	return strings.Join(texts, ", ")
}

// inside reports whether path is a clean absolute path below dir.
func inside(dir, path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && strings.HasPrefix(path, dir+"/") &&
		!strings.ContainsRune(path, 0)
}
