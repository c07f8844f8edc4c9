// SPDX-License-Identifier: Apache-2.0

// Peerctl starts a broker for as long as it runs, so that several test
// processes can share it.
//
//	peerctl rabbitmq|brokerj --descriptor FILE
//
// starts a RabbitMQ node or a Broker-J, writes FILE when it takes connections,
// and runs until it gets SIGINT or SIGTERM or its standard input ends. Tests use
// it when PARLEY_TEST_RABBITMQ, or PARLEY_TEST_BROKERJ, names the file.
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

// broker is what can be started here.
type broker interface {
	WriteDescriptor(file string) error
	URL(vhost string) string
	Close() error
}

func start(ctx context.Context, kind string) (broker, error) {
	if kind == "brokerj" {
		return peertest.StartBrokerJ(ctx, nil)
	}
	return peertest.StartRabbitMQ(ctx, nil)
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 || (args[0] != "rabbitmq" && args[0] != "brokerj") {
		return errors.New("usage: peerctl rabbitmq|brokerj --descriptor FILE")
	}
	flags := flag.NewFlagSet("peerctl "+args[0], flag.ContinueOnError)
	descriptor := flags.String("descriptor", "", "`file` to write when the broker is ready")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *descriptor == "" {
		return fmt.Errorf("%s needs --descriptor FILE", args[0])
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
	return serve(ctx, args[0], *descriptor, stdout)
}

func serve(ctx context.Context, kind, descriptor string, stdout io.Writer) (err error) {
	node, err := start(ctx, kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := node.WriteDescriptor(descriptor); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(descriptor)) }() //nolint:gosec // whoever runs it names the file
	if _, err := fmt.Fprintf(stdout, "%s is ready: %s\n", kind, node.URL("")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
