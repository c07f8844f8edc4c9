// SPDX-License-Identifier: Apache-2.0

// Command parley calls, serves and examines oslo.messaging services from a terminal.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run gives deferred calls their turn before the exit.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the work in order; a second one ends the process.
	defer context.AfterFunc(ctx, stop)()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	return a.main(ctx, os.Args[1:])
}
