// SPDX-License-Identifier: Apache-2.0

// Package layout holds the rule of who may import whom, as data, and checks it. The table is
// the one of docs/ARCHITECTURE.md; the test beside it fails when one import breaks a row.
package layout

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path all rules are relative to.
const Module = "github.com/parleymq/parley"

// Rule says what a package, or a tree of packages, may import.
type Rule struct {
	// Package is a path below Module; "..." at its end stands for the tree below it.
	Package string
	// May lists what may be imported directly besides the standard library and the package's
	// own tree. Paths without a dot in the first element are below Module.
	May []string
	// Never lists what may not be linked at all, however indirectly.
	Never []string
}

// Rules is the table. The first rule that fits a package is its rule.
func Rules() []Rule {
	return []Rule{
		{Package: "plugin/driver", May: nil, Never: []string{"*"}},
		{Package: "plugin/proto", May: []string{"google.golang.org/protobuf/...", "google.golang.org/grpc/..."}},
		{
			Package: "messaging/internal/host/...",
			May: []string{
				"messaging/internal/driverfile", "messaging/internal/driverproc", "plugin/driver", "internal/bridge", "internal/procfs",
				"internal/version", "github.com/fsnotify/fsnotify",
				"github.com/hashicorp/go-plugin/...", "github.com/hashicorp/go-hclog", "google.golang.org/grpc/...",
			},
			Never: []string{"sdk/...", "plugins/...", "messaging"},
		},
		{
			Package: "messaging/internal/driverfile",
			May:     []string{"plugin/driver", "golang.org/x/sys/unix"},
			Never:   []string{"internal/bridge", "sdk/...", "plugins/...", "messaging"},
		},
		{
			Package: "messaging/internal/driverproc/...",
			May: []string{
				"messaging/internal/driverfile", "messaging/internal/driverlog", "plugin/driver", "internal/procfs",
				"github.com/hashicorp/go-plugin/...", "github.com/hashicorp/go-hclog", "google.golang.org/grpc/...", "golang.org/x/sys/unix",
			},
			Never: []string{"internal/bridge", "sdk/...", "plugins/...", "messaging"},
		},
		{Package: "messaging/internal/driverlog", Never: []string{"*"}},
		{Package: "messaging/internal/hosttest", May: []string{"plugin/driver"}},
		{
			Package: "messaging/messagingtest",
			May:     []string{"messaging", "plugin/driver", "internal/memory"},
			Never:   []string{"sdk/...", "plugins/..."},
		},
		{
			Package: "messaging/messagingotel",
			May:     []string{"messaging", "internal/version", "go.opentelemetry.io/otel/..."},
			Never:   []string{"sdk/...", "plugins/...", "go.opentelemetry.io/otel/sdk/...", "github.com/prometheus/..."},
		},
		{
			Package: "messaging/messagingprom",
			May:     []string{"messaging", "github.com/prometheus/client_golang/prometheus"},
			Never:   []string{"sdk/...", "plugins/...", "go.opentelemetry.io/..."},
		},
		{
			Package: "messaging/messagingproto",
			May:     []string{"messaging", "google.golang.org/protobuf/..."},
			Never:   []string{"sdk/...", "plugins/...", "go.opentelemetry.io/...", "github.com/prometheus/..."},
		},
		{
			Package: "messaging/messagingrouting",
			May:     []string{"messaging", "go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"},
			Never:   []string{"sdk/...", "plugins/...", "go.opentelemetry.io/...", "github.com/prometheus/..."},
		},
		{Package: "messaging/messagingslog", May: []string{"messaging"}, Never: []string{"sdk/...", "plugins/...", "go.opentelemetry.io/...", "github.com/prometheus/..."}},
		{Package: "messaging/messaginghttp", May: []string{"messaging"}, Never: []string{"sdk/...", "plugins/...", "go.opentelemetry.io/...", "github.com/prometheus/..."}},
		{
			Package: "messaging/messagingcloudevents",
			May:     []string{"messaging", "internal/pyjson", "github.com/cloudevents/sdk-go/v2/event", "github.com/cloudevents/sdk-go/v2/types"},
			// The rest of the SDK brings a client, protocols and loggers.
			Never: append([]string{"sdk/...", "plugins/...", "go.opentelemetry.io/...", "github.com/prometheus/..."},
				"github.com/cloudevents/sdk-go/v2/client/...", "github.com/cloudevents/sdk-go/v2/protocol/...", "github.com/cloudevents/sdk-go/v2/binding/...", "go.uber.org/..."),
		},
		{
			Package: "messaging",
			May:     []string{"plugin/driver", "internal/pyjson", "internal/spool", "internal/version", "messaging/internal/...", "github.com/google/uuid"},
			Never: []string{
				"sdk/...", "plugins/...", "github.com/rabbitmq/amqp091-go", "github.com/spf13/cobra",
				"go.opentelemetry.io/...", "github.com/prometheus/...",
			},
		},
		{
			Package: "sdk/envelope",
			May:     []string{"plugin/driver", "internal/pyjson"},
			Never:   []string{"messaging/..."},
		},
		{
			Package: "sdk/drivertest",
			May:     []string{"plugin/driver"},
			Never:   []string{"messaging/...", "plugins/..."},
		},
		{
			Package: "sdk",
			May: []string{
				"plugin/driver", "internal/bridge", "internal/version", "github.com/hashicorp/go-plugin",
				"github.com/hashicorp/go-hclog", "google.golang.org/grpc/...",
			},
			Never: []string{"messaging/...", "plugins/..."},
		},
		// For tests only: what imports it outside of them links the package testing.
		{Package: "plugins/internal/testkit", May: []string{"plugin/driver", "github.com/google/uuid"}, Never: []string{"messaging/...", "sdk/..."}},
		{Package: "plugins/internal/...", May: []string{"plugin/driver"}, Never: []string{"plugins/internal/testkit", "messaging/...", "sdk/...", "plugins/fake", "plugins/rabbit", "plugins/qpid/...", "plugins/zmq/..."}},
		{
			Package: "plugins/rabbit",
			May:     []string{"plugins/internal/...", "sdk/...", "plugin/driver", "internal/tlspeer", "internal/version", "github.com/rabbitmq/amqp091-go", "github.com/google/uuid"},
			Never:   []string{"plugins/internal/testkit", "messaging/...", "plugins/fake"},
		},
		{Package: "plugins/qpid/internal/amqpopen", Never: []string{"*"}},
		{Package: "plugins/qpid/internal/address", May: []string{"plugin/driver"}, Never: []string{"messaging/...", "sdk/...", "github.com/Azure/go-amqp"}},
		{
			Package: "plugins/qpid/...",
			May: []string{
				"plugins/qpid/...", "plugins/internal/...", "sdk/...", "plugin/driver", "internal/pyjson", "internal/tlspeer", "internal/version",
				"github.com/Azure/go-amqp", "github.com/google/uuid",
			},
			Never: []string{"plugins/internal/testkit", "messaging/...", "plugins/fake", "plugins/rabbit", "plugins/zmq/...", "github.com/rabbitmq/amqp091-go"},
		},
		{
			Package: "plugins/zmq/...",
			May: []string{
				"plugins/zmq/...", "sdk/...", "plugin/driver", "internal/procfs", "internal/pyjson", "internal/spool", "internal/tlspeer", "internal/version",
				"github.com/go-zeromq/zmq4/...", "github.com/redis/go-redis/...", "github.com/fsnotify/fsnotify",
				"github.com/google/uuid", "golang.org/x/sys/unix",
			},
			Never: []string{"messaging/...", "plugins/fake", "plugins/rabbit", "github.com/rabbitmq/amqp091-go"},
		},
		{
			Package: "plugins/fake",
			May:     []string{"sdk/...", "plugin/driver", "internal/memory"},
			Never:   []string{"messaging/...", "plugins/rabbit", "github.com/rabbitmq/amqp091-go"},
		},
		{
			Package: "internal/bridge",
			May: []string{
				"plugin/driver", "plugin/proto", "google.golang.org/grpc/...", "google.golang.org/protobuf/...",
				"google.golang.org/genproto/googleapis/rpc/...", "github.com/hashicorp/go-plugin",
			},
			Never: []string{"messaging/...", "sdk/...", "plugins/..."},
		},
		{Package: "internal/memory", May: []string{"plugin/driver", "internal/version"}, Never: []string{"messaging/...", "sdk/...", "internal/bridge"}},
		{Package: "internal/pyjson", Never: []string{"*"}},
		{Package: "internal/procfs", Never: []string{"*"}},
		{Package: "internal/spool", May: []string{"plugin/driver", "golang.org/x/sys/unix"}, Never: []string{"messaging/...", "sdk/...", "plugins/...", "internal/bridge"}},
		{Package: "internal/version", Never: []string{"*"}},
		{Package: "internal/tlspeer", May: []string{"plugin/driver"}, Never: []string{"messaging/...", "sdk/...", "internal/bridge"}},
		{
			Package: "cmd/parley/...",
			May:     []string{"messaging", "plugin/driver", "internal/version", "internal/pyjson", "internal/procfs", "internal/tlspeer", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"},
			Never:   []string{"plugins/...", "sdk"},
		},
		{Package: "examples/driver", May: []string{"plugin/driver", "sdk"}, Never: []string{"messaging/...", "plugins/..."}},
		{
			// What a reader cannot import is no example.
			Package: "examples/...",
			May: []string{
				"messaging", "messaging/messagingotel", "messaging/messagingprom", "messaging/messagingproto", "messaging/messagingtest",
				"plugin/driver", "go.opentelemetry.io/otel/...", "github.com/prometheus/client_golang/...", "google.golang.org/protobuf/...",
			},
			Never: []string{"plugins/...", "sdk/..."},
		},
	}
}

// Package is what the check needs to know of one package.
type Package struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // all
	Standard   map[string]bool
}

// Check returns a sentence for each import that breaks a rule.
func Check(rules []Rule, packages []Package) []string {
	var broken []string
	for _, p := range packages {
		rel, ok := strings.CutPrefix(p.ImportPath, Module+"/")
		if !ok {
			continue
		}
		i := slices.IndexFunc(rules, func(r Rule) bool { return matches(r.Package, rel) })
		if i < 0 {
			continue
		}
		broken = append(broken, checkOne(rules[i], rel, p)...)
	}
	return broken
}

func checkOne(r Rule, rel string, p Package) []string {
	var broken []string
	for _, imp := range p.Imports {
		short := strings.TrimPrefix(imp, Module+"/")
		if p.Standard[imp] || anyMatches(append(r.May, rel+"/..."), short) {
			continue
		}
		broken = append(broken, fmt.Sprintf("%s imports %s: its rule allows %v", rel, short, r.May))
	}
	for _, dep := range p.Deps {
		short := strings.TrimPrefix(dep, Module+"/")
		if short == rel || p.Standard[dep] {
			continue
		}
		if slices.Contains(r.Never, "*") || anyMatches(r.Never, short) {
			broken = append(broken, fmt.Sprintf("%s links %s, which it must not know", rel, short))
		}
	}
	return broken
}

func anyMatches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// matches compares a path with a pattern: "a/b" is that path, "a/..." the tree at a.
func matches(pattern, path string) bool {
	tree, ok := strings.CutSuffix(pattern, "/...")
	if !ok {
		return pattern == path
	}
	return path == tree || strings.HasPrefix(path, tree+"/")
}
