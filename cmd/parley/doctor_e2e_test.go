// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// stop is a way to make doctor stop at a step, and what it must say there.
type stop struct {
	name   string
	args   []string
	step   string
	status int
	detail string // in the line
	hint   string // in the line below
}

// check runs doctor and compares its last line, as people and as programs see it.
func (s stop) check(t *testing.T, p *program) {
	t.Helper()
	r := p.doctor(t, s.status, s.args...)
	last := r.Steps[len(r.Steps)-1]
	if last.Step != s.step || !strings.Contains(last.Detail, s.detail) || !strings.Contains(last.Hint, s.hint) {
		t.Errorf("stopped at %+v, want %s: %q, %q", last, s.step, s.detail, s.hint)
	}
	for _, before := range r.Steps[:len(r.Steps)-1] {
		if before.Status == stepFail || before.Detail == "" {
			t.Errorf("before it: %+v", before)
		}
	}
}

// TestDoctorStops makes the steps fail that need no broker.
func TestDoctorStops(t *testing.T) {
	p := build(t, "fake", "rabbit")
	goBuild(t, filepath.Join(p.drivers, "parley-driver-silent"), "cmd/parley/testdata/silent")
	dir := filepath.Join(t.TempDir(), "more")
	put := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := put("parley-driver-plain", "#!/bin/sh\n", 0o600)
	loose := put("parley-driver-loose", "#!/bin/sh\n", 0o722)
	put("parley-driver-garbage", "#!/bin/sh\necho hello, world\nexec sleep 1000\n", 0o700)
	put("parley-driver-broken", "#!/bin/sh\necho no such library >&2\nexit 7\n", 0o700)
	put("parley-driver-old", "#!/bin/sh\necho '1|0|unix|/tmp/x|grpc'\nexec sleep 1000\n", 0o700)
	put("open/parley-driver-open", "#!/bin/sh\n", 0o700)
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Chmod(open, 0o777), os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, "parley-driver-link"))); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	at := func(url string, dirs ...string) []string {
		args := []string{"--url", url}
		for _, d := range dirs {
			args = append(args, "--driver-path", d)
		}
		return args
	}
	for _, s := range []stop{
		{"no URL", at("nonsense"), "url", exitUsage, "transport URL has no scheme", "a URL is DRIVER://USER:PASSWORD@HOST:PORT/VHOST"},
		{"no directory", at("ghost://", missing), "search", exitUnavailable, missing + " (--driver-path) does not exist", missing + " is named by --driver-path: make it readable"},
		{"a file for a directory", at("ghost://", plain), "search", exitUnavailable, plain + " (--driver-path) is no directory", "take it out there"},
		{"no file", at("ghost://"), "file", exitUnavailable, `no driver "ghost" is found in`, "put the program parley-driver-ghost into one of these directories"},
		{"nearly a file", at("fakke://"), "file", exitUnavailable, `no driver "fakke" is found in`, `did you mean "fake"?`},
		{"not executable", at("plain://", dir), "file", exitUnavailable, plain + " is not executable (mode 0600)", "run: chmod +x " + plain},
		{"a link to nothing", at("link://", dir), "file", exitUnavailable, "is a symbolic link to nothing", "what a symbolic link points to, does not exist"},
		{"directory of all", at("open://", open), "trust", exitUnavailable, "directory " + open + " may be written by group or others (mode 0777)", "run: chmod go-w " + open},
		{"file of all", at("loose://", dir), "trust", exitUnavailable, "file " + loose + " may be written by group or others (mode 0722)", "run: chmod go-w " + loose},
		{"garbage", append(at("garbage://", dir), "--timeout", "2s"), "handshake", exitUnavailable, "driver garbage", ""},
		{"ends at once", at("broken://", dir), "handshake", exitUnavailable, "no such library", ""},
		{"old protocol", at("old://", dir), "handshake", exitUnavailable, "speaks protocol major 0", "install a newer version of the driver"},
		{"no such option", at("fake:///?nope=1"), "options", exitUsage, `unknown option "nope"`, "known options"},
		{"bad value", at("rabbit:///?ssl=maybe"), "options", exitUsage, "want true or false", ""},
		{"no certificate", at("rabbit:///?ssl=true&ssl_ca_file=" + missing), "options", exitUsage, "option ssl_ca_file: open " + missing, "check the path"},
		{"no such host", at("rabbit://no-such-host.invalid/"), "dns", exitUnavailable, "no-such-host.invalid", "getent hosts no-such-host.invalid"},
		{"closed port", at("rabbit://127.0.0.1:1/"), "tcp", exitUnavailable, "127.0.0.1:1: connect: connection refused", "listens at 127.0.0.1:1"},
		{"nothing comes back", append(at("silent://"), "--timeout", "1s"), "consume", exitUnavailable, "the message did not come back within 1s", "the driver says more with --log-level warn"},
	} {
		t.Run(s.name, func(t *testing.T) { s.check(t, p) })
	}
	t.Run("another version", func(t *testing.T) {
		stop{"", []string{"--url", "fake://", "--pin", "fake=9.9.9"}, "file", exitUnavailable, "is passed over for the pin to version 9.9.9", "--pin"}.check(t, p)
	})
	t.Run("missing directory and another", func(t *testing.T) {
		r := p.doctor(t, exitDone, at("fake://", missing)...)
		if got := statusOf(r, "search"); got != stepWarn {
			t.Errorf("search is %q", got)
		}
	})
	t.Run("for people", func(t *testing.T) {
		got := p.run(t, append([]string{"doctor"}, at("plain://", dir)...)...)
		want := "\nfail  file       " + plain + " is not executable (mode 0600)"
		hint := "\n                 hint: run: chmod +x " + plain + "\n"
		if !strings.Contains(got.stdout, want) || !strings.HasSuffix(got.stdout, hint) || got.stderr != "" || got.status != exitUnavailable {
			t.Errorf("got %+v, want %s", got, want)
		}
	})
	t.Run("help names the steps", func(t *testing.T) {
		help := p.run(t, "doctor", "--help").stdout
		for _, s := range (&examination{}).steps() {
			if !strings.Contains(help, "\n  "+s.name+" ") {
				t.Errorf("%s is missing", s.name)
			}
		}
	})
	t.Run("another checksum", func(t *testing.T) {
		lock := filepath.Join(t.TempDir(), "parley.lock")
		p.doctor(t, exitDone, "--url", "fake://", "--lock-file", lock)
		path := filepath.Join(p.drivers, "parley-driver-fake")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString("another build")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		stop{"", []string{"--url", "fake://", "--lock-file", lock}, "trust", exitUnavailable, path, "parley drivers accept"}.check(t, p)
	})
}

// TestDoctorRabbitMQ makes the steps fail that a broker answers.
func TestDoctorRabbitMQ(t *testing.T) {
	p := build(t, "rabbit")
	authority := peertest.NewAuthority(t, "Parley test authority")
	other := peertest.NewAuthority(t, "another authority")
	files := authority.Issue(peertest.Issued{Name: "broker", Hosts: []string{"localhost"}, NotAfter: time.Now().Add(10*24*time.Hour + time.Hour)})
	broker := peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{TLS: files})
	vhost := broker.NewVhost(t)
	p.secret = "s3cr3t-of-doctor"
	as := func(name, configure, write, read string) string {
		t.Helper()
		if err := errors.Join(broker.AddUser(t.Context(), name, p.secret), broker.Permit(t.Context(), name, vhost, configure, write, read)); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("rabbit://%s:%s@%s/%s", name, p.secret, broker.Addr(), vhost)
	}
	p.env = append(p.env, urlVariable+"="+as("right", ".*", ".*", ".*"))
	good := p.env[len(p.env)-1][len(urlVariable)+1:]
	secure := func(host, query string) string {
		at := strings.Replace(broker.TLSAddr(), "127.0.0.1", host, 1)
		return strings.Replace(good, broker.Addr(), at, 1) + "?ssl=true" + query
	}
	ca := "&ssl_ca_file=" + url.QueryEscape(files.CA)
	toQueues := "^parley-doctor-[a-z0-9]*([.]doctor|_fanout.*)?$"
	access := "rabbitmqctl set_permissions"
	for _, s := range []stop{
		{"another authority", []string{"--url", secure("localhost", "&ssl_ca_file="+url.QueryEscape(other.File()))}, "tls", exitUnavailable, "is signed by an authority that is not known", "check that " + other.File()},
		{"the system's authorities", []string{"--url", secure("localhost", "")}, "tls", exitUnavailable, "(issuer CN=Parley test authority)", "name the file of the authority's certificate in ssl_ca_file"},
		{"another name", []string{"--url", secure("127.0.0.1", ca)}, "tls", exitUnavailable, `its certificate is not for the host "127.0.0.1" but for localhost`, "write one of these names into the URL"},
		{"TLS to a plain port", []string{"--url", good + "?ssl=true" + ca}, "tls", exitUnavailable, "it answered something that is no TLS", "take the broker's TLS port"},
		{"plain to a TLS port", []string{"--timeout", "2s", "--url", strings.Replace(good, broker.Addr(), broker.TLSAddr(), 1)}, "login", exitUnavailable, "the broker takes connections and did not answer in time", "if it is a port for TLS, set ssl=true"},
		{"wrong password", []string{"--url", "rabbit://right:wrong@" + broker.Addr() + "/"}, "login", exitUnavailable, `refused the login of user "right"`, "check user and password"},
		{"no virtual host", []string{"--url", broker.URL("no-such-vhost")}, "vhost", exitUnavailable, `no virtual host "no-such-vhost" for user "guest"`, "create the virtual host"},
		{"not allowed there", []string{"--url", strings.Replace(good, vhost, "", 1)}, "vhost", exitUnavailable, `no virtual host "/" for user "right"`, "allow the user to use it"},
		{"no configure", []string{"--url", as("no-configure", "^$", ".*", ".*")}, "declare", exitUnavailable, "access to exchange", "permission to configure it: " + access},
		{"no read", []string{"--url", as("no-read", ".*", ".*", "^$")}, "declare", exitUnavailable, "bind queue", "permission to read it: " + access},
		{"no read of queues", []string{"--timeout", "2s", "--url", as("no-read-queue", ".*", ".*", "(-exchange|_fanout)$")}, "consume", exitUnavailable, "the message did not come back within 2s", "lack the permission to read the queue"},
		{"no write", []string{"--url", as("no-write", ".*", "^$", ".*")}, "declare", exitUnavailable, "bind queue", "permission to write it: " + access},
		{"no write to exchanges", []string{"--url", as("no-write-exchange", ".*", toQueues, ".*")}, "publish", exitUnavailable, "publish: ACCESS_REFUSED", "permission to write it: " + access},
		{"no reply queue", []string{"--url", as("no-reply", "^parley-", ".*", ".*")}, "call", exitUnavailable, "reply_", "permission to configure it: " + access},
	} {
		t.Run(s.name, func(t *testing.T) { s.check(t, p) })
	}
	t.Run("TLS", func(t *testing.T) {
		r := p.doctor(t, exitDone, "--url", secure("localhost", ca))
		for _, s := range r.Steps {
			if s.Step == "tls" && (s.Status != stepWarn || !strings.Contains(s.Detail, "speaks TLS 1.") ||
				!strings.Contains(s.Detail, "as CN=broker for localhost, 10 days left") || !strings.Contains(s.Hint, "renew the certificate")) {
				t.Errorf("got %+v", s)
			}
		}
	})
	t.Run("blocked", func(t *testing.T) {
		ctl := func(limit string) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), e2eTimeout)
			defer cancel()
			if _, err := broker.Ctl(ctx, "set_vm_memory_high_watermark", "absolute", limit); err != nil {
				t.Error(err)
			}
		}
		ctl("1MB")
		relax := sync.OnceFunc(func() { ctl("2GB") })
		defer relax()
		stop{"", []string{"--timeout", "3s"}, "publish", exitUnavailable, "takes no messages: low on memory", "look at its alarms for memory and disk"}.check(t, p)
		relax()
		eventually(t, "a broker that works again", func() bool { return p.run(t, "doctor").status == exitDone })
	})
}
