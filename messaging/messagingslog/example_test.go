// SPDX-License-Identifier: Apache-2.0

package messagingslog_test

import (
	"log/slog"
	"os"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingslog"
)

// ExampleNewHandler logs everything to standard error, and notifies of errors.
func ExampleNewHandler() {
	setUp := func(t *messaging.Transport) {
		n := messaging.NewNotifier(t, &messaging.NotifierOptions{PublisherID: "compute.host1"})
		slog.SetDefault(slog.New(slog.NewMultiHandler(
			slog.NewJSONHandler(os.Stderr, nil),
			messagingslog.NewHandler(n, &messagingslog.Options{Level: slog.LevelError}),
		)))
	}
	_ = setUp
}
