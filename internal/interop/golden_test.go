// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// goldenMessage is a message as internal/peertest/cmd/golden writes it.
type goldenMessage struct {
	Exchange   string         `json:"exchange"`
	RoutingKey string         `json:"routing_key"`
	Mandatory  bool           `json:"mandatory"`
	Properties map[string]any `json:"properties"`
	Body       string         `json:"body"`
}

// goldenAnswers are the names of the answers to the calls whose answers were recorded.
func goldenAnswers() map[string]string {
	return map[string]string{
		"call": "reply_ok", "call_no_arguments": "reply_null", "call_fail_builtin": "reply_failure_builtin",
		"call_fail_own": "reply_failure_own", "call_fail_expected": "reply_failure_expected",
		"call_no_such_method": "reply_no_such_method", "call_unsupported_version": "reply_unsupported_version",
		"call_monitored": "reply_monitored", "call_legacy_namespace": "reply_legacy_namespace",
		"call_fail_kwargs": "reply_failure_kwargs", "call_fail_stranger": "reply_failure_stranger",
		"call_server_ping": "reply_server_ping", "call_huge_integers": "reply_huge_integers", "call_nan": "reply_nan",
		"call_surrogates": "reply_surrogates", "call_odd_names": "reply_odd_names",
	}
}

// deadlineKey is the one key of ours in a message that Python has not: when the time of a call is
// over, in Unix milliseconds. Python's servers ignore what they do not know.
const deadlineKey = "_parley_deadline"

// TestGoldenMessages sends what the Python client of each recording sent, lets the Go server
// answer, and compares what our driver published with what Python published.
func TestGoldenMessages(t *testing.T) {
	broker := bed.Broker(t)
	for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			vhost := broker.NewVhost(t)
			serving, calling := peertest.RunAMQPProxy(t, broker.Addr()), peertest.RunAMQPProxy(t, broker.Addr())
			server, _ := bed.Open(t, broker.URLAt(serving.Addr(), vhost))
			servePinged(t, server, "compute", "host1")
			client, _ := bed.Open(t, broker.URLAt(calling.Addr(), vhost))

			dir := filepath.Join("..", "..", "sdk", "envelope", "testdata", "golden", release)
			requests, err := filepath.Glob(filepath.Join(dir, "[cf]*.json")) // call*, cast*, fanout
			if err != nil || len(requests) < 22 {
				t.Fatalf("found %d recordings of requests, %v", len(requests), err)
			}
			for _, file := range requests {
				name := strings.TrimSuffix(filepath.Base(file), ".json")
				t.Run(name, func(t *testing.T) {
					calling.Reset()
					serving.Reset()
					want := readGolden(t, file)
					replay(t, client, want, strings.HasPrefix(name, "call"))
					compareMessage(t, published(t, calling, ""), want)
					answer := goldenAnswers()[name]
					if answer == "" {
						return
					}
					compareMessage(t, published(t, serving, "true"), readGolden(t, filepath.Join(dir, answer+".json")))
					if name == "call_monitored" {
						compareMessage(t, published(t, serving, "false"), readGolden(t, filepath.Join(dir, "heartbeat.json")))
					}
				})
			}
		})
	}
}

func readGolden(t *testing.T, file string) (m goldenMessage) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// replay sends the request of a recording from Go.
func replay(t *testing.T, tr *messaging.Transport, m goldenMessage, isCall bool) {
	t.Helper()
	fields := innerOf(t, m.Body)
	inner, args := make(map[string]any), fields["args"]
	for key, raw := range fields {
		inner[key] = decodeJSON(t, raw)
	}
	target := messaging.Target{Topic: "compute", Fanout: m.Exchange == "compute_fanout"}
	if m.RoutingKey == "compute.host1" {
		target.Server = "host1"
	}
	target.Namespace, _ = inner["namespace"].(string)
	target.Version, _ = inner["version"].(string)
	opts := &messaging.RPCClientOptions{Timeout: 10 * time.Second}
	if seconds, ok := inner["_timeout"].(int64); ok {
		opts.Monitor = time.Duration(seconds) * time.Second
	}
	rc := messaging.RequestContext{}
	for key, value := range inner {
		if name, ok := strings.CutPrefix(key, "_context_"); ok {
			rc[name] = value
		}
	}
	ctx := messaging.WithRequestContext(soon(t), rc)
	c := messaging.NewRPCClient(tr, target, opts)
	method := fmt.Sprint(inner["method"])
	sent := any(args)
	if !hasSurrogate(args) { // which a Go string cannot hold
		sent = inner["args"]
	}
	if !isCall {
		if err := c.Cast(ctx, method, sent); err != nil {
			t.Fatal(err)
		}
		return
	}
	err := c.Call(ctx, method, sent, nil)
	if messaging.CodeOf(err) != "" {
		t.Fatal(err) // failures of the far side are wanted
	}
}

// published waits for the message that went out through a proxy: with an ending of "true" or
// "false" a reply of that kind.
func published(t *testing.T, proxy *peertest.AMQPProxy, ending string) peertest.Method {
	t.Helper()
	m, err := proxy.WaitFor(soon(t), func(m peertest.Method) bool {
		if m.Name != "basic.publish" || !m.FromClient {
			return false
		}
		return ending == "" || string(innerOf(t, string(m.Body))["ending"]) == ending
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// innerOf returns the fields of the message in an envelope, as they are written.
func innerOf(t *testing.T, body string) map[string]json.RawMessage {
	t.Helper()
	outer, ok := decodeJSON(t, []byte(body)).(map[string]any)
	if !ok {
		t.Fatalf("not an object: %.200s", body)
	}
	text, ok := outer["oslo.message"].(string)
	if !ok || len(outer) != 2 || outer["oslo.version"] != "2.0" {
		t.Fatalf("not an envelope of version 2.0: %.200s", body)
	}
	fields, err := pyjson.Fields(nil, []byte(text))
	if err != nil {
		t.Fatalf("%v: %.200s", err, text)
	}
	inner := make(map[string]json.RawMessage)
	for _, f := range fields {
		inner[string(f.Key)] = json.RawMessage(f.Value)
	}
	return inner
}

var (
	surrogatePair = regexp.MustCompile(`\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}`)
	surrogate     = regexp.MustCompile(`\\ud[89a-f][0-9a-f]{2}`)
)

// hasSurrogate tells whether a text as Python writes it has half a pair in it.
func hasSurrogate(text []byte) bool {
	return surrogate.Match(surrogatePair.ReplaceAll(text, nil))
}

// compareMessage compares all that a peer can see, but for identifiers and tracebacks, of
// which the form is compared.
func compareMessage(t *testing.T, got peertest.Method, want goldenMessage) {
	t.Helper()
	address := func(exchange, key any, mandatory any) string {
		return fmt.Sprintf("exchange %q, routing key %q, mandatory %v", exchange, form("", key), mandatory)
	}
	if g, w := address(got.Args["exchange"], got.Args["routing_key"], got.Args["mandatory"]), address(want.Exchange, want.RoutingKey, want.Mandatory); g != w {
		t.Errorf("published to %s, Python to %s", g, w)
	}
	if got.Args["immediate"] != false {
		t.Error("published immediate")
	}
	compareProperties(t, got.Properties, want.Properties)
	g, w := innerOf(t, string(got.Body)), innerOf(t, want.Body)
	takeSent(t, g)
	if !reflect.DeepEqual(slices.Sorted(maps.Keys(g)), slices.Sorted(maps.Keys(w))) {
		t.Errorf("the message has the keys %v, Python's %v", slices.Sorted(maps.Keys(g)), slices.Sorted(maps.Keys(w)))
	}
	for key, value := range w {
		if key == "failure" && !pyjson.IsNull(value) {
			compareFailure(t, g[key], value)
			continue
		}
		if gf, wf := rawForm(t, key, g[key]), rawForm(t, key, value); gf != wf {
			t.Errorf("%s is %s, Python's %s", key, gf, wf)
		}
	}
}

// takeSent removes our own key, which every call has and only requests have.
func takeSent(t *testing.T, inner map[string]json.RawMessage) {
	t.Helper()
	_, request := inner["method"]
	_, call := inner["_reply_q"]
	sent, there := inner[deadlineKey]
	if there != call && (there || request) {
		t.Errorf("%s is there: %v, in a call: %v", deadlineKey, there, call)
	}
	if !there {
		return
	}
	ms, err := strconv.ParseInt(string(sent), 10, 64)
	if left := time.Until(time.UnixMilli(ms)); err != nil || left < 0 || left > 10*time.Minute {
		t.Errorf("%s is %s", deadlineKey, sent)
	}
	delete(inner, deadlineKey)
}

// rawForm is form for a value as it is written. What has halves of surrogate pairs must be
// written the same; of everything else the value counts.
func rawForm(t *testing.T, key string, raw json.RawMessage) string {
	t.Helper()
	if len(raw) == 0 {
		return "missing"
	}
	if hasSurrogate(raw) {
		return string(raw)
	}
	text, err := pyjson.Encode(form(key, decodeJSON(t, raw)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compareProperties compares all but the exact expiration, of which some has passed. Headers and
// a priority that are left out mean what Python writes out, none and 0.
func compareProperties(t *testing.T, got, want map[string]any) {
	t.Helper()
	text := func(properties map[string]any) string {
		all := map[string]any{"headers": map[string]any{}, "priority": 0}
		maps.Copy(all, properties)
		if e, ok := all["expiration"].(string); ok {
			if ms, err := strconv.Atoi(e); err == nil && ms > 5_000 && ms <= 10_000 {
				all["expiration"] = "about 10000"
			}
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if g, w := text(got), text(want); g != w {
		t.Errorf("properties %s, Python's %s", g, w)
	}
}

// compareFailure compares the objects that stand as text in a reply.
func compareFailure(t *testing.T, got, want json.RawMessage) {
	t.Helper()
	object := func(raw json.RawMessage) map[string]any {
		text, ok := decodeJSON(t, raw).(string)
		if !ok {
			t.Fatalf("a failure is %.100s", raw)
		}
		o, ok := decodeJSON(t, []byte(text)).(map[string]any)
		if !ok {
			t.Fatalf("a failure is %.100s", text)
		}
		if _, list := o["tb"].([]any); !list {
			t.Errorf("the traceback is a %T", o["tb"])
		}
		delete(o, "tb") // a Python one cannot be made here
		return o
	}
	if g, w := object(got), object(want); !reflect.DeepEqual(g, w) {
		t.Errorf("the failure is %v, Python's %v", g, w)
	}
}

// form replaces identifiers by what they look like.
func form(key string, v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	const digits = "0123456789abcdef"
	if id := s[strings.LastIndexByte(s, '_')+1:]; len(id) == 32 && strings.Trim(id, digits) == "" {
		return strings.TrimSuffix(s, id) + "<32 hex digits>"
	}
	if key == "_unique_id" || key == "_msg_id" {
		return "<not 32 hex digits>"
	}
	return s
}

// goldenMethod is a method in a recording of peertest's golden command.
type goldenMethod struct {
	Method string         `json:"method"`
	Args   map[string]any `json:"args"`
}

// TestGoldenTopology compares what our driver declares, binds and consumes with what Python
// did. A queue or exchange that two peers share has to be declared the same by both.
func TestGoldenTopology(t *testing.T) {
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	serving, calling := peertest.RunAMQPProxy(t, broker.Addr()), peertest.RunAMQPProxy(t, broker.Addr())
	server, _ := bed.Open(t, broker.URLAt(serving.Addr(), vhost))
	goServer(t, server, "compute", "host1")
	client, _ := bed.Open(t, broker.URLAt(calling.Addr(), vhost))
	c := messaging.NewRPCClient(client, messaging.Target{Topic: "compute"}, nil)
	if err := c.Call(soon(t), "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		file  string
		proxy *peertest.AMQPProxy
		ours  []string // that Python has not, and why is said in plugins/rabbit
	}{
		{"server_start.json", serving, []string{`confirm.select {"no_wait":false}`}}, // Python's comes with its first reply
		{"client_first_call.json", calling, []string{
			`exchange.declare {"arguments":{},"auto_delete":true,"durable":false,"exchange":"reply_<32 hex digits>","internal":false,"no_wait":false,"passive":false,"reserved_1":0,"type":"direct"}`,
			`queue.bind {"arguments":{},"exchange":"reply_<32 hex digits>","no_wait":false,"queue":"reply_<32 hex digits>","reserved_1":0,"routing_key":"reply_<32 hex digits>"}`,
		}},
	} {
		for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
			t.Run(release+"/"+tc.file, func(t *testing.T) {
				var want []goldenMethod
				text, err := os.ReadFile(filepath.Join("..", "..", "plugins", "rabbit", "testdata", "golden", release, tc.file))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(text, &want); err != nil {
					t.Fatal(err)
				}
				var got []goldenMethod
				for _, m := range tc.proxy.Methods() {
					if m.FromClient {
						got = append(got, goldenMethod{m.Name, m.Args})
					}
				}
				compareTopology(t, topologyOf(t, got), append(topologyOf(t, want), tc.ours...))
			})
		}
	}
}

// topologyOf returns the methods that make or use objects at the broker, as text.
func topologyOf(t *testing.T, methods []goldenMethod) []string {
	t.Helper()
	var texts []string
	for _, m := range methods {
		switch m.Method {
		case "exchange.declare", "queue.declare", "queue.bind", "basic.consume", "confirm.select":
		default:
			continue
		}
		args := make(map[string]any)
		for name, value := range m.Args {
			if name != "consumer_tag" {
				args[name] = form("", value)
			}
		}
		text, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(m.Method+" "+string(text)))
	}
	return texts
}

// compareTopology compares sets: how often and in which order something is declared, nobody
// can see.
func compareTopology(t *testing.T, got, want []string) {
	t.Helper()
	for _, m := range want {
		if !slices.Contains(got, m) {
			t.Errorf("ours lacks %s", m)
		}
	}
	for _, m := range got {
		if !slices.Contains(want, m) {
			t.Errorf("ours has besides %s", m)
		}
	}
}
