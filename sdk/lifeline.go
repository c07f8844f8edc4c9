// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/bridge"
)

// lifeline tells when this process has no host any more. Each sign alone has a hole: the
// session stream can be slow to break, the pipe can be closed by a careless library.
type lifeline struct {
	logger *slog.Logger
	once   sync.Once
	done   chan struct{}

	mu       sync.Mutex
	sessions int         // guarded by mu
	timer    *time.Timer // runs while there is no session; guarded by mu
}

func newLifeline(logger *slog.Logger) *lifeline {
	l := &lifeline{logger: logger, done: make(chan struct{})}
	l.timer = time.AfterFunc(sessionGrace, func() { l.end("no session with the application") })
	if pipe := inheritedPipe(); pipe != nil {
		go l.watch(pipe) // ends with the process
	}
	return l
}

// watch reads until the other end is closed, which is when the host is gone.
func (l *lifeline) watch(pipe *os.File) {
	_, _ = io.Copy(io.Discard, pipe) // nothing is written to it; any end is the end
	l.end("the application is gone")
}

// inheritedPipe returns the pipe whose other end the host holds, or nil.
func inheritedPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(bridge.LifelineEnv))
	if err != nil || fd < 3 {
		return nil
	}
	f := os.NewFile(uintptr(fd), "lifeline")
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	return f
}

// over is closed when the process is to end.
func (l *lifeline) over() <-chan struct{} { return l.done }

func (l *lifeline) end(why string) {
	l.once.Do(func() {
		l.logger.Debug("driver ends", "why", why)
		close(l.done)
	})
}

func (l *lifeline) sessionStarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
	l.timer.Stop()
}

func (l *lifeline) sessionEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions--; l.sessions == 0 {
		l.timer.Reset(sessionGrace)
	}
}
