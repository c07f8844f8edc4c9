// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// diagnosed is a driver whose Conns answer Diagnose by a function, or cannot without one.
type diagnosed struct {
	driver.Driver
	answer func() ([]driver.Finding, error)
}

func (d diagnosed) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil || d.answer == nil {
		return c, err
	}
	return diagnosedConn{pingingConn{c}, d}, nil
}

type diagnosedConn struct {
	pingingConn
	d diagnosed
}

func (c diagnosedConn) Diagnose(context.Context) ([]driver.Finding, error) { return c.d.answer() }

func TestFindingsCross(t *testing.T) {
	want := []driver.Finding{
		{Topic: "product", Detail: "a broker, versiön 1"},
		{Topic: "node policy", Detail: "missing", Flaw: true, Hint: "add:\n{}"},
	}
	p := newPair(t, diagnosed{memory.New(), func() ([]driver.Finding, error) { return want, nil }}, bridge.Limits{})
	got, err := p.open(t, "v").Diagnose(within(t))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLongFindingsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	p := newPair(t, diagnosed{memory.New(), func() ([]driver.Finding, error) {
		return []driver.Finding{{Topic: long, Detail: long + "\xff", Hint: long}}, nil
	}}, bridge.Limits{})
	got, err := p.open(t, "v").Diagnose(within(t))
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d findings, %v", len(got), err)
	}
	f := got[0]
	if len(f.Topic) > 100 || len(f.Detail) > 2<<10 || len(f.Hint) > 8<<10 || !strings.HasSuffix(f.Hint, "…") {
		t.Errorf("got texts of %d, %d and %d bytes", len(f.Topic), len(f.Detail), len(f.Hint))
	}
}

func TestDiagnoseFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func() ([]driver.Finding, error)
		want   driver.Reason
		text   string
	}{
		{name: "no ability", want: driver.ReasonUnsupported, text: "fake"},
		{name: "an error", want: driver.ReasonAccessRefused, text: "not you", answer: func() ([]driver.Finding, error) {
			return nil, driver.Errorf(driver.ReasonAccessRefused, "not you")
		}},
		{name: "a panic", want: driver.ReasonDriverBug, text: "in Diagnose", answer: func() ([]driver.Finding, error) { panic("no") }},
		{name: "too many", want: driver.ReasonDriverBug, text: "DIAG-3", answer: func() ([]driver.Finding, error) {
			return make([]driver.Finding, driver.MaxFindings+1), nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newPair(t, diagnosed{memory.New(), tt.answer}, bridge.Limits{}).open(t, "v")
			_, err := c.Diagnose(within(t))
			if driver.ReasonOf(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// beforeDiagnose is a driver's side that does not know the call; talkative is one that tells more
// than it may.
type (
	beforeDiagnose struct{ *bridge.Server }
	talkative      struct{ *bridge.Server }
)

func (beforeDiagnose) Diagnose(ctx context.Context, r *pb.DiagnoseRequest) (*pb.DiagnoseResponse, error) {
	return pb.UnimplementedDriverServer{}.Diagnose(ctx, r)
}

func (talkative) Diagnose(context.Context, *pb.DiagnoseRequest) (*pb.DiagnoseResponse, error) {
	r := &pb.DiagnoseResponse{}
	for range driver.MaxFindings + 1 {
		r.Findings = append(r.Findings, &pb.Finding{Topic: "x"})
	}
	return r, nil
}

func TestDiagnoseOfOtherDrivers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server pb.DriverServer
		want   driver.Reason
	}{
		{"from before the call", beforeDiagnose{bridge.NewServer(memory.New(), quietConfig())}, driver.ReasonUnsupported},
		{"talkative", talkative{bridge.NewServer(memory.New(), quietConfig())}, driver.ReasonProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openPeer(t, greet(t, tt.server))
			_, err := c.Diagnose(within(t))
			if driver.ReasonOf(err) != tt.want {
				t.Errorf("got %v", err)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// greet serves a driver's side until the end of the test, and says Hello to it.
func greet(t *testing.T, s pb.DriverServer) *bridge.Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(bridge.ServerOptions(bridge.Limits{})...)
	pb.RegisterDriverServer(gs, s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	peer, err := bridge.Hello(within(t), dial(t, path, bridge.Limits{}), bridge.HelloOptions{HostVersion: "test", Epoch: testEpoch})
	if err != nil {
		t.Fatal(err)
	}
	return peer
}
