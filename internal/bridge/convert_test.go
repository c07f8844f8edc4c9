// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

func TestOpenAndSourceCross(t *testing.T) {
	cfg := driver.Config{
		Driver: "zmq", Variant: "tls", VirtualHost: "v", HasVirtualHost: true, AppName: "app", Instance: "00ff", DefaultExchange: "nova",
		Options: driver.Options{"a": "b"},
		Hosts:   []driver.Host{{Name: "h", Port: 1, User: "u", HasUser: true, Password: "p", HasPassword: true}},
	}
	if got := openFromProto(acrossWire(t, openToProto(1, 2, cfg), new(pb.OpenRequest))); !reflect.DeepEqual(got, cfg) {
		t.Errorf("sent %+v, received %+v", cfg, got)
	}
	// An older host sends no instance.
	if got := openFromProto(new(pb.OpenRequest)); got.Instance != "" || got.DefaultExchange != "" {
		t.Errorf("of nobody: the instance %q, the exchange %q", got.Instance, got.DefaultExchange)
	}
	for _, once := range []bool{false, true} {
		src := driver.Source{
			Kind: driver.SourceServer, Settle: driver.SettleOnDone, AtMostOnce: once,
			Target: driver.Target{Exchange: "e", Topic: "t", Server: "s", Scoped: true},
		}
		if got := sourceFromProto(acrossWire(t, sourceToProto(src), new(pb.Source))); !reflect.DeepEqual(got, src) {
			t.Errorf("sent %+v, received %+v", src, got)
		}
	}
}

// acrossWire is m written and read.
func acrossWire[M proto.Message](t *testing.T, m, into M) M {
	t.Helper()
	text, err := proto.Marshal(m)
	if err == nil {
		err = proto.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}
