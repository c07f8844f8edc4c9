// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"errors"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// question asks which endpoint answers; no answer means that the version is not supported.
type question struct{ namespace, version, answer string }

// namespaceQuestions: none, one, one that was renamed, one that had several names.
func namespaceQuestions() []question {
	return []question{
		{"", "", "1.0"},
		{"ns1", "1.5", "ns1/1.5"},
		{"ns0", "1.5", "ns1/1.5"}, // its older name
		{"ns2", "4.0", "ns2/4.2"},
		{"ns3", "4.0", "ns2/4.2"}, {"ns4", "4.0", "ns2/4.2"}, // its older names
		{"", "4.0", "ns2/4.2"}, // and before them it had none
		{"nowhere", "", ""}, {"nowhere", "1.0", ""},
		{"NS1", "1.5", ""}, {"ns", "1.5", ""}, {"ns1 ", "1.5", ""},
		{"ns1", "4.0", ""}, {"ns2", "1.0", ""}, // of the other
	}
}

// versionQuestions: fitting ones, none, too new, another major, with revisions.
func versionQuestions() []question {
	return []question{
		{"", "1.0", "1.0"}, {"", "", "1.0"},
		{"", "2.0", "/2.3"}, {"", "2.3", "/2.3"}, {"", "2.4", ""}, {"", "2.10", ""},
		{"", "0.9", ""}, {"", "1.1", ""}, {"", "3.0", ""}, {"", "10.0", ""},
		{"ns1", "", "ns1/1.5"}, {"ns1", "1.2", "ns1/1.5"}, {"ns1", "1.6", ""}, {"ns1", "2.0", ""},
		{"ns1", "1.4.9", "ns1/1.5"}, {"ns1", "1.5.0", "ns1/1.5"}, {"ns1", "1.5.1", ""},
		{"ns2", "", ""}, // none is 1.0, which a 4.2 is not
	}
}

func testGoAsksNamespaces(t *testing.T, p *peers) { goAsksAll(t, p, namespaceQuestions()) }
func testGoAsksVersions(t *testing.T, p *peers)   { goAsksAll(t, p, versionQuestions()) }

func goAsksAll(t *testing.T, p *peers, questions []question) {
	for _, q := range questions {
		var got string
		err := p.goClient.With(messaging.Namespace(q.namespace), messaging.Version(q.version)).Call(soon(t), "version", nil, &got)
		if q.answer == "" && !errors.Is(err, messaging.ErrUnsupportedVersion) || q.answer != "" && (err != nil || got != q.answer) {
			t.Errorf("namespace %q, version %q: got %q, %v, want %q", q.namespace, q.version, got, err, q.answer)
		}
	}
}

func testPythonAsksNamespaces(t *testing.T, p *peers) { pythonAsksAll(t, p, namespaceQuestions()) }
func testPythonAsksVersions(t *testing.T, p *peers)   { pythonAsksAll(t, p, versionQuestions()) }

func pythonAsksAll(t *testing.T, p *peers, questions []question) {
	for _, q := range questions {
		got, err := p.callText(t, peertest.Request{Method: "version", Namespace: q.namespace, Version: q.version})
		failure, failed := errors.AsType[*peertest.PythonError](err)
		if q.answer == "" && (!failed || failure.ExcType != "UnsupportedVersion") || q.answer != "" && (err != nil || got != q.answer) {
			t.Errorf("namespace %q, version %q: got %q, %v, want %q", q.namespace, q.version, got, err, q.answer)
		}
	}
}
