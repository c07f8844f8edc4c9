// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/parleymq/parley/messaging"
)

func TestExitStatus(t *testing.T) {
	byCode := func(c messaging.Code) error { return &messaging.Error{Code: c} }
	tests := []struct {
		err  error
		want int
	}{
		{usagef("do", "wrong"), 2},
		{fmt.Errorf("file: %w", usagef("do", "wrong")), 2},
		{&messaging.RemoteError{Class: "KeyError"}, 1},
		{messaging.ErrNoSuchMethod, 1},
		{byCode(messaging.CodeNoReply), 3},
		{byCode(messaging.CodeExpired), 3},
		{byCode(messaging.CodeUndeliverable), 5},
		{byCode(messaging.CodeVersionCap), 2},
		{byCode(messaging.CodeInvalidTarget), 2},
		{byCode(messaging.CodeInvalidURL), 2},
		{byCode(messaging.CodeUnavailable), 4},
		{byCode(messaging.CodeRefused), 4},
		{byCode(messaging.CodeInDoubt), 4},
		{&messaging.Error{Code: messaging.CodeInDoubt, Err: context.DeadlineExceeded}, 3},
		{byCode(messaging.CodeClosed), 4},
		{byCode(messaging.CodeServerClosed), 4},
		{byCode(messaging.CodeTooLarge), 2},
		{byCode(messaging.CodeConfig), 2},
		{byCode(messaging.CodeUnsupported), 2},
		{byCode(messaging.CodeEncoding), 2},
		{byCode(messaging.CodeInternal), 4},
		{messaging.ErrNoReply, 3},
		{messaging.ErrUnavailable, 4},
		{fmt.Errorf("call: %w", byCode(messaging.CodeUndeliverable)), 5},
		{&shownError{byCode(messaging.CodeUnavailable)}, 4},
		{context.DeadlineExceeded, 3},
		{context.Canceled, 130},
		{errors.New("whatever"), 4},
	}
	for _, test := range tests {
		if got := exitStatus(test.err); got != test.want {
			t.Errorf("%T %v: got %d, want %d", test.err, test.err, got, test.want)
		}
	}
}

func TestFailureForms(t *testing.T) {
	full := &messaging.Error{Code: messaging.CodeUnavailable, Op: "call x", Target: messaging.Target{Topic: "t"},
		Message: "no broker", Hint: "start it"}
	remote := &messaging.RemoteError{Module: "nova.exception", Class: "InstanceNotFound", Message: "no <i-1>"}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		text string
		json string
	}{
		{"own", t.Context(), full,
			"parley: call x <topic=t>: no broker\n  hint: start it\n",
			`{"error":{"code":"unavailable","message":"call x <topic=t>: no broker","module":"","class":"","hint":"start it"}}` + "\n"},
		{"remote", t.Context(), remote,
			"parley: the remote side raised nova.exception.InstanceNotFound: no <i-1>\n",
			`{"error":{"code":"remote_error","message":"no <i-1>","module":"nova.exception","class":"InstanceNotFound","hint":""}}` + "\n"},
		{"usage", t.Context(), usagef("do it right", "it is wrong"),
			"parley: it is wrong\n  hint: do it right\n",
			`{"error":{"code":"usage","message":"it is wrong","module":"","class":"","hint":"do it right"}}` + "\n"},
		{"interrupted", ended, context.Canceled,
			"parley: interrupted\n",
			`{"error":{"code":"interrupted","message":"interrupted","module":"","class":"","hint":""}}` + "\n"},
		{"shown before", t.Context(), &shownError{full}, "",
			`{"error":{"code":"unavailable","message":"call x <topic=t>: no broker","module":"","class":"","hint":"start it"}}` + "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for output, want := range map[string]string{outputText: test.text, outputJSON: test.json} {
				var stdout, stderr bytes.Buffer
				a := &app{stdout: &stdout, stderr: &stderr, env: func(string) string { return "" }, output: output}
				a.finish(test.ctx, test.err)
				if stderr.String() != want || stdout.Len() > 0 {
					t.Errorf("%s: got %q and %q on standard output, want %q", output, stderr.String(), stdout.String(), want)
				}
			}
		})
	}
}
