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

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverproc"
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
	// DrainTimeout bounds how long a process that is replaced or stopped may take to finish what
	// it has, 10 s.
	DrainTimeout time.Duration
	// ProbationTime is how long a program that was swapped in is watched: when it fails within
	// it, the one before is started again. One minute.
	ProbationTime time.Duration
	// BreakerFailures within BreakerWindow open the breaker: no process is started for
	// BreakerPause, then one is tried. 5 in 1 minute, 30 s. A negative number means never.
	BreakerFailures int
	BreakerWindow   time.Duration
	BreakerPause    time.Duration
	// MaxMessageBytes is the largest message in total, 64 MiB; what does not fit into a frame
	// goes in chunks.
	MaxMessageBytes int
	// AutoMTLS encrypts the socket; it costs about 50 ms a start.
	AutoMTLS bool
	// Trust says which files may be started.
	Trust driverfile.Trust
	// Pins are the versions that are started, by driver; without one the newest is.
	Pins map[string]string
	// Env has further variables of drivers, as NAME=value; PassEnv names those of this
	// process that are passed on as well.
	Env     []string
	PassEnv []string
	// Launcher is a command, with its arguments, that starts the driver: it executes what is
	// appended to it.
	Launcher []string
	// Limits are set for each process.
	Limits driverproc.Limits
	// LogLevel is the lowest level of the drivers' records. Nil follows the Logger.
	LogLevel slog.Leveler
	// OnEvent is told of each change of a driver's phase. It must not block.
	OnEvent func(Event)
	// ReloadSignal, when not nil, makes this process reload its drivers when it comes.
	ReloadSignal os.Signal
	// WatchFiles reloads a driver when its file, or a newer version, appears.
	WatchFiles bool
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
	setDefault(&o.DrainTimeout, 10*time.Second)
	setDefault(&o.ProbationTime, time.Minute)
	setDefault(&o.BreakerWindow, time.Minute)
	setDefault(&o.BreakerPause, 30*time.Second)
	if o.BreakerFailures == 0 {
		o.BreakerFailures = 5
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
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

	mu       sync.Mutex
	running  map[processKey]*supervisor // guarded by mu
	stopping int                        // supervisors that are being stopped; guarded by mu
	services *services                  // nil while nothing runs; guarded by mu
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
	o.Trust.Unrecorded = warnUnrecorded(o.Logger)
	search := driverfile.NewSearchPath(o.DriverPath, os.Getenv, exe)
	search.Pins = o.Pins
	return &Host{
		opts: o, search: search,
		running: make(map[processKey]*supervisor),
	}
}

// SearchPath is where the Host looks for drivers.
func (h *Host) SearchPath() driverfile.SearchPath { return h.search }

func (h *Host) limits() bridge.Limits { return bridge.Limits{MaxMessageBytes: h.opts.MaxMessageBytes} }

// logLevel is the lowest level of drivers' records that is wanted now.
func (h *Host) logLevel() slog.Level {
	if h.opts.LogLevel != nil {
		return h.opts.LogLevel.Level()
	}
	ctx := context.Background() // a level belongs to no call
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if h.opts.Logger.Enabled(ctx, level) {
			return level
		}
	}
	return slog.LevelError
}

// OpenRequest is a connection asked for.
type OpenRequest struct {
	// Config has everything but validated options: Options are those given by the URL. An
	// Instance is made when there is none.
	Config driver.Config
	// Class separates processes: connections of the same driver and class share one.
	Class string
}

// Open starts the driver unless it runs, validates the options, and opens a connection that
// lives until its Close, however many processes that takes. What is wrong with the driver
// file, its start, an option or the configuration is an error; a broker that is away is not.
func (h *Host) Open(ctx context.Context, r OpenRequest) (*Conn, error) {
	key := processKey{driver: r.Config.Driver, class: r.Class}
	if r.Config.Instance == "" {
		r.Config.Instance = newInstance()
	}
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
	p, err := s.process(ctx)
	if err != nil {
		return driver.Info{}, err
	}
	return p.peer.Info(), nil
}

// acquire returns the supervisor of a key, started, and counts its user.
func (h *Host) acquire(key processKey) *supervisor {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.services == nil {
		h.services = startServices(h)
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
		h.stopping++
	}
	h.mu.Unlock()
	if !last {
		return
	}
	s.stop()
	h.mu.Lock()
	h.stopping--
	var idle *services
	if len(h.running) == 0 && h.stopping == 0 {
		idle, h.services = h.services, nil
	}
	h.mu.Unlock()
	if idle != nil {
		idle.stop()
	}
}

// supervisors lists those that fit.
func (h *Host) supervisors(fits func(*supervisor) bool) []*supervisor {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*supervisor
	for _, s := range h.running {
		if fits(s) {
			all = append(all, s)
		}
	}
	return all
}

// Running lists the drivers that run now, sorted by name.
func (h *Host) Running() []Running {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Running, 0, len(h.running))
	for _, s := range h.running {
		list = append(list, s.running())
	}
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Driver, b.Driver), cmp.Compare(a.Class, b.Class))
	})
	return list
}

// tell passes an event on.
func (h *Host) tell(e Event) {
	h.opts.OnEvent(e)
	h.mu.Lock()
	sv := h.services
	h.mu.Unlock()
	if sv != nil {
		sv.publish()
	}
}

// noteReload records what became of a reload.
func (h *Host) noteReload(r ReloadResult) {
	h.mu.Lock()
	sv := h.services
	h.mu.Unlock()
	if sv != nil {
		sv.noteReload(r)
	}
}
