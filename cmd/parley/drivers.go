// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// What became of a driver's file.
const (
	statusChosen   = "chosen"
	statusShadowed = "shadowed"
	statusRefused  = "refused"
)

func (a *app) driversCommand() *cobra.Command {
	list := a.begin(func(context.Context, []string) error { return a.listDrivers() })
	cmd := &cobra.Command{
		Use:   "drivers",
		Short: "Show which drivers are found, and what they can do",
		Long: `Drivers are programs named parley-driver-NAME, where NAME is the scheme of a transport URL.
They are looked for in the directories of --driver-path, in those of PARLEY_DRIVER_PATH, in the
user's data directory, in the system's, and beside this program. The first file found for a
name is used. Without a command below it, "parley drivers" lists them.`,
		Example: `  parley drivers
  parley drivers list -o json
  parley drivers show rabbit
  parley drivers ps`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(cmd, args)
			}
			return list(cmd, args)
		},
	}
	cmd.AddCommand(a.acceptCommand(), a.installCommand(), a.psCommand(), a.reloadCommand(), a.envCommand(), &cobra.Command{
		Use:   "list",
		Short: "List the files that are found, and what became of them",
		Long: `List shows every file that looks like a driver, in the order of the search, without starting
any. A file is chosen, shadowed by one that came first, or refused: then it says why, and
what helps. TRUST tells how its checksum stands: recorded, new while nothing is recorded of the
file, or changed since it was.`,
		Example: `  parley drivers list
  parley drivers list --driver-path ./bin/drivers -o json`,
		Args: exactArgs(),
		RunE: list,
	}, &cobra.Command{
		Use:   "show NAME",
		Short: "Start a driver and show its options and capabilities",
		Long: `Show starts the driver that a transport URL with the scheme NAME would get, asks what it is,
and prints its version, what it can do and the options that may stand in the URL's query.
No broker is needed.`,
		Example: `  parley drivers show rabbit
  parley drivers show kombu -o json`,
		Args: exactArgs("the driver's name"),
		RunE: a.begin(func(ctx context.Context, args []string) error { return a.showDriver(ctx, args[0]) }),
	})
	return cmd
}

func (a *app) listDrivers() error {
	h := a.host()
	files := h.CheckDrivers()
	if a.json() {
		return printJSON(a.stdout, append([]messaging.DriverFile{}, files...))
	}
	if len(files) == 0 {
		a.printNoDrivers(h)
		return nil
	}
	p := a.paint(a.stdout)
	rows := [][]string{{"NAME", "VERSION", "STATUS", "TRUST", "FROM", "FILE"}}
	for _, f := range files {
		rows = append(rows, []string{f.Name, cmp.Or(f.Version, "-"), f.Status, cmp.Or(f.Trust, "-"), f.Origin, f.Path})
	}
	widths := columnWidths(rows)
	var text strings.Builder
	for i, row := range rows {
		say(&text, "%s\n", formatRow(p, row, widths))
		if i > 0 {
			printWhy(&text, files[i-1])
		}
	}
	return a.print(text.String())
}

func columnWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	return widths
}

// formatRow pads before it colours, since colours have no width.
func formatRow(p paint, row []string, widths []int) string {
	cells := make([]string, len(row))
	for i, cell := range row {
		if i == len(row)-1 {
			cells[i] = cell
			continue
		}
		cells[i] = p.status(cell, pad(cell, widths[i]))
	}
	return strings.Join(cells, "  ")
}

// status colours text by the status it stands for.
func (p paint) status(status, text string) string {
	switch status {
	case statusChosen, stepOK:
		return p.green(text)
	case statusShadowed, stepWarn:
		return p.yellow(text)
	case statusRefused, stepFail, trustChanged, trustUnknown:
		return p.red(text)
	default:
		return text
	}
}

// printWhy explains below its line why a file is not used.
func printWhy(w io.Writer, f messaging.DriverFile) {
	switch f.Status {
	case statusShadowed:
		say(w, "    shadowed by %s\n", f.Why)
	case statusRefused:
		say(w, "    refused because %s\n", f.Why)
	}
	if f.TrustWhy != "" {
		say(w, "    %s\n", f.TrustWhy)
	}
}

// printNoDrivers says where was looked. It is no result, so it goes to standard error.
func (a *app) printNoDrivers(h *messaging.Host) {
	say(a.stderr, "parley: no driver is found in any of these directories:\n")
	for _, d := range h.SearchPath() {
		say(a.stderr, "  %s (%s)\n", d.Path, d.Origin)
	}
	say(a.stderr, "  hint: put a parley-driver-NAME into one of them, or name its directory with --driver-path\n")
}

// describeTimeout bounds the start of a driver to describe it.
const describeTimeout = 30 * time.Second

// shownDriver is what drivers show prints for programs.
type shownDriver struct {
	driver.Info
	File *messaging.DriverFile `json:"file,omitempty"`
}

func (a *app) showDriver(ctx context.Context, name string) error {
	u, err := messaging.ParseURL(name+"://", a.aliases)
	if err != nil {
		return usagef("see: parley drivers list", "%q cannot be a driver: %v", shorten(name), messageOf(err))
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	h := a.host()
	info, err := h.Describe(ctx, u.Driver)
	if err != nil {
		return a.openError(h, name+"://", err)
	}
	maskSecrets(info.Options)
	shown := shownDriver{Info: info, File: chosen(h.Drivers(), u.Driver)}
	if a.json() {
		return printJSON(a.stdout, shown)
	}
	return a.printDriver(shown)
}

// messageOf is an error without the operation it belongs to.
func messageOf(err error) string {
	if f := describe(err, false); f.Hint != "" {
		return f.Message + "; " + f.Hint
	}
	return describe(err, false).Message
}

func maskSecrets(options []driver.OptionSpec) {
	for i := range options {
		if options[i].Secret && options[i].Default != "" {
			options[i].Default = "***"
		}
	}
}

func (a *app) printDriver(d shownDriver) error {
	p := a.paint(a.stdout)
	var text strings.Builder
	say(&text, "%s %s\n%s\n\n", p.bold(d.Name), d.Version, d.Summary)
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	if d.File != nil {
		say(w, "file\t%s (%s)\n", d.File.Path, d.File.Origin)
	}
	if len(d.Aliases) > 0 {
		say(w, "aliases\t%s\n", strings.Join(d.Aliases, ", "))
	}
	if d.DefaultPort != 0 {
		say(w, "default port\t%d\n", d.DefaultPort)
	}
	say(w, "capabilities\t%s\n", joinCapabilities(d.Capabilities))
	if len(d.Options) == 0 {
		say(w, "options\tnone\n")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(d.Options) > 0 {
		say(w, "\nOPTION\tTYPE\tDEFAULT\tMEANING\n")
	}
	for _, o := range sortedOptions(d.Options) {
		say(w, "%s\t%s\t%s\t%s\n", o.Name, o.Type, cmp.Or(o.Default, "-"), optionHelp(o))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return a.print(text.String())
}

func joinCapabilities(list []driver.Capability) string {
	if len(list) == 0 {
		return "none"
	}
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = string(c)
	}
	return strings.Join(texts, ", ")
}

func sortedOptions(options []driver.OptionSpec) []driver.OptionSpec {
	return slices.SortedFunc(slices.Values(options), func(a, b driver.OptionSpec) int { return cmp.Compare(a.Name, b.Name) })
}

// optionHelp is the option's help with what its value may be.
func optionHelp(o driver.OptionSpec) string {
	text := o.Help
	if len(o.Choices) > 0 {
		text += " (" + strings.Join(o.Choices, ", ") + ")"
	}
	if bounds := o.Bounds(); bounds != "" {
		text += " (" + bounds + ")"
	}
	if len(o.Renamed) > 0 {
		text += "; formerly " + strings.Join(o.Renamed, ", ")
	}
	return text
}
