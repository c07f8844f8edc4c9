// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"context"
	"io"
	"log/slog"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// keptLines is how many of the last lines go into errors.
	keptLines = 20
	// keptLineBytes bounds each of them.
	keptLineBytes = 500
	// logRate is how many lines a second of one stream become log records.
	logRate = 1000
	// cutMark stands where a long line was cut.
	cutMark = " … [cut at 64 KiB]"
)

// Log turns what a driver writes to its standard error into log records. go-plugin's
// own parser is not used: a line that it does not expect ends the host.
type Log struct {
	logger  *slog.Logger
	secrets *Secrets
	limit   *rateLimit
	crash   crashText // used by the reading goroutine alone

	mu     sync.Mutex // guards what follows
	recent lastLines
	fatal  string // the first line of the last crash
	since  int    // lines since the last one of that crash
}

// New makes a log whose records carry what logger carries: the caller adds the
// driver's name and process id. The secrets are masked, in the kept lines as well; nil has none.
func New(logger *slog.Logger, now func() time.Time, secrets *Secrets) *Log {
	return &Log{
		logger:  logger,
		secrets: secrets,
		limit:   newRateLimit(logRate, now),
		recent:  lastLines{limit: keptLines},
	}
}

// Read handles lines until the stream ends.
func (d *Log) Read(r io.Reader) {
	lines := NewReader(r)
	for {
		line, err := lines.Next()
		if err != nil {
			d.reportDropped()
			return
		}
		d.handle(line)
	}
}

// Tail returns the last lines, and the line that told of a crash, if one did. A crash that many
// lines have followed was survived.
func (d *Log) Tail() (lines []string, fatal string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines = append(lines, d.recent.lines...)
	for i := range lines {
		lines[i] = d.secrets.Redact(lines[i]) // they may be older than a secret
	}
	if d.since < keptLines {
		fatal = d.secrets.Redact(d.fatal)
	}
	return lines, fatal
}

func (d *Log) handle(line Line) {
	record, structured := d.secrets.structured(line, d.limit.now())
	if structured {
		d.crash.reset()
		d.remember(readable(record), false)
	} else {
		record = d.plainRecord(line)
	}
	d.emit(record)
}

// readable is a record as people read it in an error: level, message and fields.
func readable(r slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Level.String() + " " + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return b.Len() < keptLineBytes
	})
	return b.String()
}

// plainRecord makes a record of a line of text, and keeps the line.
func (d *Log) plainRecord(line Line) slog.Record {
	level := levelOfText(line.Text)
	crashed, first := d.crash.next(line.Text)
	if crashed {
		level = slog.LevelError
	}
	text := Printable(d.secrets.redactLine(line))
	if first {
		d.mu.Lock()
		d.fatal = Shorten(text, keptLineBytes)
		d.mu.Unlock()
	}
	d.remember(text, crashed)
	if line.Cut {
		text += cutMark
	}
	return slog.NewRecord(d.limit.now(), level, text, 0)
}

// remember keeps a line, which is printable and has no secrets.
func (d *Log) remember(text string, crashed bool) {
	if strings.TrimSpace(text) == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent.add(Shorten(text, keptLineBytes))
	d.since++
	if crashed {
		d.since = 0
	}
}

// emit logs a record unless there are too many of them.
func (d *Log) emit(record slog.Record) {
	ctx := context.Background() // a log line belongs to no call
	if !d.logger.Enabled(ctx, record.Level) {
		return
	}
	allowed, first := d.limit.allow()
	if first {
		d.logger.Warn("the driver logs too much, lines are dropped", "lines_per_second", logRate)
	}
	if !allowed {
		return
	}
	d.reportDropped()
	record.PC = origin()
	// A handler that fails has nobody to tell.
	_ = d.logger.Handler().Handle(ctx, record)
}

// origin is where a line came into this program, which tells it from the application's records.
func origin() uintptr {
	var pcs [1]uintptr
	runtime.Callers(2, pcs[:]) // past Callers and this
	return pcs[0]
}

func (d *Log) reportDropped() {
	if n := d.limit.takeDropped(); n > 0 {
		d.logger.Warn("lines of the driver's log were dropped", "lines", n)
	}
}

// crashText follows the text of a crash over its lines.
type crashText struct {
	inGo     bool
	inPython bool
}

var (
	goroutineHeader = regexp.MustCompile(`^goroutine \d+ (gp=\S+ m=\S+ (mp=\S+ )?)?\[`)
	goFrame         = regexp.MustCompile(`^(\t|created by |\[signal |\[recovered|exit status|rax |r\w+ +0x|\.\.\.|$)|\)$`)
)

// next reports whether a line belongs to a crash, and whether it is the one that names it.
func (c *crashText) next(line string) (crashed, first bool) {
	switch {
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "):
		first = !c.inGo
		c.inGo, c.inPython = true, false
		return true, first
	case goroutineHeader.MatchString(line):
		c.inGo = true
		return true, false
	case strings.HasPrefix(line, "Traceback (most recent call last)"):
		c.inPython = true
		return true, false
	case c.inGo:
		c.inGo = goFrame.MatchString(line)
		return c.inGo, false
	case c.inPython:
		// Frames are indented; the first line that is not names the exception.
		if strings.HasPrefix(line, " ") {
			return true, false
		}
		c.inPython = false
		return true, true
	default:
		return false, false
	}
}

func (c *crashText) reset() { *c = crashText{} }
