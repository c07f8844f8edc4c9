// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

type castFlags struct {
	request
	fanout    bool
	mandatory bool
}

func (a *app) castCommand() *cobra.Command {
	var f castFlags
	cmd := &cobra.Command{
		Use:   "cast [flags] METHOD [ARG...]",
		Short: "Start a method without waiting for it",
		Long: `Cast sends a request to run METHOD and ends once the broker has taken it, or a server where
there is no broker. Whether a server behind the broker received it, and what came of it, is
not known. With --fanout every server of the topic gets it, without it one does. Arguments are written as for "parley call".

Nothing is printed; with -o json the result is null.`,
		Example: `  parley cast --topic demo echo greeting=hello
  parley cast --topic compute --fanout refresh reason=upgrade
  parley cast --topic demo --mandatory echo || echo "nobody there: status $?"`,
		Args: needMethod,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.fanout, "fanout", false, "send to every server of the topic")
	cmd.Flags().BoolVar(&f.mandatory, "mandatory", false, "fail with status 5 when no server can receive it")
	cmd.RunE = a.begin(func(ctx context.Context, args []string) error { return a.cast(ctx, &f, args) })
	return cmd
}

func (a *app) cast(ctx context.Context, f *castFlags, args []string) error {
	if f.fanout && f.target.target.Server != "" {
		return usagef("address one server or all of them", "both --server and --fanout are given")
	}
	f.target.target.Fanout = f.fanout
	ctx, p, err := f.check(ctx, a, args)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(bounded, a.host(), p.url)
	if err != nil {
		return err
	}
	defer s.close()
	client := messaging.NewRPCClient(s.Transport, f.target.target, &messaging.RPCClientOptions{
		Timeout: f.timeout, Retry: &f.retry, Mandatory: f.mandatory,
	})
	if err := client.Cast(bounded, p.method, p.args); err != nil {
		return s.explain(err)
	}
	if a.json() {
		return printJSON(a.stdout, nil)
	}
	return nil
}
