// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ran is how a command ended.
type ran struct {
	stdout, stderr string
	status         int
}

// inProcess runs the command in the test's process.
func inProcess(t *testing.T, env map[string]string, stdin string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, env: func(name string) string { return env[name] }}
	status := a.main(t.Context(), args)
	return ran{stdout.String(), stderr.String(), status}
}

// TestUsage has the texts of mistakes: they are what most people see of the command first.
func TestUsage(t *testing.T) {
	const url = "fake://"
	tests := []struct {
		args string
		want string
	}{
		{"fo", "there is no command \"fo\" of \"parley\"\n  hint: run: parley --help"},
		{"serv", "there is no command \"serv\" of \"parley\"\n  hint: did you mean serve?"},
		{"drivers shw", "there is no command \"shw\" of \"parley drivers\"\n  hint: did you mean show?"},
		{"bench cast", "there is no command \"cast\" of \"parley bench\"\n  hint: run: parley bench --help"},
		{"--nope", "unknown flag: --nope\n  hint: see: parley --help"},
		{"call --topc x", "unknown flag: --topc\n  hint: see: parley call --help"},
		{"call --timeout soon x", "invalid argument \"soon\" for \"--timeout\" flag: want a time such as 5s, 200ms or 1.5 (seconds), not negative\n  hint: see: parley call --help"},
		{"call", "the method is missing\n  hint: name it, such as: parley call --topic demo echo greeting=hello"},
		{"call --topic t a=b", "\"a=b\" is an argument, not a method\n  hint: the method comes before the arguments"},
		{"call x", "no topic is given\n  hint: name the service with --topic"},
		{"call --topic t --timeout 0 x", "the timeout is zero\n  hint: give a time such as --timeout 5s"},
		{"call --topic t x y", "\"y\" is not an argument\n  hint: write key=text, key:=json, one JSON object, or - to read one from standard input"},
		{"call --topic t x", "no transport URL is given\n  hint: set PARLEY_URL, or give --url-file or --url, such as rabbit://user:password@host:5672/"},
		{"call --topic t --url a:// --url-file b x", "both --url and --url-file are given\n  hint: give one of them"},
		{"call --topic t --url-file - x -", "both the URL and the arguments are to come from standard input\n  hint: read one of them from a file"},
		{"call --topic t --context [] --url " + url + " x", "the request context is not a JSON object\n  hint: write one, such as --context '{\"user_id\": \"u-1\"}'"},
		{"call --topic t --url nonsense x", "parse transport URL: transport URL has no scheme; write it as e.g. rabbit://user@host:5672/vhost"},
		{"cast --topic t --server s --fanout x", "both --server and --fanout are given\n  hint: address one server or all of them"},
		{"serve --topic t --server s", "serve needs either --echo or --exec CMD\n  hint: give one of them"},
		{"serve --topic t --server s --echo --exec cat", "serve needs either --echo or --exec CMD\n  hint: give one of them"},
		{"serve --topic t --echo", "no server name is given\n  hint: name this server with --server"},
		{"serve --topic t --server s --echo --version 2", "\"2\" is not a version\n  hint: write major.minor, such as 2.3"},
		{"serve --topic t --server s --echo extra", "\"extra\" is one argument too many\n  hint: see: parley serve --help"},
		{"notify a=b", "\"a=b\" is no event type, which comes before the arguments\n  hint: write: parley notify test key=text"},
		{"notify x y", "\"y\" is not an argument\n  hint: write key=text, key:=json, one JSON object, or - to read one from standard input"},
		{"notify x :={", "the payload is not JSON: json: want a string at offset 1\n  hint: write any JSON value, or =text for a text"},
		{"notify --priority loud x", "notification: there is no priority \"loud\"\n  hint: use one of audit, debug, info, warn, error, critical, sample"},
		{"notify --format 3 x", "there is no format \"3\"\n  hint: use 1.0 or 2.0"},
		{"notify --header a x", "\"a\" is no header\n  hint: write --header KEY=VALUE"},
		{"notify --timeout 0 x", "the timeout is zero\n  hint: give a time such as --timeout 5s"},
		{"notify --lines x a=b", "both --lines and arguments are given\n  hint: give one of them"},
		{"notify --lines --url-file - x", "both the URL and the payload are to come from standard input\n  hint: read one of them from a file"},
		{"notify --context 1 --url fake:// x", "the request context is not a JSON object\n  hint: write one, such as --context '{\"user_id\": \"u-1\"}'"},
		{"listen --priority info,loud", "notification: there is no priority \"loud\"\n  hint: use one of audit, debug, info, warn, error, critical, sample"},
		{"listen --payload state", "\"state\" is no payload\n  hint: write --payload KEY=REGEX"},
		{"listen --metadata a=b --metadata a=c", "the metadata \"a\" is given twice\n  hint: give each key once"},
		{"listen --count -1", "--count is -1\n  hint: give a number from 1, or 0 for no end"},
		{"listen extra", "\"extra\" is one argument too many\n  hint: see: parley listen --help"},
		{"bench notify", "no topic is given\n  hint: name one with --topic, or start a listener with --with-listener"},
		{"bench notify --topic t --notifications 0 --duration 0", "there is nothing to measure\n  hint: give --notifications or --duration a number above zero"},
		{"drivers show", "the driver's name is missing\n  hint: see: parley drivers show --help"},
		{"bench rpc", "no topic is given\n  hint: name the service with --topic, or start one with --with-server"},
		{"bench rpc --topic t --in-flight 0", "--in-flight is 0\n  hint: give a number from 1 to 100000"},
		{"version -o yaml", "there is no output form \"yaml\"\n  hint: use -o text or -o json"},
		{"version --log-level loud", "there is no log level \"loud\"\n  hint: use debug, info, warn, error or off"},
		{"version --pin x", "\"x\" is no pin\n  hint: write --pin NAME=VERSION, such as --pin rabbit=1.2.0"},
		{"version --pin a=1 --pin a=2", "the driver \"a\" is pinned to both 1 and 2\n  hint: give each driver one version"},
		{"drivers reload --pid 5 --all", "both --pid and --all are given\n  hint: give one of them"},
		{"drivers accept", "the driver's name or file is missing\n  hint: see: parley drivers accept --help"},
		{"drivers install", "the driver's file is missing\n  hint: see: parley drivers install --help"},
		{"drivers --trust maybe", "there is no trust \"maybe\"\n  hint: use lock, off or require"},
		{"drivers env", "the driver's name is missing\n  hint: see: parley drivers env --help"},
		{"version --alias x", "\"x\" is not an alias\n  hint: write --alias OLD=NEW, such as --alias kombu=rabbit"},
		{"version --alias a=b --alias a=c", "the alias \"a\" stands for both \"b\" and \"c\"\n  hint: give each alias once"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			got := inProcess(t, nil, "", strings.Fields(test.args)...)
			want := ran{"", "parley: " + test.want + "\n", exitUsage}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestUsageForPrograms(t *testing.T) {
	for _, args := range [][]string{
		{"call", "-o", "json", "--nope"}, {"-ojson", "fo"}, {"call", "--output=json"}, {"call", "x", "--output", "json"},
	} {
		got := inProcess(t, nil, "", args...)
		var f map[string]failure
		if err := json.Unmarshal([]byte(got.stderr), &f); err != nil {
			t.Errorf("%v: standard error is not one JSON value: %v: %q", args, err, got.stderr)
		}
		if f["error"].Code != codeUsage || got.status != exitUsage || got.stdout != "" {
			t.Errorf("%v: got %+v", args, got)
		}
	}
}

// TestHelp: every command has a description and examples.
func TestHelp(t *testing.T) {
	for _, command := range []string{"", "call", "cast", "serve", "notify", "listen", "drivers", "drivers list", "drivers show", "drivers accept", "drivers install", "drivers ps", "drivers reload", "drivers env", "doctor", "bench", "bench rpc", "bench notify", "version"} {
		got := inProcess(t, nil, "", append(strings.Fields(command), "--help")...)
		if got.status != exitDone || !strings.Contains(got.stdout, "Examples:\n  ") || len(got.stdout) < 300 {
			t.Errorf("parley %s --help: %+v", command, got)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := inProcess(t, nil, "", "version"); got.status != exitDone || !strings.HasPrefix(got.stdout, "parley ") {
		t.Errorf("got %+v", got)
	}
	got := inProcess(t, nil, "", "version", "-o", "json")
	var info versionInfo
	if err := json.Unmarshal([]byte(got.stdout), &info); err != nil || info.Version == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestURLSources: the command line comes before the environment, that before the file.
func TestURLSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	urlFile := write("url", "byfile://h\nignored\n")
	byURL := write("url.conf", "# comment\n\nurl = byconfig://h\n")
	byFile := write("urlfile.conf", "url-file = "+urlFile+"\n")
	empty := write("empty", "\n")
	env := map[string]string{urlVariable: "byenv://h"}
	tests := []struct {
		name  string
		env   map[string]string
		stdin string
		args  []string
		want  string
	}{
		{"flag", env, "", []string{"--url", "byflag://h", "--config", byURL}, "byflag"},
		{"file", env, "", []string{"--url-file", urlFile, "--config", byURL}, "byfile"},
		{"standard input", env, "bystdin://h", []string{"--url-file", "-"}, "bystdin"},
		{"environment", env, "", []string{"--config", byURL}, "byenv"},
		{"configuration", nil, "", []string{"--config", byURL}, "byconfig"},
		{"configuration's file", nil, "", []string{"--config", byFile}, "byfile"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := inProcess(t, test.env, test.stdin, append([]string{"doctor"}, test.args...)...)
			if got.status != exitUnavailable || !strings.HasPrefix(got.stdout, "ok    url        "+test.want+"://h") {
				t.Errorf("got %+v", got)
			}
		})
	}
	got := inProcess(t, nil, "", "doctor", "--url-file", empty)
	if want := "parley: there is no transport URL in " + empty + "\n  hint: write the URL on the first line\n"; got.stderr != want || got.status != exitUsage {
		t.Errorf("got %+v", got)
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "parley.conf")
	tests := []struct {
		name, text string
		args       []string
		want       string
		status     int
	}{
		{"defaults", "output = json\n", []string{"version"}, `{"version":`, exitDone},
		{"the command line wins", "output = json\n", []string{"version", "-o", "text"}, "parley ", exitDone},
		{"of another command", "topic = t\nin-flight = 4\n", []string{"version"}, "parley ", exitDone},
		{"unknown", "tpic = t\n", []string{"version"}, "line 1: there is no setting \"tpic\"", exitUsage},
		{"bad value", "\ntimeout = soon\n", []string{"call", "x"}, "line 2: timeout: want a time", exitUsage},
		{"no setting", "url rabbit://u:secret@h/\n", []string{"version"}, "line 1 is not a setting", exitUsage},
		{"itself", "config = x\n", []string{"version"}, "line 1: \"config\" cannot be set in a file", exitUsage},
		{"list", "alias = a=b\nalias = a=c\n", []string{"version"}, "the alias \"a\" stands for both", exitUsage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := inProcess(t, nil, "", append(test.args, "--config", file)...)
			if got.status != test.status || !strings.Contains(got.stdout+got.stderr, test.want) {
				t.Errorf("got %+v, want %q", got, test.want)
			}
			if strings.Contains(got.stdout+got.stderr, "secret") {
				t.Errorf("a password is shown: %+v", got)
			}
		})
	}
}

func TestPasswordFileIsPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o644: true} {
		if err := os.WriteFile(file, []byte("none://u:secret@h/\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		got := inProcess(t, nil, "", "doctor", "--url-file", file)
		if strings.Contains(got.stderr, "other users can read") != warned || strings.Contains(got.stdout+got.stderr, "secret") {
			t.Errorf("mode %v: got %+v", mode, got)
		}
	}
}

// TestNamespace: what an endpoint would panic about is wrong usage.
func TestNamespace(t *testing.T) {
	for _, namespace := range []string{"a\nb", "\xff", strings.Repeat("n", 256)} {
		for _, command := range []string{"serve --topic t --server s --echo --url fake://", "bench rpc --with-server --url fake://"} {
			got := inProcess(t, nil, "", append(strings.Fields(command), "--namespace", namespace)...)
			if got.status != exitUsage || !strings.Contains(got.stderr, "is not a namespace") {
				t.Errorf("%s, %q: got %+v", command, namespace, got)
			}
		}
	}
}
