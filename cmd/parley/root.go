// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

// app is one run of the command: its streams and what all commands share.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	env    func(string) string

	output     string
	logLevel   string
	driverPath []string
	lockFile   string
	trustMode  string
	runtimeDir string
	pinPairs   []string
	passEnv    []string
	aliasPairs []string
	configFile string

	config  config            // what configFile says
	aliases map[string]string // of aliasPairs
	pins    map[string]string // of pinPairs
	reloads bool              // the command runs for long, and reloads its driver by a signal
	logger  *slog.Logger
	begun   bool // flags and arguments were fine; errors before are wrong usage
}

// main runs the command and returns the exit status.
func (a *app) main(ctx context.Context, args []string) int {
	if wantsJSON(args) {
		a.output = outputJSON // for errors in the flags themselves
	}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.begun {
		err = asUsage(err)
	}
	return a.finish(ctx, err)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "parley",
		Short: "Call, serve and examine oslo.messaging services",
		Long: `Parley speaks oslo.messaging: remote procedure calls over a message broker, as the
services of OpenStack use them. The broker is named by a transport URL, and what speaks to it
is a driver, a separate program that is looked for in a few directories.

The URL comes from --url-file, --url, the environment variable PARLEY_URL or the file of
--config. A password given with --url can be read by every user of this machine: prefer
the other ways. No output ever shows one.

Results go to standard output, everything else to standard error. The exit status tells
what happened: 0 done, 1 the remote side raised an error, 2 wrong usage or configuration,
3 no answer in time, 4 driver or broker not to be had, 5 undeliverable, 130 interrupted.`,
		Example: `  export PARLEY_URL=rabbit://localhost:5672/
  parley serve --topic demo --server one --echo &
  parley call --topic demo echo greeting=hello count:=3
  parley doctor`,
		Args:              cobra.ArbitraryArgs, // so that noCommand sees them
		RunE:              noCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("see: "+cmd.CommandPath()+" --help", "%v", err)
	})
	a.addGlobalFlags(root)
	root.AddCommand(
		a.callCommand(), a.castCommand(), a.serveCommand(), a.notifyCommand(), a.listenCommand(),
		a.queuesCommand(), a.driversCommand(), a.doctorCommand(), a.benchCommand(), a.versionCommand(),
	)
	return root
}

func (a *app) addGlobalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", outputText, "form of results and errors: text or json")
	f.StringVar(&a.logLevel, "log-level", "", "log records to show: debug, info, warn, error or off\n(default \"warn\" for serve and bench, else \"off\": the error says it)")
	f.StringArrayVar(&a.driverPath, "driver-path", nil, "directory to search for drivers before all others (repeatable)")
	f.StringVar(&a.lockFile, "lock-file", "", "file of the drivers' checksums (default: PARLEY_LOCK_FILE, or parley.lock in the user's state directory)")
	f.StringVar(&a.trustMode, "trust", trustLock, "checksum that a driver must have: lock, off or require")
	f.StringVar(&a.runtimeDir, "runtime-dir", "", "directory for sockets and the status of drivers (default: PARLEY_RUNTIME_DIR,\nXDG_RUNTIME_DIR or the directory for temporary files)")
	f.StringArrayVar(&a.pinPairs, "pin", nil, "version of a driver to use in place of the newest, as NAME=VERSION (repeatable)")
	f.StringArrayVar(&a.passEnv, "pass-env", nil, "variable of the environment that drivers get too (repeatable)")
	f.StringArrayVar(&a.aliasPairs, "alias", nil, "further name of a driver, as OLD=NEW (repeatable)")
	f.StringVar(&a.configFile, "config", "", "file of defaults, a \"name = value\" a line, for any flag")
}

// prepare reads the configuration and checks the flags that all commands share.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := a.loadConfig(cmd); err != nil {
		return err
	}
	if a.output != outputText && a.output != outputJSON {
		bad := a.output
		a.output = outputText
		return usagef("use -o text or -o json", "there is no output form %q", bad)
	}
	if _, ok := trustModes()[a.trustMode]; !ok {
		return usagef("use lock, off or require", "there is no trust %q", a.trustMode)
	}
	if err := a.makeLogger(cmd); err != nil {
		return err
	}
	a.reloads = longRunning(cmd)
	var err error
	if a.pins, err = parsePins(a.pinPairs); err != nil {
		return err
	}
	a.aliases, err = parseAliases(a.aliasPairs)
	return err
}

// levelOff is above every level that records have.
const levelOff = slog.Level(1000)

// makeLogger makes the logger. A command that ends with its one error does not log it too.
func (a *app) makeLogger(cmd *cobra.Command) error {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError, "off": levelOff,
	}
	if a.logLevel == "" {
		a.logLevel = "off"
		if longRunning(cmd) {
			a.logLevel = "warn"
		}
	}
	level, ok := levels[a.logLevel]
	if !ok {
		return usagef("use debug, info, warn, error or off", "there is no log level %q", a.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	if a.json() {
		a.logger = slog.New(slog.NewJSONHandler(a.stderr, opts))
	} else {
		a.logger = slog.New(slog.NewTextHandler(a.stderr, opts))
	}
	return nil
}

// longRunning tells commands that go on until they are stopped from those that answer once.
func longRunning(cmd *cobra.Command) bool {
	return cmd.Name() == "serve" || cmd.Name() == "listen" || cmd.HasParent() && cmd.Parent().Name() == "bench"
}

// begin marks that usage was fine, for the commands' RunE.
func (a *app) begin(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.begun = true
		return run(cmd.Context(), args)
	}
}

// host finds and runs drivers.
func (a *app) host() *messaging.Host {
	o := &messaging.HostOptions{
		DriverPath: a.driverPath, RuntimeDir: a.runtimeDir, Pins: a.pins, PassEnvironment: a.passEnv,
		Trust: trustModes()[a.trustMode], LockFile: a.lockFile, Logger: a.logger,
	}
	if a.reloads {
		o.ReloadSignal = syscall.SIGHUP
	}
	return messaging.NewHost(o)
}

func parsePins(pairs []string) (map[string]string, error) {
	pins := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, version, _ := strings.Cut(pair, "=")
		version = strings.TrimPrefix(version, "v")
		if name == "" || version == "" {
			return nil, usagef("write --pin NAME=VERSION, such as --pin rabbit=1.2.0", "%q is no pin", pair)
		}
		if other, taken := pins[name]; taken && other != version {
			return nil, usagef("give each driver one version", "the driver %q is pinned to both %s and %s", name, other, version)
		}
		pins[name] = version
	}
	return pins, nil
}

func parseAliases(pairs []string) (map[string]string, error) {
	aliases := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		before, after, ok := strings.Cut(pair, "=")
		if !ok || before == "" || after == "" {
			return nil, usagef("write --alias OLD=NEW, such as --alias kombu=rabbit", "%q is not an alias", pair)
		}
		if other, taken := aliases[before]; taken && other != after {
			return nil, usagef("give each alias once", "the alias %q stands for both %q and %q", before, other, after)
		}
		aliases[before] = after
	}
	return aliases, nil
}

// noCommand is the RunE of commands that only have others below them.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		hint := "run: " + cmd.CommandPath() + " --help"
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef(hint, "there is no command %q of %q", args[0], cmd.CommandPath())
	}
	return cmd.Help()
}

// exactArgs refuses any other number of arguments than those named.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("see: "+cmd.CommandPath()+" --help", "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usagef("see: "+cmd.CommandPath()+" --help", "%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// wantsJSON tells from raw arguments how errors are to be shown, when flags do not parse.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}
