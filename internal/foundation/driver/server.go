// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// limitOption is the one option: the largest body that the broker takes.
const limitOption = "message_limit"

// ready is the phase of a connection that has its broker.
const ready = 2

// server implements the contract's service.
type server struct {
	pb.UnimplementedDriverServer

	level  *slog.LevelVar
	logger *slog.Logger
	life   *life
	broker *broker
	states chan *pb.ConnState

	mu    sync.Mutex
	epoch uint64 // guarded by mu
	conns map[uint64]*conn
}

// conn is one open connection.
type conn struct {
	limit  int // bytes of a body; 0 is none
	closed chan struct{}
}

func newServer(level *slog.LevelVar, logger *slog.Logger, life *life) *server {
	return &server{
		level: level, logger: logger, life: life, broker: newBroker(),
		states: make(chan *pb.ConnState, 64), conns: make(map[uint64]*conn),
	}
}

// Hello implements the service. The limits it answers are those of its days: nothing of chunks.
func (s *server) Hello(_ context.Context, r *pb.HelloRequest) (*pb.HelloResponse, error) {
	if !slices.Contains(r.GetProtocolMajors(), protocolMajor) {
		return nil, failure("PROTOCOL", "this driver speaks protocol %d, the host speaks %v", protocolMajor, r.GetProtocolMajors())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.GetEpoch() == 0 || s.epoch != 0 {
		return nil, failure("PROTOCOL", "epoch %d after epoch %d", r.GetEpoch(), s.epoch)
	}
	s.epoch = r.GetEpoch()
	s.level.Set(slog.Level(r.GetLogLevel()))
	return &pb.HelloResponse{
		ProtocolMajor: protocolMajor, SdkVersion: "0.1.0",
		Limits: &pb.Limits{MaxFrameBytes: maxFrameBytes, MaxSendsInFlight: maxSendsInFlight},
		Info: &pb.DriverInfo{
			Name: "foundation", Version: "0.1.0", Summary: "messages in memory, by the first contract",
			Capabilities: []string{"rpc", "fanout", "mandatory", "expiry", "requeue", "headers"},
			Options: []*pb.OptionSpec{{
				Name: limitOption, Type: "int", DefaultValue: "0", Help: "largest body taken, in bytes; 0 for no limit",
			}},
		},
	}, nil
}

func (s *server) checkEpoch(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == 0 || epoch != s.epoch {
		return failure("PROTOCOL", "a frame of epoch %d came in epoch %d", epoch, s.epoch)
	}
	return nil
}

// Open implements the service.
func (s *server) Open(_ context.Context, r *pb.OpenRequest) (*pb.OpenResponse, error) {
	if err := s.checkEpoch(r.GetEpoch()); err != nil {
		return nil, err
	}
	limit, err := strconv.Atoi(r.GetOptions()[limitOption])
	if err != nil {
		return nil, failure("CONFIG", "option %s: %v", limitOption, err)
	}
	s.mu.Lock()
	_, exists := s.conns[r.GetConn()]
	if !exists {
		s.conns[r.GetConn()] = &conn{limit: limit, closed: make(chan struct{})}
	}
	s.mu.Unlock()
	if exists {
		return nil, failure("PROTOCOL", "connection %d is open already", r.GetConn())
	}
	select {
	case s.states <- &pb.ConnState{Conn: r.GetConn(), Phase: ready}:
	default: // nobody takes them
	}
	return &pb.OpenResponse{}, nil
}

// conn returns an open connection.
func (s *server) conn(epoch, id uint64) (*conn, error) {
	if err := s.checkEpoch(epoch); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.conns[id]
	if !ok {
		return nil, failure("CLOSED", "connection %d is not open", id)
	}
	return c, nil
}

// Ping implements the service.
func (s *server) Ping(_ context.Context, r *pb.PingRequest) (*pb.PingResponse, error) {
	_, err := s.conn(r.GetEpoch(), r.GetConn())
	return &pb.PingResponse{}, err
}

// CloseConn implements the service.
func (s *server) CloseConn(_ context.Context, r *pb.CloseConnRequest) (*pb.CloseConnResponse, error) {
	c, err := s.conn(r.GetEpoch(), r.GetConn())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[r.GetConn()] == c { // nobody closed it meanwhile
		delete(s.conns, r.GetConn())
		close(c.closed)
	}
	return &pb.CloseConnResponse{}, nil
}

// Drain implements the service.
func (s *server) Drain(_ context.Context, r *pb.DrainRequest) (*pb.DrainResponse, error) {
	if err := s.checkEpoch(r.GetEpoch()); err != nil {
		return nil, err
	}
	s.closeAll()
	return &pb.DrainResponse{}, nil
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.conns {
		delete(s.conns, id)
		close(c.closed)
	}
}

// Session implements the service: it echoes heartbeats and tells states.
func (s *server) Session(stream pb.Driver_SessionServer) error {
	s.life.sessionStarted()
	defer s.life.sessionEnded()
	frames := make(chan *pb.SessionHostFrame)
	failed := make(chan error, 1)
	go func() { failed <- receive(stream, frames) }()
	for {
		out := &pb.SessionDriverFrame{}
		select {
		case err := <-failed:
			return err
		case frame := <-frames:
			if err := s.checkEpoch(frame.GetEpoch()); err != nil {
				return err
			}
			out.Heartbeat = frame.GetHeartbeat()
			if frame.LogLevel != nil {
				s.level.Set(slog.Level(frame.GetLogLevel()))
				s.logger.Debug("the level of records changed", "level", frame.GetLogLevel())
			}
		case state := <-s.states:
			out.States = append(out.States, state)
		}
		s.mu.Lock()
		out.Epoch = s.epoch
		s.mu.Unlock()
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// receive hands frames on until the stream ends.
func receive(stream pb.Driver_SessionServer, frames chan<- *pb.SessionHostFrame) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case frames <- frame:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
