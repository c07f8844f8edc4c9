// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sweep ends what dead hosts left running and removes the directories they left, of whatever
// kind. It returns how many processes and directories that were. What cannot be removed is
// reported and does not stop the sweep.
func (b *Base) Sweep(ctx context.Context) (removed int, err error) {
	// Processes first: they could put something into a directory that is being removed.
	removed = killStrays(ctx, b.path)
	entries, err := os.ReadDir(b.path)
	errs := []error{err}
	for _, entry := range entries {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		done, err := b.sweepOne(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", filepath.Join(b.path, entry.Name()), err))
		}
		if done {
			removed++
		}
	}
	return removed, errors.Join(errs...)
}

// sweepOne removes one directory when it is left behind.
func (b *Base) sweepOne(entry fs.DirEntry) (bool, error) {
	name := entry.Name()
	ours := hasKind(name) || strings.HasPrefix(name, newDirPrefix)
	if !ours || !entry.IsDir() {
		return false, nil
	}
	path := filepath.Join(b.path, name)
	lock, err := os.Open(path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer closeAll(lock)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil // its owner lives
		}
		return false, err
	}
	if !leftBehind(path, name, lock) {
		return false, nil
	}
	return true, os.RemoveAll(path)
}

// leftBehind is the second opinion, for file systems on which locks do nothing.
func leftBehind(path, name string, dir *os.File) bool {
	var by owner
	text, err := os.ReadFile(filepath.Join(path, ownerFile))
	if err == nil {
		err = json.Unmarshal(text, &by)
	}
	if err == nil {
		return !by.alive()
	}
	if hasKind(name) {
		return true // it had an owner file when it got this name
	}
	info, err := dir.Stat()
	return err == nil && time.Since(info.ModTime()) > newDirAge
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
