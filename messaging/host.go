// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"sync"

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
	// MaxMessageBytes is the largest message, on both sides of the process boundary.
	// Default: 16 MiB.
	MaxMessageBytes int
	// Logger takes the records of the host and of the drivers. Default: slog.Default() at
	// the time of NewHost.
	Logger *slog.Logger
	// AutoMTLS encrypts what goes over the private socket of each driver. It costs about
	// 50 ms at each start; the socket's directory is private without it.
	AutoMTLS bool
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
	return &Host{inner: host.New(host.Options{
		DriverPath: o.DriverPath, RuntimeDir: o.RuntimeDir, MaxFrameBytes: o.MaxMessageBytes,
		Logger: o.Logger, AutoMTLS: o.AutoMTLS,
	})}
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
	Why     string `json:"why,omitempty"`
}

// Drivers lists the drivers that are found, in the order of the search. Nothing is executed.
func (h *Host) Drivers() []DriverFile {
	found := h.inner.SearchPath().List()
	files := make([]DriverFile, 0, len(found))
	for _, c := range found {
		files = append(files, DriverFile{
			Name: c.Name, Version: c.Version, Path: c.Path, Dir: c.Dir.Path, Origin: c.Dir.Origin,
			Status: string(c.Status), Why: c.Why,
		})
	}
	return files
}

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

// RunningDriver is a driver process of a Host.
type RunningDriver struct {
	Name string
	// PID is the process, zero while it is being started.
	PID int
	// Starts counts the processes that were ready so far; above 1 the driver was started again.
	Starts int
	// Err is why there is no process, or nil.
	Err error
}

// Running lists the drivers that run now.
func (h *Host) Running() []RunningDriver {
	running := h.inner.Running()
	list := make([]RunningDriver, 0, len(running))
	for _, r := range running {
		list = append(list, RunningDriver{Name: r.Driver, PID: r.PID, Starts: r.Lives, Err: r.Err})
	}
	return list
}

// declaredAliases are the names that drivers claim in their manifests, the last layer.
func (h *Host) declaredAliases(logger *slog.Logger) map[string]string {
	aliases, problems := h.inner.SearchPath().Aliases()
	for _, p := range problems {
		logger.Warn("driver manifest", "problem", p)
	}
	return aliases
}
