// SPDX-License-Identifier: Apache-2.0

// Package messagingcloudevents maps notifications to CloudEvents 1.0 and back, with the types of the
// official SDK.
//
// [ToEvent] and [FromEvent] make one of the other:
//
//	id               message id
//	source           publisher id as a URI reference, or Options.Source
//	type             event type
//	time             timestamp
//	datacontenttype  application/json
//	data             payload
//	priority         priority, in lower case; an event without one is info
//	publisherid      publisher id; of an event without one it is the source
//	traceparent, tracestate  the headers of these names
//	…                the keys of the request context that Options.ContextKeys names
//
// Nothing else of a notification travels; of an event, what has no place in a notification is an
// error, so that whatever is taken comes back as it was.
//
// [Notify] sends a whole event, whatever it holds, as the payload of a notification, in the
// structured JSON form, and [Decode] reads it from there.
package messagingcloudevents
