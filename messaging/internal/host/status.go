// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverproc"
	"github.com/parleymq/parley/plugin/driver"
)

// ReloadResult is what became of a reload, or of a program on trial.
type ReloadResult struct {
	Time    time.Time     `json:"time"`
	Driver  string        `json:"driver"`
	Class   string        `json:"class,omitempty"`
	From    string        `json:"from"` // the program before, for people
	To      string        `json:"to"`   // the one that is used now
	Took    time.Duration `json:"took_ns"`
	OK      bool          `json:"ok"`
	Message string        `json:"message"`
}

// Status is what a Host writes down for other programs of its user.
type Status struct {
	PID          int             `json:"pid"`
	Program      string          `json:"program"`
	Since        time.Time       `json:"since"`
	ReloadSignal string          `json:"reload_signal,omitempty"`
	Drivers      []RunningStatus `json:"drivers"`
	Reloads      []ReloadResult  `json:"reloads,omitempty"` // the last one of each driver and class
}

// RunningStatus is Running in a file.
type RunningStatus struct {
	Running
	Cause string `json:"cause,omitempty"`
}

const (
	statusFile = "status.json"
	// maxStatus bounds what is read of a status.
	maxStatus = 1 << 20
)

// publish has the status written.
func (sv *services) publish() {
	select {
	case sv.wake <- struct{}{}:
	default:
	}
}

func (sv *services) noteReload(r ReloadResult) {
	sv.mu.Lock()
	sv.last[processKey{driver: r.Driver, class: r.Class}] = r
	sv.mu.Unlock()
	sv.publish()
}

// keepStatus writes the status at each change, in a directory that ends with the services.
func (sv *services) keepStatus(ctx context.Context, base *driverproc.Base) {
	logger := sv.host.opts.Logger
	dir, err := base.CreateNamed(driverproc.HostPrefix)
	if err != nil {
		logger.Debug("no status is written", "err", err.Error())
		return
	}
	defer func() {
		if err := dir.Remove(); err != nil {
			logger.Debug("the status is left behind", "err", err.Error())
		}
	}()
	since := time.Now()
	for {
		if err := sv.writeStatus(dir.Path(), since); err != nil {
			logger.Debug("the status is not written", "err", err.Error())
		}
		select {
		case <-sv.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (sv *services) writeStatus(dir string, since time.Time) error {
	st := Status{PID: os.Getpid(), Program: os.Args[0], Since: since}
	if sig := sv.host.opts.ReloadSignal; sig != nil {
		st.ReloadSignal = sig.String()
	}
	for _, r := range sv.host.Running() {
		rs := RunningStatus{Running: r}
		if r.Err != nil {
			rs.Cause = r.Err.Error()
		}
		st.Drivers = append(st.Drivers, rs)
	}
	sv.mu.Lock()
	for _, r := range sv.last {
		st.Reloads = append(st.Reloads, r)
	}
	sv.mu.Unlock()
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	fresh := filepath.Join(dir, statusFile+".new")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, statusFile))
}

// ReadStatus reads what the hosts of this user have written down. Those that are dead are left
// out.
func ReadStatus(runtimeDir string) ([]Status, error) {
	base, err := driverproc.OpenBase(runtimeDir, os.Getenv)
	if err != nil {
		return nil, err
	}
	dirs, err := base.Live(driverproc.HostPrefix)
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, dir := range dirs {
		st, err := readStatus(filepath.Join(dir, statusFile))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has not begun, or has just ended
		}
		if err != nil {
			return nil, driver.Errorf(driver.ReasonInternal, "the status in %s cannot be read: %w", dir, err)
		}
		all = append(all, st)
	}
	return all, nil
}

func readStatus(path string) (Status, error) {
	var st Status
	info, err := os.Stat(path)
	if err != nil {
		return st, err
	}
	if info.Size() > maxStatus {
		return st, errors.New("it is too large")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(text, &st)
}
