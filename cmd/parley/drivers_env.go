// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

func (a *app) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env NAME",
		Short: "Show the environment that a driver gets",
		Long: `Env shows the variables with which this program would start the driver NAME, and where each
comes from: host is this program's environment, of which a driver gets a few variables alone,
passed is what --pass-env names, parley is set for each process. What looks like a secret is
masked. Another application gives its drivers those of its own environment.`,
		Example: `  parley drivers env rabbit
  parley drivers env rabbit --pass-env KRB5CCNAME -o json`,
		Args: exactArgs("the driver's name"),
		RunE: a.begin(func(_ context.Context, args []string) error { return a.driverEnvironment(args[0]) }),
	}
}

func (a *app) driverEnvironment(name string) error {
	u, err := messaging.ParseURL(name+"://", a.aliases)
	if err != nil {
		return usagef("see: parley drivers list", "%q cannot be a driver: %v", shorten(name), messageOf(err))
	}
	h := a.host()
	var others []string
	found := false
	for _, f := range h.Drivers() {
		others = append(others, f.Name)
		found = found || f.Name == u.Driver
	}
	if !found {
		return &messaging.Error{
			Code: messaging.CodeUnavailable, Op: "show environment", Message: "no driver \"" + u.Driver + "\" is found",
			Hint: missingHint(u.Driver, others),
		}
	}
	entries := h.DriverEnvironment()
	if a.json() {
		return printJSON(a.stdout, entries)
	}
	rows := [][]string{{"ORIGIN", "NAME", "VALUE"}}
	for _, e := range entries {
		value := e.Value
		if e.Origin == "parley" {
			value = "(made for each process)"
		}
		rows = append(rows, []string{e.Origin, e.Name, value})
	}
	return a.printRows(rows, nil)
}

// printRows prints a table. below, when not nil, writes what belongs under a row.
func (a *app) printRows(rows [][]string, below func(row int) string) error {
	p := a.paint(a.stdout)
	widths := columnWidths(rows)
	var text strings.Builder
	for i, row := range rows {
		say(&text, "%s\n", strings.TrimRight(formatRow(p, row, widths), " "))
		if below == nil || i == 0 {
			continue
		}
		if more := below(i - 1); more != "" {
			say(&text, "    %s\n", more)
		}
	}
	return a.print(text.String())
}
