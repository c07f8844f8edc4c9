// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// ServerConfig is what the SDK tells a Server.
type ServerConfig struct {
	SDKVersion string
	Limits     Limits
	Logger     *slog.Logger
	Level      *slog.LevelVar // set by the host at Hello and in the session
	// SessionStarted and SessionEnded are called for each session stream, so that the process
	// can end when there is none any more.
	SessionStarted, SessionEnded func()
	// Successive lets one host after the other say Hello; without it the first one's process is
	// its own.
	Successive bool

	majors majors // for tests; Majors when empty
}

// Server serves one driver to one host. It implements the gRPC service.
type Server struct {
	pb.UnimplementedDriverServer

	drv    driver.Driver
	info   driver.Info
	cfg    ServerConfig
	logger *slog.Logger

	mu     sync.Mutex
	epoch  uint64 // from Hello; guarded by mu
	limits Limits // agreed in Hello; guarded by mu
	// hostLost: the host understands lost replies; guarded by mu.
	hostLost bool
	conns    map[uint64]*serverConn // until they are closed; guarded by mu
	// closings are connections whose Close is under way; guarded by mu.
	closings map[*serverConn]struct{}
	states   chan *pb.ConnState
	turn     turn // guarded by mu
}

// pendingStates is how many states wait for the session; more replace each other.
const pendingStates = 64

// NewServer returns a server for d.
func NewServer(d driver.Driver, cfg ServerConfig) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.majors = cfg.majors.orDefault()
	return &Server{
		drv: d, info: d.Describe(), cfg: cfg, logger: cfg.Logger, limits: cfg.Limits,
		conns: make(map[uint64]*serverConn), closings: make(map[*serverConn]struct{}), states: make(chan *pb.ConnState, pendingStates),
	}
}

// Hello implements the service.
func (s *Server) Hello(ctx context.Context, r *pb.HelloRequest) (*pb.HelloResponse, error) {
	theirs := majorsFromProto(r.GetProtocolMajors())
	major, ok := s.cfg.majors.common(theirs)
	if !ok {
		return nil, ToGRPC(noCommonMajor(theirs, s.cfg.majors, sdkName(s.info.Name, s.cfg.SDKVersion)))
	}
	if r.GetEpoch() == 0 {
		return nil, ToGRPC(protocolError("the host's epoch is 0"))
	}
	if err := s.awaitTurn(ctx, r.GetEpoch()); err != nil {
		return nil, ToGRPC(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != 0 && s.epoch != r.GetEpoch() {
		return nil, ToGRPC(protocolError("a second Hello with another epoch"))
	}
	s.epoch = r.GetEpoch()
	s.limits = s.cfg.Limits.agree(r.GetLimits())
	s.noteHostLocked(r)
	if s.cfg.Level != nil {
		s.cfg.Level.Set(slog.Level(r.GetLogLevel()))
	}
	return &pb.HelloResponse{
		ProtocolMajor: uint32(major), SdkVersion: s.cfg.SDKVersion,
		Limits: s.cfg.Limits.toProto(), Info: infoToProto(s.info),
	}, nil
}

// checkEpoch refuses frames of another life of this process, or before Hello.
func (s *Server) checkEpoch(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == 0 || epoch != s.epoch {
		return protocolError("a frame of epoch %d came in epoch %d", epoch, s.epoch)
	}
	return nil
}

// Open implements the service.
func (s *Server) Open(ctx context.Context, r *pb.OpenRequest) (_ *pb.OpenResponse, err error) {
	defer s.recoverTo("Open", &err)
	if err := s.checkEpoch(r.GetEpoch()); err != nil {
		return nil, ToGRPC(err)
	}
	cfg := openFromProto(r)
	// The host has validated the options; a host in another language may not have.
	options, err := driver.ValidateOptions(s.info.Options, cfg.Options)
	if err != nil {
		return nil, ToGRPC(err)
	}
	cfg.Options = options
	cfg.Logger = s.logger.With("conn", r.GetConn())
	cfg.Report = func(st driver.State) { s.reportState(r.GetConn(), st) }
	conn, err := s.drv.Open(ctx, cfg)
	if err != nil {
		return nil, ToGRPC(err)
	}
	sc := newServerConn(r.GetConn(), conn)
	s.mu.Lock()
	_, exists := s.conns[sc.id]
	stale := s.epoch != r.GetEpoch() // the host's turn ended meanwhile
	if !exists && !stale {
		s.conns[sc.id] = sc
	}
	s.mu.Unlock()
	if exists || stale {
		sc.cancel()
		_ = conn.Close(ctx) // the error that matters is the host's mistake
		return nil, ToGRPC(protocolError("connection %d is open already, or its epoch has ended", sc.id))
	}
	return &pb.OpenResponse{}, nil
}

// Ping implements the service.
func (s *Server) Ping(ctx context.Context, r *pb.PingRequest) (_ *pb.PingResponse, err error) {
	defer s.recoverTo("Ping", &err)
	sc, err := s.conn(r.GetEpoch(), r.GetConn())
	if err != nil {
		return nil, ToGRPC(err)
	}
	p, ok := sc.conn.(driver.Pinger)
	if !ok {
		return nil, ToGRPC(driver.Errorf(driver.ReasonUnsupported, "driver %s cannot ping its broker", s.info.Name))
	}
	if err := p.Ping(ctx); err != nil {
		return nil, ToGRPC(err)
	}
	return &pb.PingResponse{}, nil
}

// CloseConn implements the service.
func (s *Server) CloseConn(ctx context.Context, r *pb.CloseConnRequest) (_ *pb.CloseConnResponse, err error) {
	defer s.recoverTo("Close", &err)
	sc, err := s.conn(r.GetEpoch(), r.GetConn())
	if err != nil {
		return nil, ToGRPC(err)
	}
	if err := s.closeConn(ctx, sc); err != nil {
		return nil, ToGRPC(err)
	}
	return &pb.CloseConnResponse{}, nil
}

// Drain implements the service.
func (s *Server) Drain(ctx context.Context, r *pb.DrainRequest) (_ *pb.DrainResponse, err error) {
	defer s.recoverTo("Drain", &err)
	if err := s.checkEpoch(r.GetEpoch()); err != nil {
		return nil, ToGRPC(err)
	}
	if err := s.CloseAll(ctx); err != nil {
		return nil, ToGRPC(err)
	}
	return &pb.DrainResponse{}, nil
}

func (s *Server) agreed() Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits
}

// recoverTo turns a panic of the driver into DRIVER_BUG. The process goes on: one broken call
// must not take the other connections with it.
func (s *Server) recoverTo(what string, err *error) {
	r := recover()
	if r == nil {
		return
	}
	s.logger.Error("driver panicked", "in", what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	*err = ToGRPC(driver.Errorf(driver.ReasonDriverBug, "driver %s panicked in %s: %v", s.info.Name, what, r))
}

// reportState queues a state for the session. When nobody takes them, the oldest goes.
func (s *Server) reportState(conn uint64, st driver.State) {
	p := &pb.ConnState{Conn: conn, Phase: uint32(st.Phase), Host: clip(st.Host), Error: StatusToProto(st.Err)}
	for {
		select {
		case s.states <- p:
			return
		default:
		}
		select {
		case <-s.states:
		default:
		}
	}
}

// Session implements the service.
func (s *Server) Session(stream pb.Driver_SessionServer) error {
	defer s.cfg.SessionEnded()
	s.beginSession()
	defer s.endSession()
	s.cfg.SessionStarted()
	beats := make(chan *pb.SessionHostFrame)
	failed := make(chan error, 1)
	go func() {
		for {
			frame, err := stream.Recv()
			if err == nil {
				err = s.checkEpoch(frame.GetEpoch())
			}
			if err != nil {
				failed <- err
				return
			}
			select {
			case beats <- frame:
			case <-stream.Context().Done():
				failed <- stream.Context().Err()
				return
			}
		}
	}()
	for {
		out := &pb.SessionDriverFrame{}
		select {
		case err := <-failed:
			return ToGRPC(err)
		case frame := <-beats:
			out.Epoch, out.Heartbeat = frame.GetEpoch(), frame.GetHeartbeat()
			if frame.LogLevel != nil && s.cfg.Level != nil {
				s.cfg.Level.Set(slog.Level(frame.GetLogLevel()))
			}
		case st := <-s.states:
			out.Epoch = s.currentEpoch()
			out.States = append(out.States, st)
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func (s *Server) currentEpoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}
