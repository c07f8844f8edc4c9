// SPDX-License-Identifier: Apache-2.0

package messagingslog

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/parleymq/parley/messaging"
)

// payload makes what a record is on the wire.
func (h *Handler) payload(record slog.Record, from origin) (messaging.Priority, map[string]any) {
	priority, levelName := priorityOf(record.Level)
	pkg, function := splitFunction(from.Function)
	b := &builder{maxText: h.opts.MaxText}
	payload := map[string]any{
		"name":        cmp.Or(h.opts.Name, pkg, "root"),
		"levelno":     levelNumber(record.Level),
		"levelname":   levelName,
		"exc_info":    nil,
		"pathname":    from.File,
		"lineno":      from.Line,
		"msg":         cut(record.Message, h.opts.MaxText),
		"funcName":    function,
		"thread":      nil,
		"processName": filepath.Base(os.Args[0]),
		"process":     os.Getpid(),
		"extra":       nil,
	}
	if extra := b.extra(h.steps, record); len(extra) > 0 {
		payload["extra"] = extra
	}
	if b.err != nil {
		payload["exc_info"] = []any{fmt.Sprintf("%T", b.err), b.errorText(b.err), nil}
	}
	if !record.Time.IsZero() {
		payload["created"] = float64(record.Time.UnixMicro()) / 1e6
	}
	return priority, payload
}
