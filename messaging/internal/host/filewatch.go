// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/parleymq/parley/messaging/internal/driverfile"
)

// settleTime is how long a directory must be quiet before its files are looked at: whoever
// installs a driver does so in several steps.
const settleTime = 500 * time.Millisecond

// watchFiles reloads a driver when the file that is found for it is another one.
func (sv *services) watchFiles(ctx context.Context) {
	logger := sv.host.opts.Logger
	w, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Error("drivers' files are not watched", "err", err.Error())
		return
	}
	defer w.Close() //nolint:errcheck // it was only read
	for _, dir := range sv.host.search.Dirs {
		_ = w.Add(dir.Path) // most of them do not exist
	}
	quiet := time.NewTimer(settleTime)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case e := <-w.Events:
			if strings.Contains(e.Name, driverfile.Prefix) {
				quiet.Reset(settleTime)
			}
		case err := <-w.Errors:
			logger.Warn("watching drivers' files", "err", err.Error())
			quiet.Reset(settleTime) // something may have been missed
		case <-quiet.C:
			sv.reloadChanged(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// reloadChanged reloads each driver whose process was not started from the file that is found
// now. A file that is refused, and one that failed its trial, change nothing.
func (sv *services) reloadChanged(ctx context.Context) {
	for _, s := range sv.host.supervisors(func(*supervisor) bool { return true }) {
		found, err := sv.host.search.Find(s.key.driver)
		if err != nil {
			sv.host.opts.Logger.Warn("a changed driver is not taken", "driver", s.key.driver, "err", err.Error())
			continue
		}
		id := identify(found.Path)
		if s.tried(id) {
			continue
		}
		sv.host.opts.Logger.Info("driver's file changed", "driver", s.key.driver, "file", found.Path)
		sv.reload(ctx, s.key.driver)
	}
}

// tried reports whether the file was the last one that was started, or was tried to.
func (s *supervisor) tried(id fileID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastTried.same(id)
}

// noteTried remembers the file that is about to be started.
func (s *supervisor) noteTried(id fileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastTried = id
}
