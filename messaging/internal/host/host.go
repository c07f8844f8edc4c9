// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// Options tune a Host. Zero values mean the defaults.
type Options struct {
	// DriverPath lists directories that are searched before all others.
	DriverPath []string
	// RuntimeDir is where sockets are put; see the search order of runtime directories.
	RuntimeDir string
	// StartTimeout bounds a driver's start until its handshake, 10 s.
	StartTimeout time.Duration
	// HeartbeatInterval is how often a driver is asked whether it lives, 5 s, and
	// HeartbeatTimeout how long it may be silent before its process is killed, 20 s.
	HeartbeatInterval time.Duration
	HeartbeatTimeout  time.Duration
	// BackoffMin and BackoffMax bound the wait before a driver is started again, 50 ms and
	// 10 s. It doubles with each failure and has jitter. After a process that was ready it is
	// 2 s at most.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// StableTime is how long a driver must live for the wait to start from BackoffMin again, 10 s.
	StableTime time.Duration
	// MaxFrameBytes is the largest message, 16 MiB.
	MaxFrameBytes int
	// AutoMTLS encrypts the socket; it costs about 50 ms a start.
	AutoMTLS bool
	// Logger takes the host's records and the drivers'.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	setDefault(&o.StartTimeout, 10*time.Second)
	setDefault(&o.HeartbeatInterval, 5*time.Second)
	setDefault(&o.HeartbeatTimeout, 20*time.Second)
	setDefault(&o.BackoffMin, 50*time.Millisecond)
	setDefault(&o.BackoffMax, 10*time.Second)
	setDefault(&o.StableTime, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// Host runs drivers for one application. It is safe for concurrent use.
type Host struct {
	opts   Options
	search driverfile.SearchPath

	mu      sync.Mutex
	running map[processKey]*supervisor // guarded by mu
	swept   bool                       // leftovers of dead hosts were removed; guarded by mu
}

// processKey says which connections share a process.
type processKey struct {
	driver string
	class  string
}

// New returns a Host. It starts nothing.
func New(o Options) *Host {
	o = o.withDefaults()
	exe, err := os.Executable()
	if err != nil {
		exe = "" // only the directory beside the executable is lost
	}
	return &Host{
		opts: o, search: driverfile.NewSearchPath(o.DriverPath, os.Getenv, exe),
		running: make(map[processKey]*supervisor),
	}
}

// SearchPath is where the Host looks for drivers.
func (h *Host) SearchPath() driverfile.SearchPath { return h.search }

// OpenRequest is a connection asked for.
type OpenRequest struct {
	// Config has everything but validated options: Options are those given by the URL.
	Config driver.Config
	// Class separates processes: connections of the same driver and class share one.
	Class string
}

// Open starts the driver unless it runs, validates the options, and opens a connection that
// lives until its Close, however many processes that takes. What is wrong with the driver
// file, its start, an option or the configuration is an error; a broker that is away is not.
func (h *Host) Open(ctx context.Context, r OpenRequest) (*Conn, error) {
	key := processKey{driver: r.Config.Driver, class: r.Class}
	s := h.acquire(key)
	c, err := openConn(ctx, s, r.Config)
	if err != nil {
		h.release(s)
		return nil, err
	}
	return c, nil
}

// Describe starts the driver if need be and returns what it says of itself.
func (h *Host) Describe(ctx context.Context, name string) (driver.Info, error) {
	s := h.acquire(processKey{driver: name})
	defer h.release(s)
	p, err := s.process(ctx, true)
	if err != nil {
		return driver.Info{}, err
	}
	return p.peer.Info(), nil
}

// acquire returns the supervisor of a key, started, and counts its user.
func (h *Host) acquire(key processKey) *supervisor {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.swept {
		h.swept = true
		sweep(h.opts)
	}
	s, ok := h.running[key]
	if !ok {
		s = newSupervisor(h, key)
		h.running[key] = s
		s.start()
	}
	s.users++
	return s
}

// release gives a supervisor back. The last user ends the process and waits for its end.
func (h *Host) release(s *supervisor) {
	h.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		delete(h.running, s.key)
	}
	h.mu.Unlock()
	if last {
		s.stop()
	}
}

// Running is a driver that the Host runs now.
type Running struct {
	Driver string
	PID    int // zero while it is being started
	Lives  int // how many processes were ready so far
	Err    error
}

// Running lists the drivers that run now, sorted by name.
func (h *Host) Running() []Running {
	h.mu.Lock()
	all := make([]*supervisor, 0, len(h.running))
	for _, s := range h.running {
		all = append(all, s)
	}
	h.mu.Unlock()
	list := make([]Running, 0, len(all))
	for _, s := range all {
		list = append(list, s.status())
	}
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Driver, b.Driver), cmp.Compare(a.PID, b.PID))
	})
	return list
}
