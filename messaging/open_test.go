// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"testing"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// curious is a driver that keeps what it was opened with.
type curious struct {
	driver.Driver
	got driver.Config
}

func (d *curious) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	d.got = cfg
	return d.Driver.Open(ctx, cfg)
}

// TestDriverConfig: a driver is told what the application is called and what its default exchange
// is, in this process and in another.
func TestDriverConfig(t *testing.T) {
	for _, tt := range []struct {
		opts     *Options
		exchange string
	}{
		{&Options{AppName: "compute"}, "openstack"},
		{&Options{AppName: "compute", DefaultExchange: "nova"}, "nova"},
	} {
		d := &curious{Driver: memory.New()}
		tr, err := OpenDriver(t.Context(), d, driver.Config{Driver: "fake"}, tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Close(t.Context()); err != nil {
			t.Error(err)
		}
		far := (&URL{Driver: "fake"}).config(tt.opts.withDefaults(), newStates(nil))
		for where, cfg := range map[string]driver.Config{"here": d.got, "far": far} {
			if cfg.AppName != "compute" || cfg.DefaultExchange != tt.exchange || cfg.Report == nil || cfg.Logger == nil {
				t.Errorf("%s: the driver got %+v, want the exchange %s", where, cfg, tt.exchange)
			}
		}
	}
}
