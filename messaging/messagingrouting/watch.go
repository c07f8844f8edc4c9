// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/parleymq/parley/messaging"
)

// settleTime is how long there must be no more changes before the file is looked at: whoever changes
// it does so in several steps. Who never ends is not waited for longer than maxSettleTime.
const (
	settleTime    = 100 * time.Millisecond
	maxSettleTime = time.Second
)

// fileWatch keeps a router at what its file says. One goroutine uses it.
type fileWatch struct {
	path   string
	router *Router
	notify *fsnotify.Watcher // nil when there is none

	text string      // that was tried last
	info fs.FileInfo // of it; nil when there was no file
	err  string      // that was logged last
	dirs [2]string   // that are watched: of the path, and of what it leads to
}

// newFileWatch reads the file for the first time.
func newFileWatch(path string, r *Router) (*fileWatch, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &fileWatch{path: path, router: r}
	// First watch, then read: a change in between is seen.
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.notify = nil
		r.opts.logger().Warn("the routing file is looked at now and then only", "file", path, "every", r.opts.CheckInterval, "error", err)
	}
	w.watchDirs()
	if err := w.load(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *fileWatch) close() {
	if w.notify != nil {
		_ = w.notify.Close() // it was only read
	}
}

// load reads the file, and uses it unless it is what was tried last.
func (w *fileWatch) load() error {
	text, info, err := readFile(w.path)
	w.info = info
	if err != nil {
		w.text = ""
		return err
	}
	if text == w.text && w.router.table.Load() != nil && w.err == "" {
		return nil
	}
	w.text = text
	routes, err := Parse(w.path, text)
	if err != nil {
		return err
	}
	if routes.blank && w.router.table.Load() != nil { // more likely than not it is being written
		return &messaging.Error{Code: messaging.CodeConfig, Op: w.path, Message: "the file has become empty", Hint: "write {} if nothing is to be sent anywhere"}
	}
	return w.router.use(routes)
}

// run follows the file until ctx ends.
func (w *fileWatch) run(ctx context.Context) {
	defer w.close()
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.notify != nil {
		events, errs = w.notify.Events, w.notify.Errors
	}
	interval := time.NewTicker(w.router.opts.CheckInterval)
	defer interval.Stop()
	settle := time.NewTimer(settleTime) // for what changed while the file was read first
	defer settle.Stop()
	settling, since := true, time.Now()
	for {
		select {
		case e := <-events:
			if !w.isNews(e) {
				continue
			}
			if !settling {
				settling, since = true, time.Now()
			}
			if time.Since(since) < maxSettleTime {
				settle.Reset(settleTime)
			}
		case err := <-errs: // something may have been missed
			w.router.opts.logger().Debug("watching the routing file", "file", w.path, "error", err)
			w.reload()
		case <-settle.C:
			settling = false
			w.reload()
		case <-interval.C:
			if !settling {
				w.reload()
			}
		case <-ctx.Done():
			return
		}
	}
}

// isNews reports whether an event may have changed the file. Other files of the directory, say a
// log, are none of ours, but one of them may be a link on the way to it.
func (w *fileWatch) isNews(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	if w.info == nil || filepath.Base(e.Name) == filepath.Base(w.path) || filepath.Base(e.Name) == w.info.Name() {
		return true
	}
	info, err := os.Stat(w.path)
	return err != nil || !os.SameFile(info, w.info) || !info.ModTime().Equal(w.info.ModTime()) || info.Size() != w.info.Size()
}

// reload reads the file again. An error is logged when it is another than before.
func (w *fileWatch) reload() {
	w.watchDirs()
	loads := w.router.Status().Loads
	err := w.load()
	logger := w.router.opts.logger()
	switch {
	case err != nil:
		w.router.refuse(err)
		if text := err.Error(); text != w.err {
			w.err = text
			logger.Error("the routing file is not taken, the rules before it stay", "file", w.path, "error", err)
		}
	default:
		w.err = ""
		if status := w.router.Status(); status.Loads != loads {
			logger.Info("routing file read", "file", w.path, "outlets", status.Routes.Outlets())
		}
	}
}

// watchDirs watches the directories of the path and of what it leads to now. A directory, unlike a
// file, stays when the file is replaced.
func (w *fileWatch) watchDirs() {
	if w.notify == nil {
		return
	}
	dirs := [2]string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs[1] = filepath.Dir(target)
	}
	if old := w.dirs[1]; old != "" && old != dirs[1] {
		_ = w.notify.Remove(old) // it may be gone
	}
	w.dirs = dirs
	for _, dir := range dirs {
		if dir != "" {
			_ = w.notify.Add(dir) // one that is watched stays; one that is missing is tried again
		}
	}
}
