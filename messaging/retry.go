// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// The waits between tries of a request that was not sent, as upstream's defaults make them
// (oslo_messaging/_drivers/impl_rabbit.py: rabbit_retry_interval, rabbit_retry_backoff,
// rabbit_interval_max).
const (
	firstRetry = time.Second
	retryStep  = 2 * time.Second
	lastRetry  = 31 * time.Second
)

// retries is the retry policy at work on one request. There is one policy for calls and casts,
// and for whatever keeps them from being sent. Without a number of retries the driver itself
// waits for its broker (SEND-4), and what it reports is final; with one the request is sent
// with FailFast, and the waiting is done here.
type retries struct {
	limit      int  // of tries again; negative is as long as there is time
	repeatable bool // the method may run more than once for one request

	unsent   int // tries again so far, after failures that certainly sent nothing
	doubtful int // and after those that may have
}

// after says whether, and after which pause, a request is tried again that failed with err.
func (r *retries) after(err error) (pause time.Duration, again bool) {
	switch {
	case err == nil:
		return 0, false
	case inDoubt(err):
		if !r.repeatable || r.exhausted(r.doubtful) {
			return 0, false
		}
		r.doubtful++
		return min(firstResend<<min(r.doubtful-1, 10), lastResend), true
	case r.limit < 0 || !heals(err) || r.exhausted(r.unsent):
		return 0, false
	default:
		r.unsent++
		return min(firstRetry+time.Duration(r.unsent-1)*retryStep, lastRetry), true
	}
}

func (r *retries) exhausted(n int) bool { return r.limit >= 0 && n >= r.limit }

// heals reports whether waiting may mend what kept a request from being sent: a connection
// problem, which is all that upstream's retry is about.
func heals(err error) bool {
	switch driver.ReasonOf(err) {
	case driver.ReasonNotConnected, driver.ReasonBrokerBlocked, driver.ReasonDriverGone:
		return driver.AsError(err).Retryable
	default:
		return false
	}
}
