// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/internal/version"
)

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Version prints the version of this program and what it was built with. Drivers have
versions of their own: "parley drivers show NAME" prints them.`,
		Example: `  parley version
  parley version -o json`,
		Args: exactArgs(),
		RunE: a.begin(func(context.Context, []string) error { return a.printVersion() }),
	}
}

func (a *app) printVersion() error {
	info := versionInfo{
		Version: version.Number, Revision: version.Revision(),
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if a.json() {
		return printJSON(a.stdout, info)
	}
	parts := []string{"parley", info.Version}
	if info.Revision != "" {
		parts = append(parts, "("+info.Revision[:min(12, len(info.Revision))]+")")
	}
	return a.print(strings.Join(append(parts, info.Go, info.Platform), " ") + "\n")
}
