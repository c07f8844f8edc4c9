// SPDX-License-Identifier: Apache-2.0

package messaginghttp

// Options are the settings of [Middleware]. Nil, and every zero field, mean the default.
type Options struct {
	// PublisherID is who notifies. Default: the notifier's.
	PublisherID string
	// ServiceName is what HTTP_X_SERVICE_NAME says. Default: the host of the request.
	ServiceName string
	// IgnoreMethods are the methods of requests that nobody is told of, in any case: "GET",
	// "OPTIONS". Default: none.
	IgnoreMethods []string
	// Secrets are names of headers and parameters that are secret besides those that are known,
	// in any case, with "-", "_" or neither. A name is secret when it is one of these, not when it
	// contains one.
	Secrets []string
}

// The limits of a payload.
const (
	maxValue   = 4 << 10 // bytes of one value; what is longer is cut
	maxHeaders = 200
	maxFrames  = 64 // of a traceback
)
