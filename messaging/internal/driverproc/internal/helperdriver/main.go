// SPDX-License-Identifier: Apache-2.0

// Command helperdriver is the driver that the tests of package host start: a go-plugin
// server without a service, with faults on request.
//
// HELPER_MODE names the fault, HELPER_MAJOR the protocol major that it serves.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// service serves nothing: go-plugin's own health service is enough for the tests.
type service struct{ plugin.NetRPCUnsupportedPlugin }

func (service) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the driver's side")
}

func main() {
	if err := misbehave(os.Getenv("HELPER_MODE")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	major := 1
	if text := os.Getenv("HELPER_MAJOR"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		major = n
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: "PARLEY_HELPER", MagicCookieValue: "parley",
		},
		VersionedPlugins: map[int]plugin.PluginSet{major: {"helper": service{}}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger: hclog.New(&hclog.LoggerOptions{
			Level: hclog.Debug, Output: os.Stderr, JSONFormat: true,
		}),
	})
}

func misbehave(mode string) error {
	switch mode {
	case "":
		return nil
	case "noise":
		for i := range 50 {
			_, _ = fmt.Fprintf(os.Stdout, "starting up, step %d | of | 50\n", i)
		}
		return nil
	case "print-later":
		stdout, stderr := os.Stdout, os.Stderr // go-plugin replaces the variables
		onUsr1(func() {
			for i := range 20000 {
				_, _ = fmt.Fprintf(stdout, "line %d of a driver that prints\n", i)
			}
			_, _ = fmt.Fprintln(stderr, `{"level":"INFO","msg":"printed all"}`)
		})
		return nil
	case "flood":
		flood(os.Getenv("HELPER_STREAM"), os.Getenv("HELPER_TEXT"))
		return nil
	case "close-stdout":
		stdout := os.Stdout
		onUsr1(func() { _ = stdout.Close() })
		return nil
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
		return nil
	case "bad-log":
		fmt.Fprintln(os.Stderr, `{"@message":{"not":"a text"},"@level":7,"@timestamp":[]}`)
		return nil
	case "child":
		return startChild()
	case "panic":
		onUsr1(func() { panic("boom in the driver") })
		return nil
	case "tell-secret":
		return tellSecret(os.Getenv("HELPER_SECRET"))
	case "lifeline":
		return watchLifeline()
	case "exit":
		os.Exit(3)
	}
	return fmt.Errorf("unknown HELPER_MODE %q", mode)
}

// flood prints without an end when it is told to.
func flood(stream, text string) {
	out := os.Stdout // go-plugin replaces the variables
	if stream == "stderr" {
		out = os.Stderr
	}
	piece := []byte(strings.Repeat("a line of a driver that prints\n", 1000))
	switch text {
	case "line":
		piece = bytes.Repeat([]byte("x"), 64<<10)
	case "long lines":
		piece = append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	case "binary":
		piece = make([]byte, 64<<10)
		for i := range piece {
			piece[i] = byte(i * i >> 3)
		}
	case "json":
		piece = []byte(strings.Repeat(`{"@level":"info","@message":"`+strings.Repeat("m", 1000)+"\"}\n", 60))
	}
	onUsr1(func() {
		for {
			if _, err := out.Write(piece); err != nil {
				return
			}
		}
	})
}

func onUsr1(do func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		<-signals
		do()
	}()
}

// tellSecret prints a secret in every way there is, when it is told to, and dies of it.
func tellSecret(secret string) error {
	stdout := os.Stdout // go-plugin replaces the variables
	stderr := os.Stderr
	quoted, err := json.Marshal(secret)
	if err != nil {
		return err
	}
	onUsr1(func() {
		_, _ = fmt.Fprintf(stdout, "stdout has %s\n", secret)
		_, _ = fmt.Fprintf(stderr, "text has %s\n", secret)
		_, _ = fmt.Fprintf(stderr, "dialling amqp://user:%s@broker\n", url.QueryEscape(secret))
		_, _ = fmt.Fprintf(stderr, `{"level":"ERROR","msg":"message has %s","password":%s,"deep":{"list":[%s]}}`+"\n",
			quoted[1:len(quoted)-1], quoted, quoted)
		panic("cannot log in with " + secret)
	})
	return nil
}

// startChild leaves a child that holds stdout and stderr, as a shell wrapper's may.
func startChild() error {
	child := exec.Command("sleep", "1000") //nolint:noctx // it is meant to be left behind
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if os.Getenv("HELPER_SETSID") == "1" {
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if os.Getenv("HELPER_CLEAR") != "" {
		child.Env = []string{"PATH=" + os.Getenv("PATH")}
	}
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "{\"level\":\"INFO\",\"msg\":\"child\",\"child\":%d}\n", child.Process.Pid)
	return nil
}

// watchLifeline exits with code 7 when the host is gone.
func watchLifeline() error {
	fd, err := strconv.Atoi(os.Getenv("PARLEY_LIFELINE_FD"))
	if err != nil {
		return err
	}
	lifeline := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, lifeline)
		os.Exit(7)
	}()
	return nil
}
