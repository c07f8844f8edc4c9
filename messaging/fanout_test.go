// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// unscoped makes the driver one whose fanout crosses exchanges.
func unscoped(f *faults) {
	f.info.Capabilities = append(slices.Clone(f.info.Capabilities), driver.CapUnscopedFanout)
}

func without(c driver.Capability) func(*faults) {
	return func(f *faults) {
		f.info.Capabilities = slices.DeleteFunc(slices.Clone(f.info.Capabilities), func(has driver.Capability) bool { return has == c })
	}
}

func TestUnscopedFanoutWarns(t *testing.T) {
	for _, tt := range []struct {
		name     string
		opts     Options
		exchange string
		driver   func(*faults)
		want     int
	}{
		{"another exchange", Options{}, "other", unscoped, 1},
		{"the default exchange", Options{}, "", unscoped, 0},
		{"the default exchange by name", Options{}, "openstack", unscoped, 0},
		{"a driver that scopes", Options{}, "other", func(*faults) {}, 0},
		{"scoped", Options{ScopedFanout: true}, "other", unscoped, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &tt.opts, tt.driver)
			c := NewRPCClient(r.Transport, Target{Exchange: tt.exchange, Topic: "compute"}, nil)
			for range 2 {
				if err := c.With(Fanout()).Cast(t.Context(), "m", nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Cast(t.Context(), "m", nil); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(strings.Join(r.log.all(), ""), "fanout is not scoped"); n != tt.want {
				t.Errorf("%d warnings: %q", n, r.log.all())
			}
		})
	}
}

func TestServerTellsOfUnscopedFanout(t *testing.T) {
	r := newRig(t, nil, unscoped)
	serve(t, r.Transport, Target{Exchange: "other", Topic: "compute", Server: "host1"}, nil, echoEndpoint())
	if text := strings.Join(r.log.all(), ""); !strings.Contains(text, "level=INFO msg=\"fanout is not scoped") {
		t.Errorf("%q", r.log.all())
	}
}

// captureTargets notes where requests go.
func captureTargets(sent *[]driver.Target) func(context.Context, *driver.Message) (bool, error) {
	return func(_ context.Context, m *driver.Message) (bool, error) {
		*sent = append(*sent, m.Target)
		return false, nil
	}
}

func TestScopedFanout(t *testing.T) {
	var sent []driver.Target
	var source driver.Target
	r := newRig(t, &Options{ScopedFanout: true}, func(f *faults) {
		f.onSend = captureTargets(&sent)
		f.onListen = func(s driver.Source) error {
			if s.Kind == driver.SourceServer {
				source = s.Target
			}
			return nil
		}
	})
	serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	if err := c.With(Fanout()).Cast(t.Context(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Cast(t.Context(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	if !sent[0].Scoped || sent[1].Scoped || !source.Scoped {
		t.Errorf("sent %+v, listened to %+v", sent, source)
	}
}

func TestScopedFanoutThatCannotBe(t *testing.T) {
	r := newRig(t, &Options{ScopedFanout: true}, without(driver.CapScopedFanout))
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	if err := c.With(Fanout()).Cast(t.Context(), "m", nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("cast: %v", err)
	}
	if err := c.Cast(t.Context(), "m", nil); err != nil {
		t.Errorf("a cast to one server: %v", err)
	}
	s := NewRPCServer(r.Transport, computeTarget, nil, echoEndpoint())
	if err := s.Serve(t.Context()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("serve: %v", err)
	}
}

func TestScopedFanoutNamesTooLong(t *testing.T) {
	r := newRig(t, &Options{ScopedFanout: true})
	target := Target{Exchange: strings.Repeat("e", 101), Topic: strings.Repeat("t", 100)}
	if err := NewRPCClient(r.Transport, target, nil).With(Fanout()).Cast(t.Context(), "m", nil); !errors.Is(err, ErrInvalidTarget) {
		t.Errorf("cast: %v", err)
	}
	target.Server = "s"
	if err := NewRPCServer(r.Transport, target, nil).Serve(t.Context()); !errors.Is(err, ErrInvalidTarget) {
		t.Errorf("serve: %v", err)
	}
}
