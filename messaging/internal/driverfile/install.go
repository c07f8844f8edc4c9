// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// Installation is what is to be installed.
type Installation struct {
	// File is the program.
	File string
	// Dir is where it goes; empty for the user's own drivers.
	Dir string
	// Version is that of a driver that does not say X.Y.Z of itself.
	Version string
}

// Installed is what an Installation has led to.
type Installed struct {
	Candidate
	Standing
	// Manifest is the file beside, with what the driver says of itself.
	Manifest string
	// Others are the files in the same directory with other versions, the newest first.
	Others []Candidate
}

// Install copies a program into a directory of drivers, under the name and version that it says
// of itself, writes its description beside it, and records its checksum. What is described,
// recorded and put there are the same bytes. Each file is there as a whole or not at all, and a
// process that runs from a file that is replaced goes on with the old one.
func (t Trust) Install(ctx context.Context, in Installation) (Installed, error) {
	lock, err := t.lockFile(os.Getenv)
	if err != nil {
		return Installed{}, err
	}
	src, err := OpenTrusted(in.File)
	if err != nil {
		return Installed{}, err
	}
	defer src.Close() //nolint:errcheck // nothing was written
	dir, err := in.makeDir()
	if err != nil {
		return Installed{}, err
	}
	draft, err := makeDraft(src, dir)
	if err != nil {
		return Installed{}, err
	}
	defer draft.remove()
	text, m, err := describe(ctx, draft.path, src.Name())
	if err != nil {
		return Installed{}, err
	}
	c, err := in.candidate(dir, src.Name(), m)
	if err != nil {
		return Installed{}, err
	}
	return draft.put(c, text, lock)
}

// makeDir makes the directory and returns it without symbolic links.
func (in Installation) makeDir() (string, error) {
	dir := in.Dir
	if dir == "" {
		dir = userDrivers(os.Getenv)
	}
	if dir == "" {
		return "", driver.Errorf(driver.ReasonConfig, "there is no directory for the user's drivers: XDG_DATA_HOME and HOME are not set").
			WithHint("give one with --dir")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // applications of other users start drivers from a system's directory
		return "", driver.Errorf(driver.ReasonConfig, "cannot make the directory %s: %w", dir, err).
			WithHint("give another one with --dir, or install as a user who may write there")
	}
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return "", cannotOpen(dir, err)
	}
	fd, err := openFD(unix.AT_FDCWD, real, unix.O_DIRECTORY)
	if err != nil {
		return "", cannotOpen(real, err)
	}
	defer closeFD(fd)
	return real, checkDirectory(fd, real)
}

// candidate names the file by what the driver says of itself.
func (in Installation) candidate(dir, file string, m manifest) (Candidate, error) {
	version := m.Version
	if _, ok := parseVersion(version); !ok {
		version = in.Version
	}
	_, ok := parseVersion(version)
	switch {
	case !ok && in.Version != "":
		return Candidate{}, driver.Errorf(driver.ReasonConfig, "%q is not a version", in.Version).WithHint("write X.Y.Z")
	case !ok:
		return Candidate{}, driver.Errorf(driver.ReasonConfig, "driver %s (%s) says that its version is %q, which cannot be in a file's name", m.Name, file, m.Version).
			WithHint("name the version with --version X.Y.Z")
	case in.Version != "" && in.Version != version:
		return Candidate{}, driver.Errorf(driver.ReasonConfig, "driver %s (%s) says that its version is %s, not %s", m.Name, file, version, in.Version).
			WithHint("leave out --version")
	}
	return Candidate{
		Name: m.Name, Version: version, Path: filepath.Join(dir, Prefix+m.Name+"_v"+version),
		Dir: SearchDir{Path: dir, Origin: "installed"}, Status: Chosen,
	}, nil
}

// draft is a program that is copied and not yet under its name.
type draft struct {
	path     string
	measured measured
}

// makeDraft copies the open program into a file that is no driver by its name.
func makeDraft(src *os.File, dir string) (draft, error) {
	f, err := os.CreateTemp(dir, ".parley-install-")
	if err != nil {
		return draft{}, driver.Errorf(driver.ReasonConfig, "cannot write to the directory %s: %w", dir, err).
			WithHint("give another one with --dir, or install as a user who may write there")
	}
	d := draft{path: f.Name()}
	d.measured, err = measure(src, f)
	if written := errors.Join(f.Chmod(0o755), f.Sync(), f.Close()); err == nil && written != nil {
		err = driver.Errorf(driver.ReasonConfig, "cannot write %s: %w", d.path, written)
	}
	if err != nil {
		d.remove()
		return draft{}, err
	}
	return d, nil
}

// remove removes what is still there.
func (d draft) remove() { _ = os.Remove(d.path) }

// put records the program and gives it its name.
func (d draft) put(c Candidate, description []byte, lock lockFile) (Installed, error) {
	done := Installed{Candidate: c, Manifest: c.Path + manifestSuffix}
	file := subject{Candidate: c, paths: []string{c.Path}}
	entries := newEntries(file, d.measured, "installed")
	before, err := lock.record(entries, false)
	if err != nil {
		return Installed{}, err
	}
	err = replaceFile(done.Manifest, d.path+manifestSuffix, description, 0o644)
	if err == nil {
		err = errors.Join(os.Rename(d.path, c.Path), syncDir(c.Dir.Path))
	}
	if err != nil {
		return Installed{}, driver.Errorf(driver.ReasonConfig, "cannot install %s: %w", c.Path, err)
	}
	// Another process that recorded something meanwhile may have dropped the file that was not there.
	if _, err := lock.record(entries, true); err != nil {
		return Installed{}, err
	}
	done.Standing = Standing{State: StateRecorded, Checksum: d.measured.checksum, Recorded: file.recorded(before, d.measured.checksum)}
	done.Others = otherVersions(c)
	return done, nil
}

// otherVersions lists what else there is of a driver in its directory.
func otherVersions(c Candidate) []Candidate {
	found, _ := c.Dir.candidates() // it was just written to
	var others []Candidate
	for _, other := range found {
		if other.Name == c.Name && other.Path != c.Path {
			others = append(others, other)
		}
	}
	return others
}
