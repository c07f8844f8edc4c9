// SPDX-License-Identifier: Apache-2.0

package messagingslog

import (
	"log/slog"
	"reflect"
	"runtime"
	"strings"

	"github.com/parleymq/parley/messaging"
)

// origin is where a record was made.
type origin struct{ runtime.Frame }

func originOf(record slog.Record) origin {
	if record.PC == 0 {
		return origin{}
	}
	frame, _ := runtime.CallersFrames([]uintptr{record.PC}).Next()
	return origin{frame}
}

// parleys reports whether it is in the library itself. A record keeps this on its way through other
// handlers and goroutines, which a mark in its context need not survive.
func (o origin) parleys() bool {
	library := reflect.TypeFor[messaging.Transport]().PkgPath()
	rest, ok := strings.CutPrefix(o.Function, library)
	if ok {
		return strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "/internal/")
	}
	return strings.HasPrefix(o.Function, strings.TrimSuffix(library, "messaging")+"internal/")
}

// splitFunction cuts the full name of a function into the path of its package and the rest:
// "example.org/x/pkg.(*T).Method".
func splitFunction(name string) (pkg, function string) {
	slash := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[slash:], '.')
	if dot < 0 {
		return "", name
	}
	return name[:slash+dot], name[slash+dot+1:]
}
