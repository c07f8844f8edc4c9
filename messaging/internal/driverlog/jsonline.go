// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDepth is how deep fields are kept as groups; what is deeper becomes text.
	maxDepth = 6
	// maxFields bounds the fields of one record.
	maxFields = 64
	// levelTrace is below slog's lowest name, as hclog's Trace is below its Debug.
	levelTrace = slog.LevelDebug - 4
)

// structured makes a record of a line that has fields. A line without them, or with neither a
// message nor a level, is not taken for a log record.
func (s *Secrets) structured(line Line, now time.Time) (slog.Record, bool) {
	fields, ok := fieldsOf(line)
	if !ok {
		return slog.Record{}, false
	}
	level, hasLevel := takeLevel(fields)
	message, hasMessage := take(fields, "@message", "msg", "message", "event")
	if !hasLevel && !hasMessage {
		return slog.Record{}, false
	}
	text := ""
	if hasMessage {
		text = s.clean(textOf(message))
	}
	record := slog.NewRecord(takeTime(fields, now), level, text, 0)
	s.addFields(&record, fields)
	return record, true
}

// fieldsOf understands one line of the usual loggers: the JSON of hclog, slog, zap, zerolog,
// logrus, pino, structlog and Python's logging, and the pairs of slog's and logrus's text.
func fieldsOf(line Line) (map[string]any, bool) {
	if line.Cut {
		return nil, false
	}
	if !strings.HasPrefix(strings.TrimLeft(line.Text, " \t"), "{") {
		return logfmt(line.Text)
	}
	decoder := json.NewDecoder(strings.NewReader(line.Text))
	decoder.UseNumber()
	var fields map[string]any
	if decoder.Decode(&fields) != nil || decoder.More() {
		return nil, false
	}
	return fields, true
}

// take removes the first of the names that has a value.
func take(fields map[string]any, names ...string) (any, bool) {
	for _, name := range names {
		if v, ok := fields[name]; ok && v != nil {
			delete(fields, name)
			return v, true
		}
	}
	return nil, false
}

func takeLevel(fields map[string]any) (slog.Level, bool) {
	if v, ok := take(fields, "@level", "level", "levelname", "severity", "lvl", "log.level"); ok {
		return parseLevel(textOf(v)), true
	}
	if v, ok := take(fields, "levelno"); ok {
		return pythonLevel(textOf(v)), true
	}
	return slog.LevelInfo, false
}

// pythonLevel reads the number of a level of Python's logging. They are not pino's.
func pythonLevel(text string) slog.Level {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return slog.LevelInfo
	case n < 10:
		return levelTrace
	case n < 20:
		return slog.LevelDebug
	case n < 30:
		return slog.LevelInfo
	case n < 40:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// parseLevel reads a level's name in anybody's spelling; one that is unknown is Info.
func parseLevel(text string) slog.Level {
	switch strings.ToLower(text) {
	case "trace", "10": // the numbers are pino's
		return levelTrace
	case "debug", "20":
		return slog.LevelDebug
	case "info", "notice", "30":
		return slog.LevelInfo
	case "warn", "warning", "40":
		return slog.LevelWarn
	case "error", "err", "critical", "fatal", "panic", "dpanic", "alert", "emergency", "50", "60":
		return slog.LevelError
	}
	var level slog.Level
	if level.UnmarshalText([]byte(text)) != nil { // slog's own, such as "WARN+2"
		return slog.LevelInfo
	}
	return level
}

// takeTime finds the driver's own time. One that is not understood stays among the fields.
func takeTime(fields map[string]any, now time.Time) time.Time {
	for _, name := range []string{"@timestamp", "time", "ts", "timestamp", "asctime"} {
		v, ok := fields[name]
		if !ok {
			continue
		}
		if t, ok := parseTime(v); ok {
			delete(fields, name)
			return t
		}
	}
	return now
}

func parseTime(v any) (time.Time, bool) {
	switch v := v.(type) {
	case json.Number:
		seconds, err := v.Float64()
		if err != nil {
			return time.Time{}, false
		}
		return unixTime(seconds)
	case string:
		for _, layout := range []string{
			time.RFC3339, "2006-01-02T15:04:05Z0700", time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00",
		} {
			if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
				return t, plausible(t)
			}
		}
	}
	return time.Time{}, false
}

// unixTime takes seconds, or milliseconds, microseconds or nanoseconds when they can be nothing
// else.
func unixTime(n float64) (time.Time, bool) {
	const farSeconds = 1e11 // the year 5138
	for range 3 {
		if n > farSeconds {
			n /= 1000
		}
	}
	if n < 0 || n > farSeconds {
		return time.Time{}, false
	}
	t := time.UnixMicro(int64(n * 1e6))
	return t, plausible(t)
}

// plausible keeps out years that log handlers cannot write.
func plausible(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2200 }

// addFields adds what is left, in the order of names.
func (s *Secrets) addFields(record *slog.Record, fields map[string]any) {
	names := slices.Sorted(maps.Keys(fields))
	for i, name := range names {
		if i == maxFields {
			record.AddAttrs(slog.Int("fields_dropped", len(names)-maxFields))
			return
		}
		record.AddAttrs(slog.Attr{Key: fieldName(s.clean(name)), Value: s.fieldValue(fields[name], 1)})
	}
}

// fieldName keeps a driver's field from being taken for one of the host's.
func fieldName(name string) string {
	switch name {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey, "driver", "pid":
		return name + "_"
	case "":
		return "_"
	default:
		return name
	}
}

func (s *Secrets) fieldValue(v any, depth int) slog.Value {
	switch v := v.(type) {
	case string:
		return slog.StringValue(s.clean(v))
	case bool:
		return slog.BoolValue(v)
	case json.Number:
		return s.numberValue(v)
	case map[string]any:
		if len(v) == 0 || depth >= maxDepth {
			break // a group without members would vanish
		}
		attrs := make([]slog.Attr, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			key := s.clean(name)
			if key == "" {
				key = "_" // an empty key would lift the members out of their group
			}
			attrs = append(attrs, slog.Attr{Key: key, Value: s.fieldValue(v[name], depth+1)})
		}
		return slog.GroupValue(attrs...)
	}
	return slog.StringValue(s.clean(textOf(v)))
}

func (s *Secrets) numberValue(n json.Number) slog.Value {
	text := s.clean(n.String())
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return slog.Int64Value(i)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return slog.Float64Value(f)
	}
	return slog.StringValue(text)
}

// textOf is any JSON value as Text: a string as it is, the rest as JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(text)
}
