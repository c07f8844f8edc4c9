// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	// countVariable is how many notifications a run sends.
	countVariable = "PARLEY_NOTIFYFAULTS_COUNT"
	// keepVariable keeps the files of runs.
	keepVariable = "PARLEY_NOTIFYFAULTS_KEEP"
	// brokerTimeout bounds a start and a stop of a broker, on a machine that does other things.
	brokerTimeout = 3 * time.Minute
	// shortCount is of a run without the variable, longCount the least with the faults of a long run.
	shortCount, longCount = 4000, 50_000
)

// bed has the driver, and the broker of the tests that do nothing to it.
var bed testbed.Bed

func TestMain(m *testing.M) {
	testbed.ActAsApp(actAsApp)
	if err := testbed.EndQuickly(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(bed.Main(m, nil))
}

// sharedBroker returns a broker, and a virtual host of the test's own: nothing happens to that broker.
func sharedBroker(t *testing.T) (broker *peertest.RabbitMQ, vhost string) {
	t.Helper()
	broker = bed.Broker(t)
	return broker, broker.NewVhost(t)
}

// startBroker starts a broker of the test's own.
func startBroker(t *testing.T) *peertest.RabbitMQ {
	t.Helper()
	bed.Broker(t) // fails or skips where there is no RabbitMQ
	return peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{Plain: true, StartTimeout: brokerTimeout, StopTimeout: brokerTimeout})
}

// wanted is how many notifications a run sends.
func wanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv(countVariable)
	if text == "" {
		return shortCount
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 {
		t.Fatalf("%s is %q: want a number, 100 at least", countVariable, text)
	}
	return n
}
