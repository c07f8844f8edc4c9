// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

func okStep(format string, args ...any) stepResult {
	return stepResult{Status: stepOK, Detail: fmt.Sprintf(format, args...)}
}

func warnStep(detail, hint string) stepResult {
	return stepResult{Status: stepWarn, Detail: detail, Hint: hint}
}

func skippedStep(why string) stepResult { return stepResult{Status: stepSkip, Detail: why} }

func failedStep(err error) stepResult { return stepResult{err: err} }

// failedf is a failure that belongs to the driver or the broker.
func failedf(hint, format string, args ...any) stepResult {
	return failedStep(&messaging.Error{Code: messaging.CodeUnavailable, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (x *examination) parse(context.Context) stepResult {
	var err error
	if x.url, err = messaging.ParseURL(x.raw, x.a.aliases); err != nil {
		return failedStep(err)
	}
	base, _, _ := strings.Cut(x.url.Scheme, "+")
	if base == x.url.Driver {
		return okStep("%s, driver %s", x.url, x.url.Driver)
	}
	return okStep("%s, driver %s, of which %s is an alias", x.url, x.url.Driver, x.url.Scheme)
}

// search looks into the directories. One that somebody named and that is not there is a flaw, and
// the failure when the driver is in none of the others.
func (x *examination) search(context.Context) stepResult {
	var good, bad []string
	var named *messaging.SearchDir // the first bad one that somebody named
	for _, d := range x.host.SearchPath() {
		why := directoryProblem(d.Path)
		if why == "" {
			good = append(good, fmt.Sprintf("%s (%s)", d.Path, originOf(d.Origin)))
			continue
		}
		bad = append(bad, fmt.Sprintf("%s (%s) %s", d.Path, originOf(d.Origin), why))
		if named == nil && (d.Origin == originOption || d.Origin == driverPathVariable) {
			named = &d
		}
	}
	detail := strings.Join(append(good, bad...), ", ")
	if named == nil && len(good) > 0 {
		return okStep("%s", detail)
	}
	hint := "make one of these directories and put the driver's program into it"
	if named != nil {
		hint = fmt.Sprintf("%s is named by %s: make it readable, or take it out there", named.Path, originOf(named.Origin))
	}
	if len(x.found()) > 0 {
		return warnStep(detail, hint)
	}
	return failedf(hint, "%s", detail)
}

// Origins of directories, as the library names them.
const (
	originOption       = "option"
	driverPathVariable = "PARLEY_DRIVER_PATH"
)

func originOf(origin string) string {
	if origin == originOption {
		return "--driver-path"
	}
	return origin
}

// directoryProblem is why nothing can be found in a directory, or "".
func directoryProblem(path string) string {
	_, err := os.ReadDir(path)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read"
	case errors.Is(err, syscall.ENOTDIR):
		return "is no directory"
	default:
		return "cannot be read: " + err.Error()
	}
}

// found are the files for the URL's driver, in the order of the search.
func (x *examination) found() []messaging.DriverFile {
	var files []messaging.DriverFile
	for _, f := range x.host.Drivers() {
		if f.Name == x.url.Driver {
			files = append(files, f)
		}
	}
	return files
}

// findFile says which file is used, and which are not for its sake.
func (x *examination) findFile(context.Context) stepResult {
	files := x.found()
	var shadowed []string
	for _, f := range files {
		if f.Status == statusShadowed {
			shadowed = append(shadowed, f.Path)
		}
	}
	for _, f := range files {
		if f.Status == statusShadowed {
			continue
		}
		x.file = f
		if problem := programProblem(f.Path); problem != "" {
			_, hint, _ := strings.Cut(f.Why, "; ")
			return failedf(hint, "%s %s", f.Path, problem)
		}
		detail := fmt.Sprintf("%s (%s)%s", f.Path, originOf(f.Origin), versionSuffix(f.Version))
		if len(shadowed) > 0 {
			detail += ", not " + strings.Join(shadowed, ", ")
		}
		return okStep("%s", detail)
	}
	if len(files) > 0 { // none is of the version that was asked for
		return failedf("install that version, or take the pin out: --pin", "%s is passed over for %s", files[0].Path, files[0].Why)
	}
	return x.noFile()
}

func (x *examination) noFile() stepResult {
	files := x.host.Drivers()
	others := make([]string, 0, len(files))
	for _, f := range files {
		others = append(others, f.Name)
	}
	return failedf(missingHint(x.url.Driver, others), "no driver %q is found in %s", x.url.Driver, x.searched())
}

// programProblem is why a file is no program, whoever owns it, or "".
func programProblem(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is a symbolic link to nothing"
	case err != nil:
		return "cannot be looked at: " + err.Error()
	case !info.Mode().IsRegular():
		return "is not a regular file"
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Sprintf("is not executable (mode %04o)", info.Mode().Perm())
	default:
		return ""
	}
}

func versionSuffix(version string) string {
	if version == "" {
		return ""
	}
	return " version " + version
}

func (x *examination) searched() string {
	path := x.host.SearchPath()
	dirs := make([]string, len(path))
	for i, d := range path {
		dirs[i] = d.Path
	}
	return strings.Join(dirs, ", ")
}

func missingHint(name string, others []string) string {
	if near := driver.Nearest(name, others); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf("put the program parley-driver-%s into one of these directories, or name its directory with --driver-path", name)
}

// trust tells whether the file that was found may be started.
func (x *examination) trust(context.Context) stepResult {
	if x.file.Status == statusRefused {
		why, hint, _ := strings.Cut(x.file.Why, "; ")
		return failedf(hint, "%s", why)
	}
	for _, f := range x.host.CheckDrivers() { // which reads the files, so that it is done once
		if f.Path == x.file.Path {
			x.file = f
		}
	}
	if x.file.TrustWhy != "" {
		why, hint, _ := strings.Cut(x.file.TrustWhy, "; ")
		return failedf(hint, "%s", why)
	}
	file, err := filepath.EvalSymlinks(x.file.Path)
	if err != nil {
		return failedf("try again", "the file is gone: %v", err)
	}
	detail := fmt.Sprintf("file %s, directory %s", ownership(file), ownership(filepath.Dir(file)))
	if file != x.file.Path {
		detail = fmt.Sprintf("it is %s; %s", file, detail)
	}
	if x.file.Trust != "" {
		detail += ", checksum " + x.file.Trust
	}
	return okStep("%s", detail)
}

// ownership is who can change a file.
func ownership(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	owner := "user"
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = "user " + strconv.FormatUint(uint64(st.Uid), 10)
		if st.Uid == 0 {
			owner = "root"
		}
	}
	return fmt.Sprintf("of %s, mode %04o", owner, info.Mode().Perm())
}

// handshake starts the driver and asks what it is.
func (x *examination) handshake(ctx context.Context) stepResult {
	begin := time.Now()
	b, err := x.host.Build(ctx, x.url.Driver)
	if err != nil {
		return failedStep(x.a.openError(x.host, x.raw, err))
	}
	x.info = b.Info
	return okStep("%s %s, SDK %s, protocol %d, answers %s after its start: %s",
		b.Name, b.Version, orDash(b.SDKVersion), b.ProtocolMajor, time.Since(begin).Round(time.Millisecond), b.Summary)
}

// options checks what the driver will check again, and the files that they name.
func (x *examination) options(context.Context) stepResult {
	values, err := driver.ValidateOptions(x.info.Options, x.url.Query)
	if err == nil && x.hasTLS() {
		x.tls, err = tlspeer.FromConfig(driver.Config{Options: values, VirtualHost: x.url.VirtualHost})
	}
	if err != nil {
		e := driver.AsError(err)
		return failedStep(&messaging.Error{Code: messaging.CodeConfig, Message: e.Message, Hint: e.Hint, Err: err})
	}
	return okStep("%d in the URL, %d known", len(x.url.Query), len(x.info.Options))
}

// hasTLS tells whether the driver has the options for TLS, by upstream's names.
func (x *examination) hasTLS() bool {
	for _, o := range x.info.Options {
		if o.Name == tlspeer.OptEnabled && o.Type == driver.OptionBool {
			return true
		}
	}
	return false
}
