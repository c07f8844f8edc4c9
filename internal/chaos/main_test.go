// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// buildTimeout bounds a build from nothing, on a busy machine.
const buildTimeout = 3 * time.Minute

var (
	// driverBuilt is the file of the rabbit driver.
	driverBuilt string
	// broker is that of all runs, one after the other, and errBroker why there is none.
	broker    *peertest.RabbitMQ
	errBroker error
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	if err := testbed.EndQuickly(); err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	driverBuilt = filepath.Join(dir, "driver")
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	var starting sync.WaitGroup
	starting.Go(func() { broker, errBroker = peertest.StartRabbitMQ(ctx, &peertest.RabbitMQOptions{Plain: true}) })
	err = testbed.Build(ctx, driverBuilt, "plugins/rabbit")
	starting.Wait()
	if err != nil {
		if broker != nil {
			err = errors.Join(err, broker.Close())
		}
		return fail(err)
	}
	code := m.Run()
	if broker != nil {
		if err := broker.Close(); err != nil && code == 0 {
			return fail(err)
		}
	}
	if err := goleak.Find(goleak.IgnoreAnyFunction(sabotageLeak)); err != nil && code == 0 {
		return fail(err)
	}
	return code
}
