// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	pb "github.com/parleymq/parley/plugin/proto"
)

// moodyDriver answers heartbeats when it likes to, and keeps the levels that it was told.
type moodyDriver struct {
	hostileDriver
	silent atomic.Bool
	levels chan int32
}

func (d *moodyDriver) Session(s pb.Driver_SessionServer) error {
	for {
		frame, err := s.Recv()
		if err != nil {
			return err
		}
		if frame.LogLevel != nil {
			d.levels <- frame.GetLogLevel()
		}
		if d.silent.Load() {
			continue
		}
		if err := s.Send(&pb.SessionDriverFrame{Epoch: testEpoch, Heartbeat: frame.GetHeartbeat()}); err != nil {
			return err
		}
	}
}

func moodyPeer(t *testing.T, d *moodyDriver) *bridge.Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer()
	pb.RegisterDriverServer(gs, d)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	peer, err := bridge.Hello(within(t), dial(t, path, bridge.Limits{}), bridge.HelloOptions{Epoch: testEpoch, LogLevel: slog.LevelInfo})
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// TestLateAndPaused: silence is told before it is fatal, and so is its end; a driver that is
// paused is not given up.
func TestLateAndPaused(t *testing.T) {
	d := &moodyDriver{levels: make(chan int32, 10)}
	peer := moodyPeer(t, d)
	const interval = 40 * time.Millisecond
	late := make(chan time.Duration, 1000)
	var paused atomic.Bool
	var asked atomic.Int64
	paused.Store(true)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	go func() {
		ended <- peer.Session(ctx, bridge.SessionOptions{
			Interval: interval, Silence: 4 * interval,
			Late:   func(silence time.Duration) { late <- silence },
			Paused: func() bool { asked.Add(1); return paused.Load() },
		})
	}()
	d.silent.Store(true)
	if got := <-late; got <= interval+interval/2 {
		t.Errorf("late after %v", got)
	}
	eventually(t, "it would have been given up", func() bool { return asked.Load() > 3 })
	d.silent.Store(false)
	for got := range late {
		if got == 0 {
			break
		}
	}
	paused.Store(false)
	d.silent.Store(true)
	if err := <-ended; !errors.Is(err, bridge.ErrSilent) {
		t.Errorf("the session ended with %v", err)
	}
}

// TestLevelIsPushedWhenItChanges and only then.
func TestLevelIsPushedWhenItChanges(t *testing.T) {
	d := &moodyDriver{levels: make(chan int32, 10)}
	peer := moodyPeer(t, d)
	var level slog.LevelVar // INFO, as Hello said
	defer runSession(t, peer, bridge.SessionOptions{Interval: 10 * time.Millisecond, Silence: time.Minute, Level: level.Level})()
	for _, want := range []slog.Level{slog.LevelDebug, slog.LevelError} {
		level.Set(want)
		select {
		case got := <-d.levels:
			if got != int32(want) {
				t.Errorf("got %d, want %d", got, want)
			}
		case <-within(t).Done():
			t.Fatal("the level was not pushed")
		}
	}
	<-time.After(100 * time.Millisecond)
	if n := len(d.levels); n != 0 {
		t.Errorf("%d further levels came", n)
	}
}
