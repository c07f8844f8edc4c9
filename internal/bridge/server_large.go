// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"math"

	pb "github.com/parleymq/parley/plugin/proto"
)

// sendLarge sends a delivery in chunks and returns what is left of the byte credit. Replies
// belong to calls that know nothing of each other: small ones go on between the chunks of a
// large one, which is charged when it is through. Everything else keeps its order.
func (f *listenFeed) sendLarge(p polled) (int, error) {
	f.mu.Lock()
	f.credit--
	f.large.push(newLarge(&p, &p.Message))
	if f.replies && !f.cutting {
		f.cutting = true
		f.cutters.Go(f.cut)
	}
	f.hurry = f.hurry || !f.replies // it has waited for credit
	f.mu.Unlock()
	if f.replies {
		return f.bytesLeft(), nil
	}
	for {
		frame := &pb.ListenDriverFrame{Epoch: f.epoch}
		if err := f.writeChunk(frame); err != nil {
			return 0, err
		}
		if len(frame.Chunks) == 0 {
			return f.bytesLeft(), nil
		}
	}
}

// cut writes chunks until there are none to be written. Frames of small messages carry chunks
// as well.
func (f *listenFeed) cut() {
	for {
		frame := &pb.ListenDriverFrame{Epoch: f.epoch}
		if err := f.writeChunk(frame); err != nil {
			return // the reader ends on the same
		}
		if len(frame.Chunks) > 0 {
			continue
		}
		f.mu.Lock()
		done, granted := f.large.empty(), f.granted
		f.cutting = !done
		f.mu.Unlock()
		switch {
		case done:
			notify(f.wake) // who waits for bytes looks again
			return
		case granted == nil:
			continue // credit came just now
		}
		select {
		case <-granted:
		case <-f.ended:
			return
		}
	}
}

// writeChunk writes one chunk, if there is one that may go.
func (f *listenFeed) writeChunk(frame *pb.ListenDriverFrame) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.addChunk(frame)
	if len(frame.Chunks) == 0 {
		return nil
	}
	return f.stream.Send(frame)
}

// addChunk adds the next chunk to a frame, and the delivery itself when that was its last.
func (f *listenFeed) addChunk(frame *pb.ListenDriverFrame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.large.empty() {
		return
	}
	credit := f.bytes
	if f.hurry {
		credit = math.MaxInt
	}
	l := f.large.turn(credit)
	if l == nil {
		if f.granted == nil {
			f.granted = make(chan struct{})
		}
		return
	}
	frame.Chunks = append(frame.Chunks, f.large.cut(l))
	if l.left > 0 {
		return
	}
	head := f.convert(*l.of)
	head.Message.Context, head.Message.Body, head.Message.Failure, head.Message.Chunks = nil, nil, nil, l.number
	f.chargeLocked(head, *l.of)
	frame.Deliveries = append(frame.Deliveries, head)
}

// resumeCutLocked lets chunks go that wait for credit.
func (f *listenFeed) resumeCutLocked() {
	if f.granted != nil {
		close(f.granted)
		f.granted = nil
	}
}

// finishLarge returns when all large messages are through, or the stream has ended.
func (f *listenFeed) finishLarge() {
	f.mu.Lock()
	f.hurry = true
	f.resumeCutLocked()
	f.mu.Unlock()
	f.cutters.Wait()
}
