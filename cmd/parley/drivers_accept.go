// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

// What a driver's checksum must be, as --trust says it.
const (
	trustLock    = "lock"
	trustOff     = "off"
	trustRequire = "require"
)

func trustModes() map[string]messaging.TrustMode {
	return map[string]messaging.TrustMode{
		trustLock: messaging.TrustLock, trustOff: messaging.TrustOff, trustRequire: messaging.TrustRequire,
	}
}

// How the checksum of a driver's file stands, when it is to be seen.
const (
	trustChanged = "changed"
	trustUnknown = "unknown"
)

func (a *app) acceptCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "accept NAME|FILE",
		Short: "Trust a driver's file as it is now",
		Long: `Accept records the checksum that a driver's file has now. NAME stands for the file that is used
for it, FILE for itself; --all for every file that is found, or that is found for NAME.

The checksum of a driver is recorded when it is first used. A file that has another one later
is not started until it is accepted, so accept what you or your system have replaced, and
nothing else. What others could have written to is not accepted.`,
		Example: `  parley drivers accept rabbit
  parley drivers accept ~/.local/share/parley/drivers/parley-driver-rabbit_v1.2.0
  parley drivers accept --all --driver-path ./bin/drivers`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) == 0 {
				return nil
			}
			return exactArgs("the driver's name or file")(cmd, args)
		},
		RunE: a.begin(func(_ context.Context, args []string) error {
			if all {
				return a.acceptAll(strings.Join(args, ""))
			}
			return a.acceptDrivers(args)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "accept all files that are found, whatever their versions")
	return cmd
}

// acceptAll accepts what is found, for one name or for all.
func (a *app) acceptAll(name string) error {
	var paths []string
	for _, f := range a.host().Drivers() {
		if f.Status != statusRefused && (name == "" || name == f.Name) {
			paths = append(paths, f.Path)
		}
	}
	if len(paths) == 0 {
		return &messaging.Error{
			Code: messaging.CodeUnavailable, Op: "accept drivers", Message: "no file is found that could be accepted",
			Hint: "see: parley drivers list",
		}
	}
	return a.acceptDrivers(paths)
}

// acceptDrivers accepts each by its name or path, and stops at the first that cannot be.
func (a *app) acceptDrivers(names []string) error {
	h := a.host()
	done := make([]messaging.DriverFile, 0, len(names))
	for _, name := range names {
		f, err := h.Accept(name)
		if err != nil {
			return err
		}
		done = append(done, f)
	}
	if a.json() {
		return printJSON(a.stdout, done)
	}
	var text strings.Builder
	for _, f := range done {
		say(&text, "%s: %s\n    %s\n", f.Name, f.Path, acceptance(f))
	}
	return a.print(text.String())
}

// acceptance tells the checksum and the one before.
func acceptance(f messaging.DriverFile) string {
	switch f.Recorded {
	case "":
		return "recorded " + f.Checksum
	case f.Checksum:
		return "as it was recorded: " + f.Checksum
	default:
		return fmt.Sprintf("recorded %s\n    before   %s", f.Checksum, f.Recorded)
	}
}
