// SPDX-License-Identifier: Apache-2.0

// Command probe is the fake driver, which tells how many goroutines it has when it gets SIGUSR1.
package main

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/parleymq/parley/internal/cost"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/sdk"
)

func main() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go tell(asked, slog.New(slog.NewJSONHandler(os.Stderr, nil))) // ends with the process
	sdk.Serve(memory.New(), nil)
}

func tell(asked <-chan os.Signal, logger *slog.Logger) {
	for range asked {
		debug.FreeOSMemory()
		// Without this goroutine and the one that takes the signals.
		logger.Info(cost.ProbeMessage, cost.ProbeAttribute, runtime.NumGoroutine()-2)
	}
}
