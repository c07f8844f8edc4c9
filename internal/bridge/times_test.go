// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// crossed is m after it went over the boundary.
func crossed(t *testing.T, m *driver.Message) *driver.Message {
	t.Helper()
	p := new(pb.Message)
	messageToProto(p, m, m.TimeLeft)
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	q := new(pb.Message)
	if err := proto.Unmarshal(b, q); err != nil {
		t.Fatal(err)
	}
	got := new(driver.Message)
	messageFromProto(got, q)
	return got
}

func TestTimeLeftCrosses(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Microsecond, time.Minute: time.Minute,
		-1: -time.Microsecond, -time.Minute: -time.Minute,
	} {
		if got := crossed(t, &driver.Message{TimeLeft: left}).TimeLeft; got != want {
			t.Errorf("%v became %v, want %v", left, got, want)
		}
	}
}

func TestNewFieldsCross(t *testing.T) {
	m := &driver.Message{
		Target: driver.Target{Fanout: true, Scoped: true}, FailFast: true,
		Deadline: time.UnixMilli(1_700_000_000_123).Add(time.Microsecond),
	}
	got := crossed(t, m)
	if got.Target != m.Target || !got.FailFast || got.Deadline.UnixMilli() != m.Deadline.UnixMilli() {
		t.Errorf("got %+v", got)
	}
	if got := crossed(t, &driver.Message{}); !got.Deadline.IsZero() || got.FailFast || got.Target.Scoped {
		t.Errorf("nothing became %+v", got)
	}
	src := driver.Source{Kind: driver.SourceServer, Target: driver.Target{Topic: "t", Scoped: true}}
	if got := sourceFromProto(sourceToProto(src)); got.Target != src.Target {
		t.Errorf("got %+v", got)
	}
}

// TestBufferedDeliveryAges: what waits on the host's side for Poll has less time left, and a
// negative one when it ran out there.
func TestBufferedDeliveryAges(t *testing.T) {
	for left, want := range map[time.Duration]func(time.Duration) bool{
		0:            func(d time.Duration) bool { return d == 0 },
		time.Hour:    func(d time.Duration) bool { return d <= time.Hour-time.Minute && d > time.Hour-2*time.Minute },
		time.Second:  func(d time.Duration) bool { return d <= -59*time.Second },
		-time.Second: func(d time.Duration) bool { return d <= -61*time.Second },
	} {
		l := &Listener{epoch: fuzzEpoch, credit: 1, ready: make(chan struct{}, 1), stopped: make(chan struct{}), born: time.Now()}
		p := new(pb.Message)
		messageToProto(p, &driver.Message{Kind: driver.Call, Body: []byte("{}")}, left)
		if err := l.receive(&pb.ListenDriverFrame{Epoch: fuzzEpoch, Deliveries: []*pb.Delivery{{Message: p, Token: 1}}}); err != nil {
			t.Fatal(err)
		}
		l.born = l.born.Add(-time.Minute) // as if a minute passed
		ds, err := l.take(1)
		if err != nil || len(ds) != 1 || !want(ds[0].TimeLeft) {
			t.Errorf("%v left, a minute later: %v, %v", left, ds[0].TimeLeft, err)
		}
	}
}
