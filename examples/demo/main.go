// SPDX-License-Identifier: Apache-2.0

// Command demo shows what Parley is for, with no broker: two servers and a client, each a
// program of its own with a driver process of its own, that find each other by a directory.
// The client calls all the time. One server is killed, then the client's driver, and a table at
// the end tells what that meant for the calls. The program ends with status 0 only when
// everything it promises was seen.
//
//	main.go     the flags, and which of the programs this process is
//	service.go  what is served, and the server's program
//	process.go  the servers as processes: started, killed, stopped
//	load.go     the calls, and what became of them
//	story.go    what happens, in its order, and the promises
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are what the three programs have in common.
type settings struct {
	url  string
	path string // directory with the driver binaries
}

func main() {
	var s settings
	flag.StringVar(&s.path, "driver-path", "", "directory with the driver binaries; PARLEY_DRIVER_PATH when empty")
	flag.StringVar(&s.url, "url", "", "another transport; zmq:// and a private directory when empty")
	name := flag.String("serve", "", "be the server of this name; the demo starts itself so")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	run := runStory
	if *name != "" {
		run = func(ctx context.Context, s settings) error { return serve(ctx, s, *name) }
	}
	if err := run(ctx, s); err != nil {
		fmt.Fprintf(os.Stderr, "demo %s failed: %v\n", *name, err)
		stop()
		os.Exit(1) //nolint:gocritic // nothing is left to be done
	}
}
