// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

func (a *app) installCommand() *cobra.Command {
	var o messaging.InstallOptions
	cmd := &cobra.Command{
		Use:   "install FILE",
		Short: "Put a driver where applications find it",
		Long: `Install asks the program FILE what it is, copies it as parley-driver-NAME_vX.Y.Z into the user's
directory of drivers or that of --dir, and records its checksum. Other versions stay beside it;
the newest is used unless an application pins one. Applications that run go on with what they
have until they reload it.

FILE and its directory must not be writable by others, since FILE is run.`,
		Example: `  parley drivers install ./parley-driver-rabbit
  parley drivers install ./my-build --version 0.9.1 --dir /usr/local/lib/parley/drivers`,
		Args: exactArgs("the driver's file"),
		RunE: a.begin(func(ctx context.Context, args []string) error { return a.installDriver(ctx, args[0], o) }),
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory to put it into (default: the user's directory of drivers)")
	cmd.Flags().StringVar(&o.Version, "version", "", "version of a driver that does not say X.Y.Z of itself")
	return cmd
}

func (a *app) installDriver(ctx context.Context, file string, o messaging.InstallOptions) error {
	h := a.host()
	d, err := h.Install(ctx, file, &o)
	if err != nil {
		return err
	}
	if a.json() {
		return printJSON(a.stdout, d)
	}
	var text strings.Builder
	say(&text, "%s %s: %s\n    %s\n", d.Name, d.Version, d.Path, acceptance(d.DriverFile))
	for _, other := range d.Others {
		say(&text, "    %s stays\n", other.Path)
	}
	if err := a.print(text.String()); err != nil {
		return err
	}
	a.warnNotUsed(h, d)
	return nil
}

// warnNotUsed tells when another file is used for the name than the one just installed.
func (a *app) warnNotUsed(h *messaging.Host, d messaging.InstalledDriver) {
	used := chosen(h.Drivers(), d.Name)
	switch {
	case used == nil:
		a.warn(d.Dir + " is not searched for drivers; name it with --driver-path or PARLEY_DRIVER_PATH")
	case used.Path != d.Path:
		a.warn("for " + d.Name + ", " + used.Path + " is used: it comes first")
	}
}
