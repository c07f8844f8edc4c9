// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"log/slog"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// hiddenPrefix begins the names of files that are no news.
const hiddenPrefix = "."

// watch hints at changes of the files of a directory. It may miss some, or all on a network file
// system, and there may be no room for one more watch on this machine: who uses it also polls.
type watch struct {
	notify *fsnotify.Watcher // nil when there is none
	out    chan struct{}
	done   sync.WaitGroup
	// hidden counts hidden files as well.
	hidden bool
}

func newWatch(hidden bool, log *slog.Logger) *watch {
	w := &watch{out: make(chan struct{}, 1), hidden: hidden}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Debug("changes of files are seen within a second only: no watch for them", "error", err)
		return w
	}
	w.notify = notify
	w.done.Go(w.run)
	return w
}

func (w *watch) run() {
	for {
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if w.isNews(event) {
				w.hint()
			}
		case _, ok := <-w.notify.Errors: // lost events
			if !ok {
				return
			}
			w.hint()
		}
	}
}

func (w *watch) isNews(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false // also when somebody renews a record
	}
	name := event.Name[strings.LastIndexByte(event.Name, '/')+1:]
	return w.hidden || !strings.HasPrefix(name, hiddenPrefix)
}

func (w *watch) hint() {
	select {
	case w.out <- struct{}{}:
	default: // there is one already
	}
}

// add watches a directory, also one that was deleted and made again.
func (w *watch) add(dir string) {
	if w.notify == nil {
		return
	}
	_ = w.notify.Remove(dir) // fails for one that is gone
	_ = w.notify.Add(dir)    // then there are no hints
}

func (w *watch) hints() <-chan struct{} { return w.out }

func (w *watch) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
	w.done.Wait()
}
