// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// TestOneByteAChunk costs time and little memory: what is kept is near what has come.
func TestOneByteAChunk(t *testing.T) {
	const total = 1 << 20
	want := bytes.Repeat([]byte("0123456789abcdef"), total/16)
	in := partials{limit: defaultMaxMessageBytes}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range want {
		c := &pb.Chunk{Number: 1, Body: want[i : i+1 : i+1]}
		if i == 0 {
			c.Total = total
		}
		if err := in.add([]*pb.Chunk{c}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 4*total {
		t.Errorf("%d bytes are kept for %d", kept, total)
	}
	m := new(driver.Message)
	if err := in.finish(m, 1); err != nil || !bytes.Equal(m.Body, want) {
		t.Errorf("got %d bytes, %v", len(m.Body), err)
	}
	if in.bytes != 0 || len(in.open) != 0 {
		t.Errorf("%d bytes of %d messages are left", in.bytes, len(in.open))
	}
}
