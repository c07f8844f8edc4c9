// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// checksumPrefix names the hash, so that another one can follow some day.
const checksumPrefix = "sha256:"

// Checksum is "sha256:" and the hash of a file's content in hexadecimal digits.
type Checksum string

// Short is enough of a checksum to tell two apart.
func (c Checksum) Short() string { return string(c[:min(len(c), len(checksumPrefix)+12)]) + "…" }

func (c Checksum) valid() bool {
	digits, ok := strings.CutPrefix(string(c), checksumPrefix)
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == sha256.Size && digits == strings.ToLower(digits)
}

// stamp changes when somebody writes to a file.
type stamp struct {
	size         int64
	mtime, ctime unix.Timespec
}

func stampOf(f *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, cannotOpen(f.Name(), err)
	}
	return stamp{size: st.Size, mtime: st.Mtim, ctime: st.Ctim}, nil
}

// measured is what a file was found to be.
type measured struct {
	checksum Checksum
	size     int64
}

// measureTries is how often a file is read that is written to meanwhile.
const measureTries = 3

// measure reads the open file, from its beginning, and leaves its offset alone: programs are
// started from the descriptor. What is read goes to also as well, when it is not nil.
//
// A file that is written to while it is read is noticed by its size and its times. What is not
// noticed is a process with the rights of this one, or of root, that opened the file for writing
// and writes in the moment between this and the execution: the kernel refuses to execute a
// program that is open for writing, but it knows nothing of that for scripts. Nor is a second
// write noticed within the grain of the file system's clock, some milliseconds.
func measure(f *os.File, also io.Writer) (measured, error) {
	tries := measureTries
	if also != nil {
		tries = 1 // what was written cannot be taken back
	}
	for range tries {
		m, stable, err := measureOnce(f, also)
		if err != nil || stable {
			return m, err
		}
	}
	return measured{}, driver.Errorf(driver.ReasonDriverGone, "file %s is written to while its checksum is taken", f.Name()).
		WithHint("try again when it is complete; install by renaming a finished copy over it, as \"parley drivers install\" does")
}

func measureOnce(f *os.File, also io.Writer) (m measured, stable bool, err error) {
	before, err := stampOf(f)
	if err != nil {
		return m, false, err
	}
	hash := sha256.New()
	to := io.Writer(hash)
	if also != nil {
		to = io.MultiWriter(hash, also)
	}
	n, err := io.Copy(to, io.NewSectionReader(f, 0, before.size))
	if err != nil {
		return m, false, driver.Errorf(driver.ReasonConfig, "cannot read %s: %w", f.Name(), err)
	}
	after, err := stampOf(f)
	if err != nil {
		return m, false, err
	}
	m = measured{checksum: Checksum(checksumPrefix + hex.EncodeToString(hash.Sum(nil))), size: n}
	return m, n == before.size && before == after, nil
}
