// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestZMQ runs servers and callers as processes that meet in a directory, with no broker.
func TestZMQ(t *testing.T) {
	p := build(t, "zmq")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	url := "zmq://" + dir
	p.env = append(p.env, urlVariable+"="+url)

	t.Run("drivers show", func(t *testing.T) {
		got := p.run(t, "drivers", "show", "zmq", "-o", "json")
		var d shownDriver
		if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || d.Name != "zmq" || !d.Has("direct") || !d.Has("rpc") || d.File == nil {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	testRPC(t, p, url, exitUndeliverable)
	testNotifications(t, p, url)
	t.Run("nobody listens", func(t *testing.T) {
		p.expect(t, exitUndeliverable, "", "notify", "--topic", "nobody", "--timeout", "1s", "x")
	})
	t.Run("doctor", func(t *testing.T) { testDoctorDirect(t, p) })
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// testDoctorDirect: what a broker would be asked is skipped and said, and the rest is done.
func testDoctorDirect(t *testing.T, p *program) {
	skipped := map[string]string{"dns": stepSkip, "tcp": stepSkip, "tls": stepSkip, "login": stepSkip, "vhost": stepSkip, "broker": stepSkip}
	for _, s := range p.doctor(t, exitDone).Steps {
		if s.Status != cmp.Or(skipped[s.Step], stepOK) {
			t.Errorf("got %+v", s)
		}
		if s.Status == stepSkip && !strings.HasPrefix(s.Detail, noBroker) {
			t.Errorf("%s does not say why it is skipped: %s", s.Step, s.Detail)
		}
		if s.Status == stepOK && s.Step != "handshake" && strings.Contains(s.Detail, "broker") {
			t.Errorf("%s speaks of a broker: %s", s.Step, s.Detail)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.doctor(t, exitUsage, "--url", "zmq://"+file)
	if last := r.Steps[len(r.Steps)-1]; !strings.Contains(last.Detail, file) {
		t.Errorf("a file for a directory: %+v", last)
	}
}
