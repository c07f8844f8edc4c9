// SPDX-License-Identifier: Apache-2.0

package messaging

// NotifyResult sets [NotifierOptions.OnResult]; nil is none.
func NotifyResult(fn func(n *Notification, err error)) NotifierOption {
	return func(s *notifierSettings) { s.onResult = fn }
}

// NeverWait lets a notification of NotifyAndForget fail at once, with [ErrUnavailable], when
// [NotifierOptions.MaxPending] are under way: for those who would rather lose it than wait, such as
// logging.
func NeverWait() NotifierOption {
	return func(s *notifierSettings) { s.neverWait = true }
}
