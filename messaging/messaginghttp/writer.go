// SPDX-License-Identifier: Apache-2.0

package messaginghttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer passes on what a handler writes, and remembers how it began. It is used as a
// http.ResponseWriter is: by one goroutine at a time.
type writer struct {
	http.ResponseWriter
	status   int         // zero before it begins
	sent     http.Header // as it was then
	hijacked bool
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin notes the status and the headers, unless there are some.
func (w *writer) begin(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.Header().Clone()
	}
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	// Others of the 100s come before the real one.
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// WriteString implements [io.StringWriter].
func (w *writer) WriteString(s string) (int, error) {
	w.begin(http.StatusOK)
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom implements [io.ReaderFrom]: a server sends files without copying them.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what [http.ResponseController] calls.
func (w *writer) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if err == nil {
		w.begin(http.StatusOK)
	}
	return err
}

// flushing is a writer that can flush. Handlers ask by type for what a writer can do besides, so
// it must be there when, and only when, the one below has it.
type flushing struct{ w *writer }

// Flush implements [http.Flusher].
func (f flushing) Flush() { _ = f.w.FlushError() } // a Flusher cannot fail

// hijacking is a writer whose connection can be taken over.
type hijacking struct {
	w     *writer
	below http.Hijacker
}

// Hijack implements [http.Hijacker].
func (h hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := h.below.Hijack()
	h.w.hijacked = h.w.hijacked || err == nil
	return conn, rw, err
}

// newWriter returns a writer, and what the handler gets: HTTP/1 can flush and be taken over,
// HTTP/2 can flush and push.
func newWriter(below http.ResponseWriter) (*writer, http.ResponseWriter) {
	w := &writer{ResponseWriter: below}
	_, canFlush := below.(http.Flusher)
	hijacker, canHijack := below.(http.Hijacker)
	pusher, canPush := below.(http.Pusher)
	switch {
	case canFlush && canHijack:
		return w, struct {
			*writer
			flushing
			hijacking
		}{w, flushing{w}, hijacking{w, hijacker}}
	case canFlush && canPush:
		return w, struct {
			*writer
			flushing
			http.Pusher
		}{w, flushing{w}, pusher}
	case canFlush:
		return w, struct {
			*writer
			flushing
		}{w, flushing{w}}
	case canHijack:
		return w, struct {
			*writer
			hijacking
		}{w, hijacking{w, hijacker}}
	default:
		return w, w
	}
}
