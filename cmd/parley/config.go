// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// config is what a --config file says that is no flag's default.
type config struct {
	url     string
	urlFile string
}

// setting is one line of a configuration file.
type setting struct {
	name, value string
	line        int
}

// loadConfig reads the --config file. Its settings are the defaults of flags: a flag on the
// command line wins, and so does PARLEY_URL over its url.
func (a *app) loadConfig(cmd *cobra.Command) error {
	if a.configFile == "" {
		return nil
	}
	text, err := os.ReadFile(a.configFile)
	if err != nil {
		return usagef("check the path after --config", "cannot read the configuration: %v", err)
	}
	settings, err := parseConfig(string(text))
	if err != nil {
		return inFile(a.configFile, err)
	}
	byCommandLine := make(map[string]bool)
	cmd.Flags().Visit(func(f *pflag.Flag) { byCommandLine[f.Name] = true })
	for _, s := range settings {
		if err := a.apply(cmd, s, byCommandLine[s.name]); err != nil {
			return inFile(a.configFile, err)
		}
	}
	return nil
}

func inFile(file string, err error) error {
	if e, ok := errors.AsType[*usageError](err); ok {
		return &usageError{message: file + ": " + e.message, hint: e.hint}
	}
	return fmt.Errorf("%s: %w", file, err)
}

// apply gives one setting to its flag. A flag of some other command is fine: one file serves
// all of them.
func (a *app) apply(cmd *cobra.Command, s setting, overridden bool) error {
	switch s.name {
	case "url":
		a.config.url = s.value
		return nil
	case "url-file":
		a.config.urlFile = s.value
		return nil
	case "config", "help":
		return usagef("remove it", "line %d: %q cannot be set in a file", s.line, s.name)
	}
	f := cmd.Flags().Lookup(s.name)
	switch {
	case f == nil && !knownFlag(cmd.Root(), s.name):
		return usagef("names are those of flags, without the dashes", "line %d: there is no setting %q", s.line, s.name)
	case f == nil || overridden:
		return nil
	}
	if err := f.Value.Set(s.value); err != nil {
		return usagef("see what --"+s.name+" takes in --help", "line %d: %s: %v", s.line, s.name, err)
	}
	return nil
}

// knownFlag reports whether any command at or below cmd has the flag.
func knownFlag(cmd *cobra.Command, name string) bool {
	if cmd.Flags().Lookup(name) != nil {
		return true
	}
	for _, c := range cmd.Commands() {
		if knownFlag(c, name) {
			return true
		}
	}
	return false
}

// parseConfig reads "name = value" lines; "#" begins a line of comment. A name that is
// repeated is a list where its flag is one.
func parseConfig(text string) ([]setting, error) {
	var settings []setting
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			// The line is not shown: it may hold a password.
			return nil, usagef(`write "name = value"`, "line %d is not a setting", n)
		}
		settings = append(settings, setting{name: name, value: strings.TrimSpace(value), line: n})
	}
	return settings, nil
}

// warnReadable tells when a file that holds a password can be read by others.
func (a *app) warnReadable(file string) {
	info, err := os.Stat(file)
	if err != nil || info.Mode()&fs.ModeType != 0 || info.Mode().Perm()&0o044 == 0 {
		return
	}
	a.warn("other users can read the password in " + file + "; run: chmod go-rwx " + file)
}
