// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// MainWith is [Bed.Main] for tests that do something to what others share: it builds one driver and
// starts no broker. Nobody is kept waiting by what the race detector does at the end of a process.
func (b *Bed) MainWith(m *testing.M, driver string) int {
	code := 1
	err := b.setUpLone(driver)
	if err == nil {
		code = m.Run()
	}
	err = errors.Join(err, os.RemoveAll(b.top))
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return max(code, 1)
	}
	return code
}

func (b *Bed) setUpLone(driver string) (err error) {
	if err := EndQuickly(); err != nil {
		return err
	}
	if b.top, err = os.MkdirTemp("/tmp", "pb"); err != nil {
		return err
	}
	b.Drivers = filepath.Join(b.top, "drivers")
	if err := os.Mkdir(b.Drivers, 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	return Build(ctx, filepath.Join(b.Drivers, "parley-driver-"+driver), "plugins/"+driver)
}
