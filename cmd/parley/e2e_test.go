// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testprogram"
	"github.com/parleymq/parley/messaging"
)

// e2eTimeout bounds every run of the command in these tests.
const e2eTimeout = 60 * time.Second

// program is the command with its drivers, built for one test, and the environment it runs in.
type program struct {
	path, drivers string
	env           []string
	secret        string // must never be shown
}

// build builds the command and some drivers.
func build(t *testing.T, drivers ...string) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{path: filepath.Join(dir, "bin", "parley"), drivers: filepath.Join(dir, "drivers")}
	for _, d := range []string{filepath.Dir(p.path), p.drivers} {
		// Whatever the umask is: what others can write to is refused.
		if err := errors.Join(os.Mkdir(d, 0o700), os.Chmod(d, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	goBuild(t, p.path, "cmd/parley")
	for _, name := range drivers {
		goBuild(t, filepath.Join(p.drivers, "parley-driver-"+name), "plugins/"+name)
	}
	p.env = append(withoutParley(os.Environ()), "PARLEY_DRIVER_PATH="+p.drivers, "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_STATE_HOME=", "XDG_DATA_HOME=")
	return p
}

func goBuild(t *testing.T, output, pkg string) {
	t.Helper()
	if err := testprogram.Build(t.Context(), output, pkg); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(output, 0o700); err != nil {
		t.Fatal(err)
	}
}

// withoutParley keeps the settings of whoever runs the tests out of them.
func withoutParley(env []string) []string {
	return slices.DeleteFunc(env, func(entry string) bool {
		return strings.HasPrefix(entry, "PARLEY_") && !strings.HasPrefix(entry, "PARLEY_TEST")
	})
}

// run runs the command to its end.
func (p *program) run(t *testing.T, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2eTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = p.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("parley %v: %v", args, err)
	}
	p.checkSecret(t, stdout.String()+stderr.String())
	return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (p *program) checkSecret(t *testing.T, output string) {
	t.Helper()
	if p.secret != "" && strings.Contains(output, p.secret) {
		t.Errorf("the password is shown: %s", output)
	}
}

// expect runs the command and compares what is given: nil is anything.
func (p *program) expect(t *testing.T, status int, stdout string, args ...string) ran {
	t.Helper()
	got := p.run(t, args...)
	if got.status != status || got.stdout != stdout {
		t.Errorf("parley %s: got %+v, want status %d and %q", strings.Join(args, " "), got, status, stdout)
	}
	return got
}

// server is a running parley serve or listen.
type server struct {
	cmd    *exec.Cmd
	ready  chan struct{}
	ended  chan struct{}
	output bytes.Buffer // of standard error; readable once ended is closed
	stdout bytes.Buffer // likewise
	status int          // that it has to end with
}

// serve starts parley serve and waits for the line that says that it receives. It is stopped
// when the test ends, and must then end in order.
func (p *program) serve(t *testing.T, args ...string) *server {
	t.Helper()
	return p.start(t, &server{}, append([]string{"serve"}, args...)...)
}

// start starts a command that receives and waits for the line that says so.
func (p *program) start(t *testing.T, s *server, args ...string) *server {
	t.Helper()
	s.ready, s.ended = make(chan struct{}), make(chan struct{})
	s.cmd = exec.Command(p.path, append(args, "-o", "json")...)
	s.cmd.Env = p.env
	s.cmd.Stdout = &s.stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(stderr)
		announced := false
		for lines.Scan() {
			fmt.Fprintln(&s.output, lines.Text())
			var a announcement
			if json.Unmarshal(lines.Bytes(), &a) == nil && a.Event == eventConsuming && !announced {
				announced = true
				close(s.ready)
			}
		}
		_ = s.cmd.Wait() // ProcessState has it
	}()
	t.Cleanup(func() { s.stop(t, p) })
	select {
	case <-s.ready:
	case <-s.ended:
		t.Fatalf("parley %v ended: %s", args, s.output.String())
	case <-time.After(e2eTimeout):
		t.Fatalf("parley %v is not ready", args)
	}
	return s
}

// stop asks the server to end and checks that it does so in order.
func (s *server) stop(t *testing.T, p *program) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	s.wait(t, p)
}

// wait waits for the end of the server.
func (s *server) wait(t *testing.T, p *program) {
	select {
	case <-s.ended:
	case <-time.After(e2eTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
		t.Errorf("parley %v did not end", s.cmd.Args[1:])
	}
	if code := s.cmd.ProcessState.ExitCode(); code != s.status {
		t.Errorf("parley %v ended with status %d: %s", s.cmd.Args[1:], code, s.output.String())
	}
	p.checkSecret(t, s.output.String()+s.stdout.String())
}

// failureOf reads the error object of a run with -o json: its last line.
func failureOf(t *testing.T, r ran) failure {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	var f map[string]failure
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &f); err != nil {
		t.Fatalf("no error object: %v: %+v", err, r)
	}
	return f["error"]
}

// TestOneProcess has what needs no broker.
func TestOneProcess(t *testing.T) {
	p := build(t, "fake")
	t.Run("drivers list", func(t *testing.T) { testDriversList(t, p) })
	t.Run("drivers show", func(t *testing.T) { testDriversShow(t, p) })
	t.Run("doctor", func(t *testing.T) { testDoctorFake(t, p) })
	t.Run("bench", func(t *testing.T) { testBench(t, p, "fake://", cpuClient, cpuClientDriver) })
	t.Run("bench notify", func(t *testing.T) { testBenchNotify(t, p, "fake://", cpuClient, cpuClientDriver) })
	t.Run("notify", func(t *testing.T) { p.expect(t, exitDone, "", "notify", "--url", "fake://", "x", "a=1") })
	t.Run("no driver", func(t *testing.T) {
		got := p.expect(t, exitUnavailable, "", "call", "-o", "json", "--url", "fakke://", "--topic", "t", "x")
		if f := failureOf(t, got); f.Code != string(messaging.CodeUnavailable) || f.Hint != `did you mean "fake"?` {
			t.Errorf("got %+v", f)
		}
	})
	t.Run("wrong option", func(t *testing.T) {
		got := p.expect(t, exitUsage, "", "call", "-o", "json", "--url", "fake:///?nope=1", "--topic", "t", "x")
		if f := failureOf(t, got); f.Code != string(messaging.CodeConfig) || !strings.Contains(f.Message, `unknown option "nope"`) {
			t.Errorf("got %+v", f)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		got := p.expect(t, exitUndeliverable, "", "call", "-o", "json", "--url", "fake://", "--topic", "t", "x")
		if f := failureOf(t, got); f.Code != string(messaging.CodeUndeliverable) || f.Hint == "" {
			t.Errorf("got %+v", f)
		}
	})
	t.Run("completion", func(t *testing.T) {
		for _, shell := range []string{"bash", "zsh", "fish"} {
			if got := p.run(t, "completion", shell); got.status != exitDone || len(got.stdout) < 1000 {
				t.Errorf("%s: got %+v", shell, got)
			}
		}
	})
}

func testDriversList(t *testing.T, p *program) {
	more := filepath.Join(t.TempDir(), "more")
	if err := errors.Join(os.Mkdir(more, 0o700), os.WriteFile(filepath.Join(more, "parley-driver-fake_v1.2.3"), nil, 0o700),
		os.WriteFile(filepath.Join(more, "parley-driver-loose"), nil, 0o700), os.Chmod(filepath.Join(more, "parley-driver-loose"), 0o777)); err != nil {
		t.Fatal(err)
	}
	got := p.run(t, "drivers", "-o", "json", "--driver-path", p.drivers, "--driver-path", more)
	var files []messaging.DriverFile
	if err := json.Unmarshal([]byte(got.stdout), &files); err != nil || len(files) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	chosenPath := filepath.Join(p.drivers, "parley-driver-fake")
	if f := files[0]; f.Status != statusChosen || f.Path != chosenPath || f.Origin != "option" {
		t.Errorf("got %+v", f)
	}
	if f := files[1]; f.Status != statusShadowed || f.Version != "1.2.3" || f.Why != chosenPath {
		t.Errorf("got %+v", f)
	}
	if f := files[2]; f.Status != statusRefused || !strings.Contains(f.Why, "chmod go-w") {
		t.Errorf("got %+v", f)
	}
	text := p.run(t, "drivers", "list", "--driver-path", p.drivers, "--driver-path", more).stdout
	for _, want := range []string{"NAME ", "shadowed by " + chosenPath, "refused because file " + filepath.Join(more, "parley-driver-loose")} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func testDriversShow(t *testing.T, p *program) {
	got := p.run(t, "drivers", "show", "old", "--alias", "old=fake", "-o", "json")
	var d shownDriver
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || d.Name != "fake" || !d.Has("rpc") || d.File == nil || len(d.Options) == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	text := p.run(t, "drivers", "show", "fake").stdout
	if !strings.Contains(text, "capabilities  rpc") || !strings.Contains(text, d.Options[0].Help) {
		t.Errorf("got %s", text)
	}
	if got := p.run(t, "drivers", "show", "nope"); got.status != exitUnavailable || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
	if got := p.run(t, "drivers", "show", "../fake"); got.status != exitUsage || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
}

// statusOf returns the status of a step, "" when it was not reached.
func statusOf(r report, step string) string {
	for _, s := range r.Steps {
		if s.Step == step {
			return s.Status
		}
	}
	return ""
}

func (p *program) doctor(t *testing.T, status int, args ...string) report {
	t.Helper()
	got := p.run(t, append([]string{"doctor", "-o", "json"}, args...)...)
	var r report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.status != status || r.OK != (status == exitDone) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if last := r.Steps[len(r.Steps)-1]; !r.OK && (last.Status != stepFail || last.Hint == "") {
		t.Errorf("the last step is %+v", last)
	}
	return r
}

func testDoctorFake(t *testing.T, p *program) {
	r := p.doctor(t, exitDone, "--url", "fake://")
	for step, want := range map[string]string{"url": stepOK, "handshake": stepOK, "tcp": stepSkip, "tls": stepSkip, "login": stepOK, "declare": stepOK, "publish": stepOK, "consume": stepOK, "call": stepOK} {
		if got := statusOf(r, step); got != want {
			t.Errorf("%s is %q, want %q", step, got, want)
		}
	}
	text := p.run(t, "doctor", "--url", "fake://").stdout
	if !strings.Contains(text, "ok    consume    it came back") {
		t.Errorf("got %s", text)
	}
}

func testBench(t *testing.T, p *program, url string, processes ...string) {
	p.env = append(slices.Clone(p.env), urlVariable+"="+url)
	got := p.run(t, "bench", "rpc", "-o", "json", "--with-server", "--calls", "200", "--in-flight", "4", "--warm-up", "50ms")
	var f figures
	if err := json.Unmarshal([]byte(got.stdout), &f); err != nil || got.status != exitDone {
		t.Fatalf("got %+v, %v", got, err)
	}
	l := f.Latency
	if f.Calls != 200 || len(f.Errors) != 0 || f.CallsPerSecond <= 0 || l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max {
		t.Errorf("got %+v", f)
	}
	for _, name := range processes {
		if _, ok := f.CPUSeconds[name]; !ok {
			t.Errorf("no processor time of %s in %v", name, f.CPUSeconds)
		}
	}
	if got.stderr != "" {
		t.Errorf("standard error is not quiet: %s", got.stderr)
	}
}

// TestRabbitMQ runs servers and callers as processes that meet at a real broker.
func TestRabbitMQ(t *testing.T) {
	p := build(t, "rabbit")
	broker := peertest.RunSharedRabbitMQ(t)
	vhost := broker.NewVhost(t)
	p.secret = "hidden" + rand.Text()
	user := "u-" + strings.ToLower(rand.Text())
	if err := errors.Join(broker.AddUser(t.Context(), user, p.secret), broker.Allow(t.Context(), user, vhost)); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("rabbit://%s:%s@%s/%s", user, p.secret, broker.Addr(), vhost)
	p.env = append(p.env, urlVariable+"="+url)

	testRPC(t, p, url, exitDone)
	testNotifications(t, p, url, "--url", "rabbit://u:p@127.0.0.1:1/")
	t.Run("stored notifications", func(t *testing.T) { testStoredNotifications(t, p) })
	t.Run("doctor", func(t *testing.T) { testDoctorPasses(t, p, broker, vhost) })
	t.Run("broker away", func(t *testing.T) {
		got := p.expect(t, exitUnavailable, "", "call", "-o", "json", "--url", "rabbit://u:p@127.0.0.1:1/", "--timeout", "1s", "--topic", "t", "x")
		if f := failureOf(t, got); f.Code != string(messaging.CodeUnavailable) || f.Hint == "" {
			t.Errorf("got %+v", f)
		}
	})
}

// testRPC is what holds on every wire. A cast that is not mandatory and that nobody listens to ends
// with the status unheard.
func testRPC(t *testing.T, p *program, url string, unheard int) {
	t.Run("echo", func(t *testing.T) { testEcho(t, p) })
	t.Run("exec", func(t *testing.T) { testExec(t, p) })
	t.Run("interrupt", func(t *testing.T) { testInterrupt(t, p) })
	t.Run("cast", func(t *testing.T) { testCast(t, p, unheard) })
	t.Run("namespace and version", func(t *testing.T) { testInterface(t, p) })
	t.Run("bench", func(t *testing.T) {
		q := *p
		testBench(t, &q, url, cpuClient, cpuClientDriver, cpuServer, cpuServerDriver)
	})
}

func testEcho(t *testing.T, p *program) {
	p.serve(t, "--topic", "echo", "--server", "one", "--echo", "--drain", "100ms", "--log-level", "debug")
	call := func(args ...string) []string { return append([]string{"call", "--topic", "echo"}, args...) }

	p.expect(t, exitDone, "pong\n", call("ping")...)
	p.expect(t, exitDone, "\"pong\"\n", call("-o", "json", "ping")...)
	p.expect(t, exitDone, "{}\n", call("--server", "one", "echo")...)
	p.expect(t, exitDone, "{\n  \"f\": 1.0,\n  \"n\": 12345678901234567890123,\n  \"t\": \"ä<\"\n}\n",
		call("--log-level", "debug", "echo", "t=ä<", "n:=12345678901234567890123", "f:=1.0")...)
	p.expect(t, exitDone, "0.01\n", call("--monitor", "2s", "sleep", "seconds:=0.01")...)

	got := p.expect(t, exitRemote, "", call("-o", "json", "fail", "message=broken", "class=InstanceNotFound", "module=nova.exception")...)
	want := failure{Code: codeRemote, Message: "broken", Module: "nova.exception", Class: "InstanceNotFound"}
	if f := failureOf(t, got); f != want {
		t.Errorf("got %+v, want %+v", f, want)
	}
	if got := p.expect(t, exitRemote, "", call("fail", "message=broken")...); got.stderr != "parley: the remote side raised RuntimeError: broken\n" {
		t.Errorf("got %q", got.stderr)
	}
	got = p.expect(t, exitRemote, "", call("-o", "json", "nosuch")...)
	if f := failureOf(t, got); f.Class != "NoSuchMethod" {
		t.Errorf("got %+v", f)
	}
	got = p.expect(t, exitNoReply, "", call("-o", "json", "--timeout", "500ms", "sleep", "seconds:=60")...)
	if f := failureOf(t, got); f.Code != string(messaging.CodeNoReply) {
		t.Errorf("got %+v", f)
	}
	got = p.expect(t, exitUndeliverable, "", "call", "-o", "json", "--topic", "nobody", "x")
	if f := failureOf(t, got); f.Code != string(messaging.CodeUndeliverable) || f.Hint == "" {
		t.Errorf("got %+v", f)
	}
}

func testExec(t *testing.T, p *program) {
	p.serve(t, "--topic", "exec", "--server", "one", "--exec",
		`case $PARLEY_METHOD in same) cat;; who) echo "I am $PARLEY_METHOD";; *) echo "cannot $PARLEY_METHOD" >&2; exit 9;; esac`)
	p.expect(t, exitDone, "{\"a\": 1}\n", "call", "--topic", "exec", "-o", "json", "same", "a:=1")
	p.expect(t, exitDone, "I am who\n", "call", "--topic", "exec", "who")
	got := p.expect(t, exitRemote, "", "call", "--topic", "exec", "-o", "json", "dance")
	if f := failureOf(t, got); f.Class != "CommandFailed" || f.Message != "the command ended with status 9: cannot dance" {
		t.Errorf("got %+v", f)
	}
}

// testInterrupt: SIGINT ends a call with its status, SIGTERM a server with what it runs.
func testInterrupt(t *testing.T, p *program) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	s := p.serve(t, "--topic", "slow", "--server", "one", "--drain", "100ms", "--exec", "echo $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; sleep 1000")
	cmd := exec.Command(p.path, "call", "--topic", "slow", "-o", "json", "x")
	cmd.Env = p.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := awaitPID(t, pidFile)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its status is what is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), codeInterrupted) {
		t.Errorf("the call ended with %d: %s", code, stderr.String())
	}
	if gone(pid) {
		t.Error("the command ended with the caller")
	}
	s.stop(t, p)
	eventually(t, "the end of the command", func() bool { return gone(pid) })
}

func testCast(t *testing.T, p *program, unheard int) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		p.serve(t, "--topic", "cast", "--server", name, "--exec", "touch "+dir+"/"+name+".$PARLEY_METHOD")
	}
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	p.expect(t, exitDone, "", "cast", "--topic", "cast", "--server", "two", "direct")
	eventually(t, "the cast to one server", func() bool { return exists("two.direct") })
	p.expect(t, exitDone, "null\n", "cast", "-o", "json", "--topic", "cast", "--fanout", "all")
	eventually(t, "the cast to all servers", func() bool { return exists("one.all") && exists("two.all") })
	p.expect(t, exitUndeliverable, "", "cast", "--topic", "nobody", "--mandatory", "x")
	p.expect(t, unheard, "", "cast", "--topic", "nobody", "--timeout", "1s", "x")
	p.expect(t, exitDone, "", "cast", "--topic", "nobody", "--fanout", "x")
	if exists("one.direct") {
		t.Error("the cast to one server reached the other")
	}
}

func testInterface(t *testing.T, p *program) {
	p.serve(t, "--topic", "iface", "--server", "one", "--echo", "--namespace", "ns", "--version", "2.3", "--exchange", "ex")
	call := func(args ...string) []string {
		return append([]string{"call", "-o", "json", "--topic", "iface", "--exchange", "ex"}, args...)
	}
	p.expect(t, exitDone, "\"pong\"\n", call("--namespace", "ns", "--version", "2.1", "ping")...)
	for _, args := range [][]string{{"--namespace", "ns", "--version", "2.4", "ping"}, {"--version", "2.1", "ping"}} {
		if f := failureOf(t, p.expect(t, exitRemote, "", call(args...)...)); f.Class != "UnsupportedVersion" {
			t.Errorf("%v: got %+v", args, f)
		}
	}
}

func testDoctorPasses(t *testing.T, p *program, broker *peertest.RabbitMQ, vhost string) {
	r := p.doctor(t, exitDone)
	for _, s := range r.Steps {
		if want := map[string]string{"tls": stepSkip, "broker": stepSkip}[s.Step]; s.Status != cmp.Or(want, stepOK) {
			t.Errorf("got %+v", s)
		}
	}
	left, err := broker.Ctl(t.Context(), "list_queues", "-p", vhost, "name")
	if err != nil {
		t.Fatal(err)
	}
	exchanges, err := broker.Ctl(t.Context(), "list_exchanges", "-p", vhost, "name")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(left+exchanges, "parley-doctor") {
		t.Errorf("doctor left something behind:\n%s%s", left, exchanges)
	}
	// One host of two is enough, and the other is told.
	r = p.doctor(t, exitDone, "--url", strings.Replace(broker.URL(vhost), "@", "@127.0.0.1:1,guest:guest@", 1))
	if got := statusOf(r, "tcp"); got != stepWarn {
		t.Errorf("tcp is %q", got)
	}
}
