// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/go-zeromq/zmq4"
)

// The hand-written opponent over ZeroMQ: package zmq4's own DEALER and ROUTER on its own tcp
// transport, each message sent by one gathered write. A message has three frames: an empty
// one, an id of eight bytes, and the body. zmqecho.py does the same.

// The first byte of an id says what is wanted.
const (
	zmqCall  = 0 // send the message back
	zmqCast  = 1 // count it
	zmqCount = 2 // send back how many were counted, as eight bytes
)

const zmqIDBytes = 8

// ZMQServer answers on a port of its own until ctx ends.
func ZMQServer(ctx context.Context, ready func(address string)) error {
	router := zmq4.NewRouter(ctx)
	defer router.Close() //nolint:errcheck // the process ends
	if err := router.Listen("tcp://127.0.0.1:0"); err != nil {
		return err
	}
	ready("tcp://" + router.Addr().String())
	var noted uint64
	for {
		m, err := router.Recv()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case len(m.Frames) != 4 || len(m.Frames[2]) != zmqIDBytes:
			return fmt.Errorf("a request of %d frames", len(m.Frames))
		}
		switch m.Frames[2][0] {
		case zmqCast:
			noted++
			continue
		case zmqCount:
			m.Frames[3] = binary.BigEndian.AppendUint64(nil, noted)
		}
		if err := router.SendMulti(m); err != nil {
			return err
		}
	}
}

// ZMQClient makes calls by hand. It is used by one goroutine.
type ZMQClient struct {
	socket zmq4.Socket
	cancel context.CancelFunc
	body   []byte
}

// NewZMQClient connects to the server at s.URL.
func NewZMQClient(ctx context.Context, s Setup) (*ZMQClient, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &ZMQClient{socket: zmq4.NewDealer(ctx), cancel: cancel, body: []byte(Payload(s.Size))}
	if err := c.socket.Dial(s.URL); err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *ZMQClient) Close() error {
	c.cancel()
	return c.socket.Close()
}

// Run keeps load.InFlight calls on their way for load.Seconds: the answer of one sends the
// next. Casts are sent as fast as the socket takes them.
func (c *ZMQClient) Run(_ context.Context, load Load) Result {
	timer := time.AfterFunc(time.Duration(load.Seconds*float64(time.Second))+rawTimeout, c.cancel) // Recv has no deadline
	defer timer.Stop()
	run := c.calls
	if load.Cast {
		run = c.casts
	}
	r, err := run(load)
	if err != nil {
		r.Errors, r.Error = r.Errors+1, err.Error()
	}
	return r
}

func (c *ZMQClient) calls(load Load) (Result, error) {
	var latencies []time.Duration
	started := make([]time.Time, load.InFlight)
	begin := time.Now()
	end := begin.Add(time.Duration(load.Seconds * float64(time.Second)))
	for slot := range load.InFlight {
		started[slot] = time.Now()
		if err := c.send(zmqCall, slot); err != nil {
			return Result{}, err
		}
	}
	for waiting := load.InFlight; waiting > 0; {
		slot, body, err := c.receive()
		if err != nil {
			return summary(latencies, time.Since(begin)), err
		}
		if slot >= len(started) || !bytes.Equal(body, c.body) {
			return summary(latencies, time.Since(begin)), errors.New("the payload did not come back")
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(started[slot]))
		if now.After(end) {
			waiting--
			continue
		}
		started[slot] = now
		if err := c.send(zmqCall, slot); err != nil {
			return summary(latencies, time.Since(begin)), err
		}
	}
	return summary(latencies, time.Since(begin)), nil
}

func (c *ZMQClient) casts(load Load) (Result, error) {
	begin := time.Now()
	before, err := c.count()
	if err != nil {
		return Result{}, err
	}
	var latencies []time.Duration
	for end := begin.Add(time.Duration(load.Seconds * float64(time.Second))); ; {
		start := time.Now()
		if start.After(end) {
			break
		}
		if err := c.send(zmqCast, 0); err != nil {
			return Result{}, err
		}
		latencies = append(latencies, time.Since(start))
	}
	after, err := c.count() // one connection keeps the order
	r := summary(latencies, time.Since(begin))
	r.Calls, r.Errors = after-before, len(latencies)-(after-before)
	return r, err
}

func (c *ZMQClient) count() (int, error) {
	if err := c.send(zmqCount, 0); err != nil {
		return 0, err
	}
	_, body, err := c.receive()
	if err != nil || len(body) != 8 {
		return 0, errors.Join(err, errors.New("no count came back"))
	}
	return int(binary.BigEndian.Uint64(body)), nil
}

func (c *ZMQClient) send(what byte, slot int) error {
	id := make([]byte, zmqIDBytes)
	id[0] = what
	binary.BigEndian.PutUint32(id[4:], uint32(slot))
	return c.socket.SendMulti(zmq4.NewMsgFrom(nil, id, c.body))
}

func (c *ZMQClient) receive() (slot int, body []byte, err error) {
	m, err := c.socket.Recv()
	if err != nil {
		return 0, nil, err
	}
	if len(m.Frames) != 3 || len(m.Frames[1]) != zmqIDBytes {
		return 0, nil, fmt.Errorf("an answer of %d frames", len(m.Frames))
	}
	return int(binary.BigEndian.Uint32(m.Frames[1][4:])), m.Frames[2], nil
}
