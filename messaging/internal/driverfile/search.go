// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// DriverPathVariable names the environment variable that lists directories of drivers.
const DriverPathVariable = "PARLEY_DRIVER_PATH"

// SearchPath is where drivers are looked for, in order. The first directory that has a file
// for a name decides; within one directory the newest version does, and a file without a
// version counts as older than any with one. Trust is judged afterwards: a refused file is
// an error and never makes room for a later one, since a driver that changes silently is
// worse than one that does not start.
type SearchPath struct {
	Dirs []SearchDir
	// Pins are versions by driver. Of a driver that is pinned, files of other versions, and those
	// whose names have none, are passed over in all directories.
	Pins map[string]string
}

// SearchDir is one directory of a SearchPath.
type SearchDir struct {
	Path string
	// Origin says for people where the directory comes from.
	Origin string
}

// Status is what became of a Candidate.
type Status string

// The statuses.
const (
	// Chosen: this file is started for its name.
	Chosen Status = "chosen"
	// Shadowed: another file came first, and Why is its path; or the driver is pinned to
	// another version, and Why says so.
	Shadowed Status = "shadowed"
	// Refused: the file came first and cannot be used; Why says the reason and the remedy.
	Refused Status = "refused"
)

// Candidate is a file that looks like a driver.
type Candidate struct {
	Name    string
	Version string // without "v"; empty when the file name has none
	Path    string
	Dir     SearchDir
	Status  Status
	Why     string

	pinned  bool  // it is the version that somebody asked for
	problem error // the *driver.Error behind Why of a refused candidate
}

// Where directories come from, for people.
const (
	originOption     = "option"
	originUser       = "user data"
	originSystem     = "system"
	originExecutable = "beside the executable"
)

// NewSearchPath puts the directories together. env is os.Getenv, or a test's; executable is
// the path of the running program and may be empty.
func NewSearchPath(explicit []string, env func(string) string, executable string) SearchPath {
	var p SearchPath
	for _, dir := range explicit {
		p.add(dir, originOption)
	}
	for _, dir := range filepath.SplitList(env(DriverPathVariable)) {
		p.add(dir, DriverPathVariable)
	}
	p.add(userDrivers(env), originUser)
	p.add("/usr/local/lib/parley/drivers", originSystem)
	p.add("/usr/lib/parley/drivers", originSystem)
	if executable != "" {
		dir := filepath.Dir(executable)
		p.add(dir, originExecutable)
		p.add(filepath.Join(dir, "drivers"), originExecutable)
	}
	return p
}

// add appends dir once. An empty entry, as in "a::b", never means the working directory.
func (p *SearchPath) add(dir, origin string) {
	if dir == "" {
		return
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir // the working directory is gone; reading it will say so
	}
	for _, d := range p.Dirs {
		if d.Path == abs {
			return
		}
	}
	p.Dirs = append(p.Dirs, SearchDir{Path: abs, Origin: origin})
}

// userDrivers is the directory of the user's own drivers, or "" when there is no home.
func userDrivers(env func(string) string) string {
	if data := env("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "parley", "drivers")
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "parley", "drivers")
	}
	return ""
}

// List returns every file that looks like a driver, in the order of the search. Nothing is
// executed.
func (p SearchPath) List() []Candidate {
	found, _ := p.scan()
	return found
}

// scan lists all candidates, and says for each directory that could not be read why.
func (p SearchPath) scan() ([]Candidate, map[string]error) {
	var all []Candidate
	unread := make(map[string]error)
	first := make(map[string]string) // path of the file that came first, by driver name
	for _, dir := range p.Dirs {
		found, err := dir.candidates()
		if err != nil {
			unread[dir.Path] = err
		}
		for _, c := range found {
			all = append(all, p.judge(c, first))
		}
	}
	return all, unread
}

// judge sets the status, given the files that came before.
func (p SearchPath) judge(c Candidate, first map[string]string) Candidate {
	pin := p.Pins[c.Name]
	c.pinned = pin != "" && pin == c.Version
	switch {
	case c.Status == Refused:
	case pin != "" && !c.pinned:
		c.Status, c.Why = Shadowed, "the pin to version "+pin
	case first[c.Name] != "":
		c.Status, c.Why = Shadowed, first[c.Name]
	default:
		first[c.Name] = c.Path
		c.Status = Chosen
		if err := checkTrust(c.Path); err != nil {
			c = c.refuse(err)
		}
	}
	return c
}

func (c Candidate) refuse(err error) Candidate {
	c.Status, c.problem, c.Why = Refused, err, sentence(err)
	return c
}

// candidates reads one directory: by name, the newest version first.
func (d SearchDir) candidates() ([]Candidate, error) {
	entries, err := os.ReadDir(d.Path)
	var found []Candidate
	for _, entry := range entries {
		if c, ok := d.candidate(entry); ok {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b Candidate) int {
		if by := strings.Compare(a.Name, b.Name); by != 0 {
			return by
		}
		return compareVersions(b.Version, a.Version)
	})
	return found, err
}

// candidate looks at one directory entry. A program whose name nearly fits is listed as
// refused, so that nobody wonders why it is not found; notes and checksums beside a driver
// are not programs and stay out.
func (d SearchDir) candidate(entry fs.DirEntry) (Candidate, bool) {
	rest, ok := strings.CutPrefix(entry.Name(), Prefix)
	if !ok || entry.IsDir() {
		return Candidate{}, false
	}
	c := Candidate{Path: filepath.Join(d.Path, entry.Name()), Dir: d}
	if c.Name, c.Version, ok = splitFileName(entry.Name()); ok {
		return c, true
	}
	info, err := os.Stat(c.Path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return Candidate{}, false
	}
	c.Name = rest
	return c.refuse(misnamed(c.Path)), true
}

// Find returns the file to start for a driver's name. Every error is a *driver.Error with
// ReasonConfig that says where was looked and what to do.
func (p SearchPath) Find(name string) (Candidate, error) {
	if !validName(name) {
		return Candidate{}, driver.Errorf(driver.ReasonConfig, "%q cannot be a driver's name", name).
			WithHint("a name has lower-case letters, digits and dashes")
	}
	if err := p.checkPin(name); err != nil {
		return Candidate{}, err
	}
	all, unread := p.scan()
	for _, c := range all {
		if c.Name != name || c.Status == Shadowed {
			continue
		}
		if c.Status == Refused {
			e := driver.AsError(c.problem)
			return c, &driver.Error{
				Reason:  driver.ReasonConfig,
				Message: "driver " + name + " is refused: " + e.Message,
				Hint:    e.Hint,
				Err:     c.problem,
			}
		}
		return c, nil
	}
	if p.Pins[name] != "" {
		return Candidate{}, p.pinNotFound(name, all, unread)
	}
	return Candidate{}, p.notFound(name, all, unread)
}

// notFound says which directories were looked in, what is there, and what is near.
func (p SearchPath) notFound(name string, all []Candidate, unread map[string]error) error {
	err := driver.Errorf(driver.ReasonConfig, "no driver %q found; looked in %s; %s",
		name, p.describe(unread), describeKnown(all))
	if name == "amqp" || name == "amqps" {
		return err.WithHint("write rabbit:// for RabbitMQ's AMQP 0-9-1 and qpid:// for AMQP 1.0, or register %q as an alias of the one that is meant", name)
	}
	if near := driver.Nearest(name, knownNames(all)); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err.WithHint("put the program %s%s into one of these directories, or its directory into %s",
		Prefix, name, DriverPathVariable)
}

func (p SearchPath) describe(unread map[string]error) string {
	if len(p.Dirs) == 0 {
		return "no directory"
	}
	parts := make([]string, len(p.Dirs))
	for i, d := range p.Dirs {
		parts[i] = d.Path + " (" + d.Origin + describeUnread(unread[d.Path]) + ")"
	}
	return strings.Join(parts, ", ")
}

func describeUnread(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return ", does not exist"
	case errors.Is(err, fs.ErrPermission):
		return ", may not be read"
	default:
		return ", " + err.Error()
	}
}

func describeKnown(all []Candidate) string {
	if names := knownNames(all); len(names) > 0 {
		return "drivers there: " + strings.Join(names, ", ")
	}
	return "no driver is there"
}

func knownNames(all []Candidate) []string {
	var names []string
	for _, c := range all {
		if validName(c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
