// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strings"
	"unicode/utf8"
)

// The limits of Message.Headers: what trace contexts and baggage of W3C need, with room. What a
// peer sends beyond them is not worth the memory.
const (
	// MaxHeaders is how many headers a message has at most.
	MaxHeaders = 64
	// MaxHeaderBytes is the most that all names and values take together.
	MaxHeaderBytes = 16 << 10
)

// CheckHeaders says why headers may not be sent, or nil. A Send fails with it. A message that was
// received with such headers is delivered without them: nothing of RPC is in them.
func CheckHeaders(headers map[string]string) error {
	if len(headers) > MaxHeaders {
		return Errorf(ReasonMessageTooLarge, "the message has %d headers and the limit is %d", len(headers), MaxHeaders)
	}
	size := 0
	for k, v := range headers {
		size += len(k) + len(v)
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return Errorf(ReasonUnsupported, "header %q is not valid UTF-8", strings.ToValidUTF8(k, "?"))
		}
	}
	if size > MaxHeaderBytes {
		return Errorf(ReasonMessageTooLarge, "the headers of the message have %d bytes and the limit is %d", size, MaxHeaderBytes)
	}
	return nil
}
