// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"time"
)

// DefaultNotificationTopic is upstream's default topic of notifications.
const DefaultNotificationTopic = "notifications"

// NotifierOptions are the settings of a [Notifier]. Nil, and every zero field, mean the default.
type NotifierOptions struct {
	// PublisherID names who notifies, by convention "service.host". Default: the transport's
	// AppName and the name of this machine.
	PublisherID string
	// Topics are the topics that each notification is sent to, each with its priority. Default:
	// "notifications".
	Topics []string
	// Exchange is that of the topics. Default: the transport's.
	Exchange string
	// Outlets are where notifications go. Default: the broker, in format 2.0.
	Outlets []Outlet
	// Timeout bounds every notification, from its start to its end; a nearer deadline of the context
	// wins. Default: [Options.ReplyTimeout].
	Timeout time.Duration
	// Retry is how many times a notification that the broker did not take is sent again, as
	// [RPCClientOptions.Retry] says: nil or negative is as long as there is time, zero is never. One
	// in doubt is sent again too, with the same ids: listeners drop what they have seen. With a
	// Spool nothing is retried: what the first try does not bring to the broker is stored.
	Retry *int
	// Context decides what of the request context travels, in every outlet. Default: [SafeContext].
	Context ContextFilter
	// Serializer encodes payloads, and request contexts before the filter sees them. Default: [JSON].
	Serializer Serializer
	// Spool keeps on disk what the broker does not take now; it is one of the same transport.
	// Default: none, and a notification that was not taken is an error.
	Spool *Spool
	// MaxPending bounds the notifications of NotifyAndForget that are under way; more have to wait.
	// Default: 4096.
	MaxPending int
	// OnResult, when set, is told what became of every notification of NotifyAndForget, once for
	// each topic at the broker and once for each other outlet: err is nil when it was accepted. It
	// is called from any goroutine, must not block, and must not change n.
	OnResult func(n *Notification, err error)
}

// NotifierOption changes one setting in a notifier derived by [Notifier.With].
type NotifierOption func(*notifierSettings)

// PublisherID sets [NotifierOptions.PublisherID].
func PublisherID(id string) NotifierOption { return func(s *notifierSettings) { s.publisherID = id } }

// NotifyRetry sets [NotifierOptions.Retry]; negative is as long as there is time.
func NotifyRetry(n int) NotifierOption { return func(s *notifierSettings) { s.retry = n } }

// NotifyTimeout sets [NotifierOptions.Timeout]; zero is the default.
func NotifyTimeout(d time.Duration) NotifierOption {
	return func(s *notifierSettings) { s.timeout = d }
}

// Topics sets [NotifierOptions.Topics]; none is the default.
func Topics(names ...string) NotifierOption {
	return func(s *notifierSettings) { s.topics = topicsOrDefault(names) }
}
