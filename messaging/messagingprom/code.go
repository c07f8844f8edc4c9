// SPDX-License-Identifier: Apache-2.0

package messagingprom

import (
	"context"
	"errors"

	"github.com/parleymq/parley/messaging"
)

// The codes that are not a messaging.Code.
const (
	codeOK        = "ok"
	codeRemote    = "remote"
	codeCancelled = "cancelled"
	codePanic     = "panic"
	codeError     = "error"
)

// codeOf is the label for how a request ended.
func codeOf(err error) string {
	if err == nil {
		return codeOK
	}
	if _, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return codeRemote
	}
	if code := messaging.CodeOf(err); code != "" {
		return clean(string(code))
	}
	switch {
	case errors.Is(err, context.Canceled):
		return codeCancelled
	case errors.Is(err, context.DeadlineExceeded):
		return string(messaging.CodeExpired)
	default:
		return codeError
	}
}
