// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/layout"
)

// listed is what "go list" prints of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func goList(t *testing.T) []layout.Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	standard := make(map[string]bool)
	var packages []layout.Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if l.Standard {
			standard[l.ImportPath] = true
		}
		packages = append(packages, layout.Package{ImportPath: l.ImportPath, Imports: l.Imports, Deps: l.Deps, Standard: standard})
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestImportsFollowTheTable(t *testing.T) {
	packages := goList(t)
	for _, sentence := range layout.Check(layout.Rules(), packages) {
		t.Error(sentence)
	}
	for _, r := range layout.Rules() {
		pattern := strings.TrimSuffix(r.Package, "/...")
		found := false
		for _, p := range packages {
			found = found || strings.HasPrefix(p.ImportPath, layout.Module+"/"+pattern)
		}
		if !found {
			t.Errorf("the rule for %s fits no package: the table is out of date", r.Package)
		}
	}
}

// TestOneWrongImportIsFound plants each kind of mistake: a check that cannot fail is none.
func TestOneWrongImportIsFound(t *testing.T) {
	standard := map[string]bool{"context": true}
	mod := func(s string) string { return layout.Module + "/" + s }
	for _, tc := range []struct {
		name, pkg, imp, dep string
	}{
		{name: "contract imports protobuf", pkg: "plugin/driver", imp: "google.golang.org/protobuf/proto"},
		{name: "core imports grpc", pkg: "messaging", imp: "google.golang.org/grpc"},
		{name: "core links the sdk", pkg: "messaging", dep: mod("sdk")},
		{name: "core links a driver", pkg: "messaging", dep: mod("plugins/rabbit")},
		{name: "core links tracing", pkg: "messaging", dep: "go.opentelemetry.io/otel/trace"},
		{name: "core links metrics", pkg: "messaging", dep: "github.com/prometheus/client_golang/prometheus"},
		{name: "tracing links its SDK", pkg: "messaging/messagingotel", dep: "go.opentelemetry.io/otel/sdk/trace"},
		{name: "metrics import tracing", pkg: "messaging/messagingprom", imp: "go.opentelemetry.io/otel"},
		{name: "protobuf imports gRPC", pkg: "messaging/messagingproto", imp: "google.golang.org/grpc"},
		{name: "example imports what is internal", pkg: "examples/typed", imp: mod("internal/pyjson")},
		{name: "host knows the core", pkg: "messaging/internal/host", dep: mod("messaging")},
		{name: "sdk links the core", pkg: "sdk", dep: mod("messaging")},
		{name: "driver imports the core", pkg: "plugins/rabbit", imp: mod("messaging")},
		{name: "part of a driver imports the core", pkg: "plugins/zmq/internal/node", imp: mod("messaging")},
		{name: "driver links another", pkg: "plugins/zmq", dep: mod("plugins/rabbit")},
		{name: "driver imports another", pkg: "plugins/fake", imp: mod("plugins/rabbit")},
		{name: "driver links what is for tests", pkg: "plugins/rabbit", dep: mod("plugins/internal/testkit")},
		{name: "driver imports what is for tests", pkg: "plugins/qpid", imp: mod("internal/ledger")},
		{name: "command imports a driver", pkg: "cmd/parley", imp: mod("plugins/fake")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := layout.Package{ImportPath: mod(tc.pkg), Imports: []string{"context"}, Standard: standard}
			if broken := layout.Check(layout.Rules(), []layout.Package{p}); len(broken) != 0 {
				t.Fatalf("clean package refused: %v", broken)
			}
			if tc.imp != "" {
				p.Imports = append(p.Imports, tc.imp)
			}
			if tc.dep != "" {
				p.Deps = append(p.Deps, tc.dep)
			}
			if broken := layout.Check(layout.Rules(), []layout.Package{p}); len(broken) == 0 {
				t.Error("not found")
			}
		})
	}
}

// TestImporterGetsNoForeignLibrary builds an application that imports only the core, in a
// module of its own, and looks into its go.sum and its binary.
func TestImporterGetsNoForeignLibrary(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.test/app\n\ngo 1.26\n\nrequire "+layout.Module+" v0.0.0\n\nreplace "+layout.Module+" => "+root(t)+"\n")
	write("main.go", "package main\n\nimport (\n\t\"context\"\n\t\"fmt\"\n\n\t\""+layout.Module+"/messaging\"\n)\n\nfunc main() {\n\t_, err := messaging.Open(context.Background(), \"none://\", nil)\n\tfmt.Println(err)\n}\n")
	run := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("mod", "tidy")
	run("build", "-o", "app", ".")
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	linked := run("version", "-m", "app")
	for _, library := range []string{"amqp091-go", "go-amqp", "zmq4", "spf13/cobra", "prometheus", "opentelemetry"} {
		if strings.Contains(string(sum), library) {
			t.Errorf("the application's go.sum has %s", library)
		}
		if strings.Contains(linked, library) {
			t.Errorf("the application's binary links %s", library)
		}
	}
	if !strings.Contains(linked, layout.Module) {
		t.Error("the application does not link Parley: the test proves nothing")
	}
}
