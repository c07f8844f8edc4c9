// SPDX-License-Identifier: Apache-2.0

package messaging

import "github.com/parleymq/parley/plugin/driver"

// AckPolicy says when a server acknowledges a request to the broker. The project's first notes
// asked whether done() is needed when poll() can ack; the answer is that it depends on what may
// be lost.
type AckPolicy uint8

const (
	// AckBeforeDispatch acknowledges a request before its handler runs, as upstream does it
	// (oslo_messaging/_drivers/amqpdriver.py, RpcAMQPListener): it is run at most once, and
	// lost when the server dies with it.
	//
	// Where nobody but its sender keeps a request (driver.CapAckOnReceipt), the driver does not
	// acknowledge it, but the server, once it has it and before it runs any of what came with it:
	// a driver that dies in between loses nothing, and the promise is the same. A shutdown gives
	// back what was not acknowledged yet, which was not begun either.
	AckBeforeDispatch AckPolicy = iota
	// AckAfterHandler acknowledges a request when its handler has returned and its reply was
	// taken or given up: when the server dies with it, another gets it, so that it may run more
	// than once. It is for methods that may be repeated, and costs a second trip to the broker.
	//
	// A shutdown gives back to the broker what it did not begin, handlers that did not return in
	// time, and those that failed because the shutdown cancelled their context. A handler's
	// error, panics included, is an answer like any other and never brings the request back; a
	// handler that ends the process does, for ever: look at RequestInfo.Redelivered. It needs a
	// driver that can give requests back (driver.CapRequeue).
	AckAfterHandler
)

// apply is what the policy is to a driver that can do what info says.
func (p AckPolicy) apply(src *driver.Source, info driver.Info) {
	switch {
	case p == AckAfterHandler:
		src.Settle = driver.SettleOnDone
	case info.Has(driver.CapAckOnReceipt):
		src.Settle, src.AtMostOnce = driver.SettleOnDone, true
	default:
		src.Settle = driver.SettleOnPoll
	}
}
