// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/parleymq/parley/messaging"
)

// each is how long a chapter of the story takes at least.
const each = 2 * time.Second

func say(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// runStory is the program of the client.
func runStory(ctx context.Context, s settings) error {
	if s.url == "" {
		dir, err := os.MkdirTemp("", "parley-demo")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.url = "zmq://" + dir // the programs find each other by this directory
	}
	fmt.Println("Two servers and a client, each with a driver process of its own")
	var servers []*process
	for _, name := range []string{"host1", "host2"} {
		server, err := start(ctx, s, name)
		if err != nil {
			return err
		}
		defer server.stop()
		servers = append(servers, server)
	}
	t, host, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer t.Close(context.WithoutCancel(ctx))
	say("the client is process %d, its driver is process %d", os.Getpid(), driverPID(host))

	client := messaging.NewRPCClient(t, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: timeout})
	calls := beginLoad(ctx, client, "two servers")
	told := tell(ctx, client, servers, calls, host)
	chapters := calls.end()
	printTable(chapters)
	return errors.Join(told, promised(chapters))
}

// tell is what happens while the client calls.
func tell(ctx context.Context, client *messaging.RPCClient, servers []*process, calls *load, host *messaging.Host) error {
	fmt.Println("The client calls 500 times a second")
	if err := wait(ctx, each); err != nil {
		return err
	}

	fmt.Println("A fanout is for every server")
	if err := news.Cast(ctx, client.With(messaging.Fanout()), newsArgs{Text: "lunch is ready"}); err != nil {
		return err
	}
	for _, server := range servers {
		text, err := server.expect(ctx, saysHeard)
		if err != nil {
			return err
		}
		say("%s %s", server.name, text)
	}

	fmt.Println("A server crashes")
	calls.chapter("host1 was killed")
	if err := servers[0].kill(); err != nil {
		return err
	}
	if err := wait(ctx, each); err != nil {
		return err
	}
	calls.settled()

	fmt.Println("The client's driver crashes")
	calls.chapter("the client's driver was killed")
	old := driverPID(host)
	say("kill -9 %d: the driver that the client calls by", old)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		return err
	}
	if err := wait(ctx, each); err != nil {
		return err
	}
	calls.settled()
	if now := driverPID(host); now == old || now == 0 {
		return errors.New("the driver does not run again")
	}
	say("the driver runs again, as process %d; the client is the same program as before", driverPID(host))
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// printTable says what became of the calls.
func printTable(chapters []*chapter) {
	fmt.Println("\nWhat became of the calls")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tended\tby host1\tby host2\tin doubt\tfailed\tlongest pause\t")
	for _, c := range chapters {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%v\t\n", c.title, c.calls, c.answered["host1"], c.answered["host2"],
			c.inDoubt, c.failed, c.pause.Round(time.Millisecond))
	}
	_ = t.Flush()
	for _, c := range chapters {
		if c.err != nil {
			fmt.Printf("\nafter %s, one caller was told:\n  %v\n", c.title, c.err)
		}
	}
}

// promised returns what was promised and did not come to pass.
func promised(chapters []*chapter) error {
	if len(chapters) != 3 {
		return errors.New("the story was not told to its end")
	}
	var broken []error
	promise := func(kept bool, what string) {
		if !kept {
			broken = append(broken, errors.New("not so: "+what))
		}
	}
	both, server, driver := chapters[0], chapters[1], chapters[2]
	promise(min(both.answered["host1"], both.answered["host2"]) > both.calls/4, "each of two servers gets its share of the calls")
	promise(both.inDoubt == 0, "while all is well, every call is answered")
	promise(server.answered["host2"] > server.calls/2, "the calls go on when a server is gone")
	promise(driver.answered["host2"] > driver.calls/2, "the calls go on when a driver is gone")
	for _, c := range chapters {
		promise(c.failed == 0, "what is not answered is in doubt, and says so")
		promise(c.pause < timeout, "a crash is a pause, and a short one")
	}
	if len(broken) == 0 {
		fmt.Println("\nall promises were kept")
	}
	return errors.Join(broken...)
}
