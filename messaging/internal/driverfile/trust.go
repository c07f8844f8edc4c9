// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// maxLinks bounds a chain of symbolic links, as the kernel does.
const maxLinks = 40

// WritableByOthers are the permission bits that let somebody else change a file.
const WritableByOthers = 0o022

// checkTrust reports why the driver's file may not be started, or nil.
func checkTrust(path string) error {
	f, err := OpenTrusted(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// OpenTrusted opens a driver's program after checking that nobody but root and the user of
// this process can have put it there: each directory on the way that holds the file or a
// symbolic link to it, and the file itself. The checks are made on open descriptors, and the
// caller starts the program through the one returned, so that the file that was checked is
// the file that runs. The Name of the file returned is its path without symbolic links.
//
// Its checksum is not looked at; see OpenVerified.
func OpenTrusted(path string) (*os.File, error) { return openChecked(path, checkProgram) }

// openChecked opens a file after the checks of each directory on the way; check judges the file.
func openChecked(path string, check func(fd int, path string) error) (*os.File, error) {
	at := path
	for range maxLinks {
		parent, base := filepath.Split(at)
		// Not cleaned before: that would resolve ".." before links are.
		dir, err := filepath.EvalSymlinks(parent)
		if err != nil {
			return nil, cannotOpen(path, err)
		}
		f, link, err := openEntry(dir, base, check)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return f, nil
		}
		if at = link; !filepath.IsAbs(link) {
			at = dir + string(filepath.Separator) + link
		}
	}
	return nil, driver.Errorf(driver.ReasonConfig, "%s: too many symbolic links", path)
}

// openEntry checks the directory, then opens and checks the file base in it. When base is a
// symbolic link its target is returned instead.
func openEntry(dir, base string, check func(fd int, path string) error) (f *os.File, link string, err error) {
	full := filepath.Join(dir, base)
	if base == "" || base == "." || base == ".." {
		return nil, "", notRegular(full)
	}
	dirFD, err := openFD(unix.AT_FDCWD, dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, "", cannotOpen(dir, err)
	}
	defer closeFD(dirFD)
	if err := checkDirectory(dirFD, dir); err != nil {
		return nil, "", err
	}
	// Without O_NONBLOCK opening a named pipe would wait for a writer.
	fd, err := openFD(dirFD, base, unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) {
		link, err = readLink(dirFD, base)
		if err != nil {
			return nil, "", cannotOpen(full, err)
		}
		return nil, link, nil
	}
	if err != nil {
		return nil, "", cannotOpen(full, err)
	}
	err = check(fd, full)
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		closeFD(fd)
		return nil, "", err
	}
	return os.NewFile(uintptr(fd), full), "", nil
}

// openFD opens for reading, in the directory dirFD.
func openFD(dirFD int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirFD, path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// closeFD closes what was only read, where an error means nothing.
func closeFD(fd int) { _ = unix.Close(fd) }

func readLink(dirFD int, base string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(dirFD, base, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// checkDirectory refuses a directory in which others could swap files. The sticky bit does
// not help: it keeps others from removing a file, not from putting one there first.
func checkDirectory(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return cannotOpen(path, err)
	}
	return checkOwner("directory", path, &st)
}

// checkProgram refuses what is no plain program of ours.
func checkProgram(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return cannotOpen(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return notRegular(path)
	}
	if err := checkOwner("file", path, &st); err != nil {
		return err
	}
	if st.Mode&0o111 == 0 {
		return driver.Errorf(driver.ReasonConfig, "file %s is not executable (mode %04o)", path, st.Mode&0o7777).
			WithHint("run: chmod +x %s", ShellQuote(path))
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		// The kernel clears the parent-death signal for such programs, and a driver that
		// outlives its host with somebody's rights is nothing to have.
		return driver.Errorf(driver.ReasonConfig, "file %s is set-uid or set-gid (mode %04o)", path, st.Mode&0o7777).
			WithHint("run: chmod ug-s %s", ShellQuote(path))
	}
	return nil
}

// checkOwner refuses what others own or may write.
func checkOwner(kind, path string, st *unix.Stat_t) error {
	me := os.Geteuid()
	if owner := int(st.Uid); owner != 0 && owner != me {
		return driver.Errorf(driver.ReasonConfig, "%s %s belongs to user id %d, not to root or to user id %d",
			kind, path, owner, me).
			WithHint("if you trust it, run: %s", chownCommand(path, me))
	}
	if st.Mode&WritableByOthers != 0 {
		e := driver.Errorf(driver.ReasonConfig, "%s %s may be written by group or others (mode %04o)",
			kind, path, st.Mode&0o7777)
		if st.Mode&unix.S_ISVTX != 0 { // it is for everybody, such as /tmp
			return e.WithHint("use a directory that only you may write to; or, if it is yours alone, run: chmod go-w %s", ShellQuote(path))
		}
		return e.WithHint("run: chmod go-w %s", ShellQuote(path))
	}
	return nil
}

func chownCommand(path string, me int) string {
	if me == 0 {
		return "chown root " + ShellQuote(path)
	}
	return fmt.Sprintf("sudo chown %d %s", me, ShellQuote(path))
}

func notRegular(path string) error {
	return driver.Errorf(driver.ReasonConfig, "%s is not a regular file", path).
		WithHint("put the driver's program there")
}

// cannotOpen wraps an error of the file system.
func cannotOpen(path string, err error) error {
	// os and filepath name the path themselves; it is not said twice.
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	e := driver.Errorf(driver.ReasonConfig, "cannot open %s: %w", path, err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return e.WithHint("the user of this process must be able to read and execute it; run: chmod a+rx %s", ShellQuote(path))
	case errors.Is(err, fs.ErrNotExist):
		return e.WithHint("the file, or what a symbolic link points to, does not exist")
	default:
		return e
	}
}

// ShellQuote makes text safe to paste into a shell.
func ShellQuote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("/._-+:@%,=", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
