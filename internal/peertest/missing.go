// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// ErrMissing is in the chain of every error about a peer that is not installed.
var ErrMissing = errors.New("not installed here: run 'make test', which installs it, or internal/peertest/install.sh")

// optionalVariable turns a missing peer from a failure into a loud skip.
const optionalVariable = "PARLEY_TEST_OPTIONAL"

// missing says that what is not installed.
func missing(what string, cause error) error {
	return fmt.Errorf("%s is %w (%w)", what, ErrMissing, cause)
}

// require ends the test when err is set. A test that cannot meet its peer has
// proven nothing, so it fails unless the person running it said otherwise.
func require(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if errors.Is(err, ErrMissing) && os.Getenv(optionalVariable) == "1" {
		tb.Skipf("NOT PROVEN: %s: %v", tb.Name(), err)
	}
	tb.Fatal(err)
}
