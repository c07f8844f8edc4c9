// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverproc"
	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/plugin/driver"
)

// HostOptions are the settings of a [Host]. Nil, and every zero field, mean the default.
type HostOptions struct {
	// DriverPath are directories searched for drivers before all others.
	DriverPath []string
	// RuntimeDir is where sockets are put. Default: $PARLEY_RUNTIME_DIR, $RUNTIME_DIRECTORY,
	// $XDG_RUNTIME_DIR or the directory for temporary files, in a private directory there.
	RuntimeDir string
	// MaxMessageBytes is the largest message, on both sides of the process boundary. Large ones
	// go in chunks, between others. Default: 64 MiB.
	MaxMessageBytes int
	// Logger takes the records of the host and of the drivers. Default: slog.Default() at
	// the time of NewHost.
	Logger *slog.Logger
	// LogLevel is the lowest level of the drivers' records; a change reaches them within
	// seconds. Default: what Logger takes.
	LogLevel slog.Leveler
	// OnEvent is told of each change of a driver's phase. It must not block, and may be called
	// from several goroutines.
	OnEvent func(DriverEvent)

	// Supervision tunes when processes are given up and started again.
	Supervision Supervision

	// Trust says what a driver's file must prove. Default: TrustLock.
	Trust TrustMode
	// LockFile is where TrustLock and TrustRequire keep checksums. Default: $PARLEY_LOCK_FILE, or
	// parley/parley.lock below $XDG_STATE_HOME or ~/.local/state.
	LockFile string
	// Pins are the versions of drivers to start, by name, as in the names of their files.
	// Default: the newest.
	Pins map[string]string
	// AutoMTLS encrypts what goes over the private socket of each driver. It costs about
	// 50 ms at each start; the socket's directory is private without it.
	AutoMTLS bool
	// Environment has further variables for drivers, as NAME=value; PassEnvironment names
	// variables of this process that they get beside the usual ones. Neither is for credentials.
	Environment     []string
	PassEnvironment []string
	// Launcher is a program, with its arguments, that starts each driver and becomes it: it
	// executes what is appended to its arguments, as "nice -n 5" or "bwrap ... --" do.
	Launcher []string
	// ProcessLimits are set for each driver process. Linux only.
	ProcessLimits ProcessLimits

	// ReloadSignal, when not nil, makes this process reload its drivers when it receives it;
	// "parley drivers reload" sends it. syscall.SIGHUP is usual.
	ReloadSignal os.Signal
	// WatchFiles reloads a driver when its file is replaced or a newer version appears.
	WatchFiles bool
}

// Supervision are the limits by which driver processes are given up and started again. Zero
// fields mean the default.
type Supervision struct {
	// StartTimeout bounds a start until the driver is ready. Default: 10 s.
	StartTimeout time.Duration
	// HeartbeatInterval is how often a driver must answer, HeartbeatTimeout how long it may be
	// silent before its process group is killed, unless a debugger is attached to it.
	// Default: 5 s and 20 s.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// BackoffMin and BackoffMax bound the wait before a driver is started again, which doubles
	// with each failure and varies by half. After a process that was ready it is 2 s at most.
	// Default: 50 ms and 10 s.
	BackoffMin, BackoffMax time.Duration
	// StableTime is how long a process must live for the wait to begin at BackoffMin again.
	// Default: 10 s.
	StableTime time.Duration
	// BreakerFailures within BreakerWindow open the breaker: calls fail at once with the cause,
	// and one start is tried after each BreakerPause. Negative failures mean never.
	// Default: 5, 1 minute, 30 s.
	BreakerFailures             int
	BreakerWindow, BreakerPause time.Duration
	// DrainTimeout bounds how long a process that is replaced or stopped may finish what it has.
	// Default: 10 s.
	DrainTimeout time.Duration
	// ProbationTime is how long a program that was swapped in must live; the one before is
	// started again when it does not. Default: 1 minute.
	ProbationTime time.Duration
}

// ProcessLimits are what the kernel lets a driver process have. Zero fields set nothing.
type ProcessLimits struct {
	// OpenFiles is how many descriptors it may have open.
	OpenFiles uint64
	// AddressSpace is how much memory it may map, in bytes. A Go program maps far more than
	// it uses.
	AddressSpace uint64
	// Processes is how many processes its user may have in all.
	Processes uint64
	// NoNewPrivileges keeps it and its children from gaining rights by set-uid programs.
	NoNewPrivileges bool
}

// Host finds driver binaries and runs them: one process for each driver, shared by all
// transports of the Host, started with the first and ended with the last of them. A driver
// that ends otherwise is started again; see [Transport]. It is safe for concurrent use and
// needs no Close: it holds nothing while no transport is open.
//
// Open without a Host uses one that all of the program shares.
type Host struct{ inner *host.Host }

// NewHost returns a Host. It starts nothing.
func NewHost(opts *HostOptions) *Host {
	var o HostOptions
	if opts != nil {
		o = *opts
	}
	return &Host{inner: host.New(o.inner())}
}

func (o HostOptions) inner() host.Options {
	v := o.Supervision
	return host.Options{
		DriverPath: o.DriverPath, RuntimeDir: o.RuntimeDir, MaxMessageBytes: o.MaxMessageBytes,
		Logger: o.Logger, LogLevel: o.LogLevel, OnEvent: eventTo(o.OnEvent), AutoMTLS: o.AutoMTLS,
		StartTimeout: v.StartTimeout, HeartbeatInterval: v.HeartbeatInterval, HeartbeatTimeout: v.HeartbeatTimeout,
		BackoffMin: v.BackoffMin, BackoffMax: v.BackoffMax, StableTime: v.StableTime,
		BreakerFailures: v.BreakerFailures, BreakerWindow: v.BreakerWindow, BreakerPause: v.BreakerPause,
		DrainTimeout: v.DrainTimeout, ProbationTime: v.ProbationTime,
		Trust: driverfile.Trust{Mode: driverfile.TrustMode(o.Trust), LockFile: o.LockFile}, Pins: o.Pins,
		Env: o.Environment, PassEnv: o.PassEnvironment, Launcher: o.Launcher,
		Limits: driverproc.Limits(o.ProcessLimits), ReloadSignal: o.ReloadSignal, WatchFiles: o.WatchFiles,
	}
}

// defaultHost is the Host of transports that name none. It is made once and holds nothing
// while no transport is open.
var defaultHost = sync.OnceValue(func() *Host { return NewHost(nil) })

// DriverFile is a file that looks like a driver, in one of the places searched.
type DriverFile struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // from the file's name, if it has one
	Path    string `json:"path"`
	Dir     string `json:"dir"`
	Origin  string `json:"origin"` // where the directory comes from
	Status  string `json:"status"` // chosen, shadowed or refused
	// Why is what a shadowed file is shadowed by, or why a file is refused.
	Why string `json:"why,omitempty"`
	// Trust is how the file's checksum stands: recorded, new, changed, or unknown when it cannot be
	// told. It is empty where nobody asked, and for a refused file.
	Trust string `json:"trust,omitempty"`
	// TrustWhy says why the checksum has the file refused, and what to do; empty when it has not.
	TrustWhy string `json:"trust_why,omitempty"`
	// Checksum is "sha256:" and the hash of the file now; Recorded is what was recorded.
	Checksum string `json:"checksum,omitempty"`
	Recorded string `json:"recorded,omitempty"`
}

// Drivers lists the drivers that are found, in the order of the search. Nothing is executed, and
// no checksum is taken; see [Host.CheckDrivers].
func (h *Host) Drivers() []DriverFile { return driverFiles(h.inner.SearchPath().List()) }

// SearchDir is a directory in which drivers are looked for.
type SearchDir struct {
	Path   string `json:"path"`
	Origin string `json:"origin"`
}

// SearchPath lists the directories in the order of the search; the first hit wins.
func (h *Host) SearchPath() []SearchDir {
	path := h.inner.SearchPath().Dirs
	dirs := make([]SearchDir, 0, len(path))
	for _, d := range path {
		dirs = append(dirs, SearchDir{Path: d.Path, Origin: d.Origin})
	}
	return dirs
}

// Describe starts a driver, unless it runs, and returns what it says of itself. A driver that
// is not found, not trusted or does not start is an error with CodeConfig or CodeUnavailable.
func (h *Host) Describe(ctx context.Context, name string) (driver.Info, error) {
	info, err := h.inner.Describe(ctx, name)
	if err != nil {
		return driver.Info{}, operation{verb: "describe driver"}.wrap(err)
	}
	return info, nil
}

// declaredAliases are the names that drivers claim in their manifests, the last layer.
func (h *Host) declaredAliases(logger *slog.Logger) map[string]string {
	aliases, problems := h.inner.SearchPath().Aliases()
	for _, p := range problems {
		logger.Warn("driver manifest", "problem", p)
	}
	return aliases
}
