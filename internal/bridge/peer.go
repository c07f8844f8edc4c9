// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Peer is a driver process seen from the host: one life of one process.
type Peer struct {
	client pb.DriverClient
	epoch  uint64
	major  int
	limits Limits
	info   driver.Info
	sdk    string
	level  slog.Level // of log records, as Hello told it
	logger *slog.Logger

	lastConn atomic.Uint64

	mu      sync.Mutex
	reports map[uint64]func(driver.State) // by connection; guarded by mu
}

// HelloOptions is what the host says first.
type HelloOptions struct {
	HostVersion string
	Epoch       uint64 // not 0
	Limits      Limits
	LogLevel    slog.Level
	Logger      *slog.Logger

	majors majors // for tests; Majors when empty
}

// Hello greets the driver behind cc: it checks versions and agrees on limits.
func Hello(ctx context.Context, cc grpc.ClientConnInterface, o HelloOptions) (*Peer, error) {
	limits, majors := o.Limits.withDefaults(), o.majors.orDefault()
	client := pb.NewDriverClient(cc)
	resp, err := client.Hello(ctx, &pb.HelloRequest{
		ProtocolMajors: majors.toProto(),
		HostVersion:    o.HostVersion,
		Limits:         limits.toProto(),
		Epoch:          o.Epoch,
		LogLevel:       int32(o.LogLevel),
		Capabilities:   hostCapabilities(),
	})
	if err != nil {
		return nil, FromGRPC(err)
	}
	info := infoFromProto(resp.GetInfo())
	major := int(resp.GetProtocolMajor())
	if !slices.Contains(majors, major) {
		return nil, noCommonMajor(majors, []int{major}, sdkName(info.Name, resp.GetSdkVersion()))
	}
	if info.Name == "" {
		return nil, protocolError("the driver did not tell its name")
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Peer{
		client: client, epoch: o.Epoch, major: major, limits: limits.agree(resp.GetLimits()),
		info: info, sdk: resp.GetSdkVersion(), level: o.LogLevel, logger: logger,
		reports: make(map[uint64]func(driver.State)),
	}, nil
}

// Info is what the driver said of itself.
func (p *Peer) Info() driver.Info { return p.info }

// SDKVersion is the version of the SDK the driver was built with.
func (p *Peer) SDKVersion() string { return p.sdk }

// Major is the protocol's major agreed on.
func (p *Peer) Major() int { return p.major }

// Limits are those agreed on.
func (p *Peer) Limits() Limits { return p.limits }

// Open opens a connection. Its states come by the session and go to cfg.Report.
func (p *Peer) Open(ctx context.Context, cfg driver.Config) (*Conn, error) {
	c := &Conn{peer: p, id: p.lastConn.Add(1), broker: newBrokerState()}
	p.setReport(c.id, func(s driver.State) {
		c.broker.set(s)
		if cfg.Report != nil {
			cfg.Report(s)
		}
	})
	if _, err := p.client.Open(ctx, openToProto(c.id, p.epoch, cfg)); err != nil {
		p.setReport(c.id, nil)
		return nil, FromGRPC(err)
	}
	if err := c.start(); err != nil {
		p.setReport(c.id, nil)
		return nil, err
	}
	return c, nil
}

// setReport registers who takes the states of a connection, or forgets it for nil.
func (p *Peer) setReport(conn uint64, report func(driver.State)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if report == nil {
		delete(p.reports, conn)
		return
	}
	p.reports[conn] = report
}

// report hands a state of the session to its connection.
func (p *Peer) report(s *pb.ConnState) {
	p.mu.Lock()
	report := p.reports[s.GetConn()]
	p.mu.Unlock()
	if report != nil {
		report(driver.State{
			Phase: driver.Phase(min(s.GetPhase(), math.MaxUint8)),
			Host:  clip(s.GetHost()), Err: StatusFromProto(s.GetError()),
		})
	}
}

// Drain closes all connections in the driver.
func (p *Peer) Drain(ctx context.Context) error {
	_, err := p.client.Drain(ctx, &pb.DrainRequest{Epoch: p.epoch})
	return FromGRPC(err)
}
