// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
)

// config is what the core makes of a URL with options.
func config(t *testing.T, variant string, hosts []driver.Host, path string, options map[string]string) driver.Config {
	t.Helper()
	o, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Config{
		Driver: "zmq", Variant: variant, Hosts: hosts, VirtualHost: path, HasVirtualHost: path != "", Options: o,
		AppName: "app", Instance: "instance", Logger: slog.New(slog.DiscardHandler), Report: func(driver.State) {},
	}
}

// TestPlace: where peers are looked for, and what is listened on.
func TestPlace(t *testing.T) {
	shared := t.TempDir()
	dir := shared + "/own"
	for _, mk := range []struct {
		path string
		mode os.FileMode
	}{{shared, 0o755}, {dir, 0o700}} {
		if err := errors.Join(os.MkdirAll(mk.path, mk.mode), os.Chmod(mk.path, mk.mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, variant string
		hosts         []driver.Host
		path          string
		options       map[string]string
		bind          string // a prefix
		registryPath  string
		namespace     string
		want          string // of the error
	}{
		{name: "this machine", bind: "ipc:///"},
		{name: "a directory", path: dir[1:], bind: "ipc:///", registryPath: dir},
		{name: "local by name", variant: "local", path: dir[1:], bind: "ipc:///", registryPath: dir},
		{name: "localhost", hosts: []driver.Host{{Name: "localhost"}}, path: dir[1:], bind: "ipc:///", registryPath: dir},
		{name: "another machine", hosts: []driver.Host{{Name: "far.example"}}, want: "zmq+seeds://far.example"},
		{name: "by tcp", path: dir[1:], options: map[string]string{optTransport: transportTCP}, bind: "tcp://127.0.0.1:0", registryPath: dir},
		{name: "a port", path: dir[1:], options: map[string]string{optMinPort: "9501"}, bind: "tcp://127.0.0.1:9501", registryPath: dir},
		{name: "ports", path: dir[1:], options: map[string]string{optMinPort: "9501", optMaxPort: "9510"}, bind: "tcp://127.0.0.1:9501-9510", registryPath: dir},
		{name: "ports backwards", path: dir[1:], options: map[string]string{optMinPort: "9510", optMaxPort: "9501"}, want: "rpc_zmq_max_port=9501 is below rpc_zmq_min_port=9510"},
		{name: "a directory that others read", path: shared[1:], bind: "tcp://127.0.0.1:0", registryPath: shared},
		{name: "such a directory and ipc", path: shared[1:], options: map[string]string{optTransport: transportIPC}, want: shared},
		{name: "seeds", variant: "seeds", hosts: []driver.Host{{Name: "a"}}, path: "ns", options: map[string]string{optBindAddress: "127.0.0.1"}, bind: "tcp://127.0.0.1:0", namespace: "ns"},
		{name: "IPv6", variant: "seeds", hosts: []driver.Host{{Name: "a"}}, options: map[string]string{optBindAddress: "::1"}, bind: "tcp://[::1]:0"},
		{name: "IPv6 in brackets", variant: "seeds", hosts: []driver.Host{{Name: "a"}}, options: map[string]string{optBindAddress: "[::1]"}, bind: "tcp://[::1]:0"},
		{name: "Redis", variant: "redis", hosts: []driver.Host{{Name: "a"}}, path: "ns", options: map[string]string{optInsecure: "true"}, bind: "tcp://*:0", namespace: "ns"},
		{name: "a list of peers", variant: "static", path: "etc/peers.json", options: map[string]string{optBindAddress: "localhost"}, bind: "tcp://localhost:0", registryPath: "/etc/peers.json"},
		{name: "everybody's port", variant: "seeds", hosts: []driver.Host{{Name: "a"}}, want: "can be reached from other machines, and is not encrypted"},
		{name: "everybody's port by name", variant: "seeds", hosts: []driver.Host{{Name: "a"}}, options: map[string]string{optBindAddress: "::"}, want: "zmq_insecure=true"},
		{name: "everybody's port of a local one", path: dir[1:], options: map[string]string{optBindAddress: "0.0.0.0"}, want: "not encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := newSettings(config(t, tt.variant, tt.hosts, tt.path, tt.options))
			if tt.want != "" {
				if driver.ReasonOf(err) != driver.ReasonConfig || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want a mistake of configuration that says %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(s.node.Bind) != 1 || !strings.HasPrefix(s.node.Bind[0], tt.bind) {
				t.Errorf("it listens on %v, want %s", s.node.Bind, tt.bind)
			}
			if s.registry.Path != tt.registryPath || s.registry.Namespace != tt.namespace {
				t.Errorf("it looks in %q, namespace %q", s.registry.Path, s.registry.Namespace)
			}
			if s.node.Instance != "instance" || !strings.HasPrefix(s.node.Name, "app@") || s.node.DeadAfter != 3*time.Second || s.node.Conn.MaxMessage <= s.node.MaxMessage {
				t.Errorf("%+v", s.node)
			}
		})
	}
}

// TestExposed: which addresses other machines can reach.
func TestExposed(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"ipc:///tmp/x": false, "tcp://127.0.0.1:0": false, "tcp://127.8.8.8:1-2": false, "tcp://localhost:1": false, "tcp://[::1]:1": false,
		"tcp://*:0": true, "tcp://0.0.0.0:0": true, "tcp://[::]:0": true, "tcp://10.0.0.1:1": true, "tcp://localhost.example:1": true, "tcp://:1": true,
	} {
		if got := exposed(endpoint); got != want {
			t.Errorf("%s: %v", endpoint, got)
		}
	}
}

// TestTLSSettings: what certificates need.
func TestTLSSettings(t *testing.T) {
	authority := peertest.NewAuthority(t, "ours")
	files := authority.Issue(peertest.Issued{Name: "node"})
	seeds := []driver.Host{{Name: "a"}}
	garbage := t.TempDir() + "/garbage.pem"
	if err := os.WriteFile(garbage, []byte("-----BEGIN RSA PRIVATE KEY-----\nsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		options map[string]string
		want    string
	}{
		{name: "all", options: map[string]string{tlspeer.OptCAFile: authority.File(), tlspeer.OptCertFile: files.Cert, tlspeer.OptKeyFile: files.Key}},
		{name: "no certificate", options: map[string]string{tlspeer.OptCAFile: authority.File()}, want: "ssl=true needs"},
		{name: "no authority", options: map[string]string{tlspeer.OptCertFile: files.Cert, tlspeer.OptKeyFile: files.Key}, want: "ssl=true needs"},
		{name: "no such file", options: map[string]string{tlspeer.OptCAFile: authority.File(), tlspeer.OptCertFile: "/nowhere/cert.pem"}, want: "/nowhere/cert.pem"},
		{name: "garbage", options: map[string]string{tlspeer.OptCAFile: garbage, tlspeer.OptCertFile: files.Cert, tlspeer.OptKeyFile: files.Key}, want: garbage},
		{name: "a garbled key", options: map[string]string{tlspeer.OptCAFile: authority.File(), tlspeer.OptCertFile: files.Cert, tlspeer.OptKeyFile: garbage}, want: garbage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options[tlspeer.OptEnabled] = "true"
			for _, variant := range []string{"seeds", ""} {
				var hosts []driver.Host
				if variant == "seeds" {
					hosts = seeds
				}
				s, err := newSettings(config(t, variant, hosts, "", tt.options))
				if tt.want != "" {
					if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
						t.Errorf("got %v, want %q", err, tt.want)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if s.node.Conn.TLS == nil || s.node.Dial == nil || !strings.HasPrefix(s.node.Bind[0], "tcp://") {
					t.Errorf("%+v", s.node)
				}
			}
		})
	}
}

// TestDescribe: what the driver says of itself holds together.
func TestDescribe(t *testing.T) {
	info := newDriver().Describe()
	if _, err := driver.ValidateOptions(info.Options, nil); err != nil {
		t.Error(err)
	}
	seen := make(map[string]bool)
	for _, o := range info.Options {
		if seen[o.Name] || o.Help == "" {
			t.Errorf("option %s: twice %v, help %q", o.Name, seen[o.Name], o.Help)
		}
		seen[o.Name] = true
	}
	for name, bad := range map[string]string{
		optTransport: "pigeon", optMinPort: "65536", optHeartbeat: "0.01", optMaxMessage: "1", optWindow: "0", optRedisLayout: "oslo9", optQueue: "-1",
	} {
		if _, err := driver.ValidateOptions(info.Options, map[string]string{name: bad}); err == nil {
			t.Errorf("%s=%s is taken", name, bad)
		}
	}
}
