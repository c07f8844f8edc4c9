// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// connectTimeout bounds connecting to a socket, which takes no time unless its queue is full.
const connectTimeout = 2 * time.Second

// ReattachVariable names the variable of the host's environment that says where a driver waits
// which was started by hand, with --debug. The driver prints the same name.
func ReattachVariable(name string) string {
	return "PARLEY_REATTACH_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// reattachment is the value of the variable.
type reattachment struct {
	Network  string `json:"network"`
	Address  string `json:"address"`
	PID      int    `json:"pid"`
	Protocol int    `json:"protocol"`
}

// Attached is a driver process that somebody else started, in a debugger most often, in the place
// of a Runner. It is never killed nor signalled, however long it is silent. Its end is the end of
// the one connection to it.
type Attached struct {
	name     string
	variable string
	at       reattachment
	gone     chan struct{} // closed with the connection

	mu     sync.Mutex // guards what follows
	dialed bool
	owned  []io.Closer
	once   sync.Once
}

// Reattach connects to the driver that the environment names. It returns nil when the environment
// names none, and an error, always a *driver.Error, when what it names cannot be used or trusted.
func Reattach(ctx context.Context, name string, env func(string) string) (*Attached, net.Conn, error) {
	variable := ReattachVariable(name)
	value := env(variable)
	if value == "" {
		return nil, nil, nil
	}
	a := &Attached{name: name, variable: variable, gone: make(chan struct{})}
	if err := a.read(value); err != nil {
		return nil, nil, err
	}
	if err := a.checkSocket(); err != nil {
		return nil, nil, err
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return a, conn, nil
}

// read takes the value of the variable apart. Whether both sides speak one protocol is for Hello.
func (a *Attached) read(value string) error {
	if err := json.Unmarshal([]byte(value), &a.at); err != nil {
		return a.refuse("is not the JSON that a driver prints: %v", err)
	}
	switch {
	case a.at.Network != "unix":
		return a.refuse("names the network %q; there is unix alone", a.at.Network)
	case !filepath.IsAbs(a.at.Address):
		return a.refuse("names the address %q, which is no absolute path", a.at.Address)
	case a.at.Protocol < 1:
		return a.refuse("names protocol %d", a.at.Protocol)
	}
	return nil
}

func (a *Attached) refuse(format string, args ...any) *driver.Error {
	return driver.Errorf(driver.ReasonConfig, "%s "+format, append([]any{a.variable}, args...)...).
		WithHint("set it to what parley-driver-%s --debug prints, or unset it to have the driver started", a.name)
}

// checkSocket makes sure that nobody else can have put the socket there: the application is about
// to send its passwords to it.
func (a *Attached) checkSocket() error {
	info, err := os.Lstat(a.at.Address)
	if err != nil {
		return a.notThere(err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return a.refuse("names %s, which is a symbolic link", a.at.Address)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return a.refuse("names %s, which is no socket", a.at.Address)
	}
	dir := filepath.Dir(a.at.Address)
	dirInfo, err := os.Stat(dir)
	if err != nil {
		return a.notThere(err)
	}
	for path, info := range map[string]fs.FileInfo{a.at.Address: info, dir: dirInfo} {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return a.refuse("names a socket that somebody else can replace: %s belongs to neither root nor user id %d", path, os.Geteuid())
		}
	}
	if mode := dirInfo.Mode().Perm(); mode&driverfile.WritableByOthers != 0 {
		return a.refuse("names a socket that others can replace: directory %s may be written by them (mode %04o)", dir, mode)
	}
	return nil
}

// notThere is the error for a driver that has ended, or was not started yet.
func (a *Attached) notThere(cause error) *driver.Error {
	if pe, ok := errors.AsType[*fs.PathError](cause); ok {
		cause = pe.Err // the path is in the text
	}
	e := driver.Errorf(driver.ReasonDriverGone, "no driver %s waits at %s, which %s names: %w", a.name, a.at.Address, a.variable, cause)
	return e.WithHint("start parley-driver-%s --debug again and set %s to what it prints, or unset it to have the driver started",
		a.name, a.variable)
}

// connect makes the connection and looks at who answers.
func (a *Attached) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", a.at.Address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, a.notThere(err)
	}
	if uid, ok := peerUser(conn); ok && uid != 0 && uid != os.Geteuid() {
		_ = conn.Close() // it was only looked at
		return nil, a.refuse("names a socket on which user id %d listens", uid)
	}
	return &watchedConn{Conn: conn, attached: a}, nil
}

// Dialer hands conn out, once: a second connection would be to another life of the driver.
func (a *Attached) Dialer(conn net.Conn) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.dialed {
			return nil, a.GoneError(nil)
		}
		a.dialed = true
		return conn, nil
	}
}

// Own has Kill close c.
func (a *Attached) Own(c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owned = append(a.owned, c)
}

// Name is the socket's path.
func (a *Attached) Name() string { return a.at.Address }

// Variable is the environment variable that named the driver.
func (a *Attached) Variable() string { return a.variable }

// Pid is the process id that the environment tells. It is for people: nothing is sent to it.
func (a *Attached) Pid() int { return a.at.PID }

// Exited is closed when the connection has ended, and with it all that is known of the process.
func (a *Attached) Exited() <-chan struct{} { return a.gone }

// Signal sends nothing, and says so.
func (a *Attached) Signal(syscall.Signal) error {
	return fmt.Errorf("driver %s (pid %d) was started by hand and gets no signals: %w", a.name, a.at.PID, errors.ErrUnsupported)
}

// Kill ends the connection. The process goes on and waits for the next one.
func (a *Attached) Kill(context.Context) error {
	a.mu.Lock()
	owned := a.owned
	a.owned = nil
	a.mu.Unlock()
	for _, c := range owned {
		_ = c.Close() // it is the end of it either way
	}
	a.ended()
	return nil
}

// Traced is true: a silent process stands at a breakpoint.
func (a *Attached) Traced() bool { return true }

// AddSecret does nothing: what the process prints does not come here.
func (a *Attached) AddSecret(string) {}

// GoneError is the error for what was under way when the connection ended.
func (a *Attached) GoneError(cause error) *driver.Error {
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s (%s, pid %d), which was started by hand, ended its connection",
		a.name, a.at.Address, a.at.PID)
	e.Err = cause
	return e.WithHint("the application connects again when it is back at the same place; unset %s to have the driver started", a.variable)
}

func (a *Attached) ended() { a.once.Do(func() { close(a.gone) }) }

// watchedConn notices the end of a connection. Its user reads from it all the time.
type watchedConn struct {
	net.Conn
	attached *Attached
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.attached.ended()
	}
	return n, err
}

func (c *watchedConn) Close() error {
	c.attached.ended()
	return c.Conn.Close()
}

// noUser is for systems that do not tell who listens: the file's owner must do.
const noUser = -1

// peerUser is the user of the process that listens.
func peerUser(conn net.Conn) (uid int, ok bool) {
	sc, isSyscall := conn.(syscall.Conn)
	if !isSyscall {
		return noUser, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return noUser, false
	}
	uid = noUser
	err = raw.Control(func(fd uintptr) { uid = peerUserID(int(fd)) })
	return uid, err == nil && uid != noUser
}
