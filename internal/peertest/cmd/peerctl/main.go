// SPDX-License-Identifier: Apache-2.0

// Peerctl starts a broker for as long as it runs, so that several test
// processes can share it.
//
//	peerctl rabbitmq --descriptor FILE
//
// starts a RabbitMQ node, writes FILE when the node takes connections, and runs
// until it gets SIGINT or SIGTERM or its standard input ends. Tests use the
// node when PARLEY_TEST_RABBITMQ names the file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/parleymq/parley/internal/peertest"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peerctl:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 || args[0] != "rabbitmq" {
		return errors.New("usage: peerctl rabbitmq --descriptor FILE")
	}
	flags := flag.NewFlagSet("peerctl rabbitmq", flag.ContinueOnError)
	descriptor := flags.String("descriptor", "", "`file` to write when the node is ready")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *descriptor == "" {
		return errors.New("rabbitmq needs --descriptor FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever started this and was killed cannot send a signal any more, but its
	// end of the pipe is closed.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return serve(ctx, *descriptor, stdout)
}

func serve(ctx context.Context, descriptor string, stdout io.Writer) (err error) {
	node, err := peertest.StartRabbitMQ(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := node.WriteDescriptor(descriptor); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(descriptor)) }()
	if _, err := fmt.Fprintf(stdout, "rabbitmq is ready: %s\n", node.URL("/")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
