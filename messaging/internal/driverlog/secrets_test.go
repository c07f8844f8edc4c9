// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// password has what URLs, JSON and quotes write differently.
const password = `S3cr3t/"p w<&é\x`

func TestSecretsAreMaskedInEveryForm(t *testing.T) {
	var s Secrets
	s.Add(password)
	for name, text := range map[string]string{
		"as it is":      "login with " + password + " failed",
		"twice":         password + password,
		"URL":           "amqp://u:" + url.QueryEscape(password) + "@h/",
		"URL, path":     "amqp://h/" + url.PathEscape(password),
		"URL, user":     url.UserPassword("u", password).String(),
		"JSON":          mustJSON(t, map[string]string{"k": password}),
		"quoted":        fmt.Sprintf("%q", password),
		"bytes in JSON": mustJSON(t, []byte(password)),
	} {
		got := s.Redact(text)
		if !strings.Contains(got, masked) || strings.Contains(got, "S3cr3t") || strings.Contains(got, "p w") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSecretsSet(t *testing.T) {
	var s Secrets
	var none *Secrets
	for _, text := range []string{"", "a line", password} {
		if s.Redact(text) != text || none.Redact(text) != text || none.redactCut(text) != text {
			t.Errorf("an empty set changed %q", text)
		}
	}
	s.Add("")
	s.Add("abc") // too short
	if got := s.Redact("abcd"); got != "abcd" {
		t.Errorf("got %q", got)
	}
	s.Add("word")
	s.Add("longer-word-here") // found before the part of it
	if got := s.Redact("a longer-word-here, a word"); got != "a ***, a ***" {
		t.Errorf("got %q", got)
	}
	s.Add("first line\nsecond line\n")
	if got := s.Redact("the second line, the first line"); got != "the ***, the ***" {
		t.Errorf("got %q", got)
	}
	before := len(*s.forms.Load())
	s.Add("word")
	if after := len(*s.forms.Load()); after != before {
		t.Errorf("%d forms, %d before: the same secret counts twice", after, before)
	}
}

func TestSecretAtTheCut(t *testing.T) {
	var s Secrets
	s.Add("S3cr3t-value")
	for text, want := range map[string]string{
		"prefix S3cr3t-val":      "prefix ***",
		"prefix S3":              "prefix ***",
		"prefix S3cr3t-value":    "prefix ***",
		"prefix S3cr3t-value/S3": "prefix ***/***",
		"prefix":                 "prefix",
	} {
		if got := s.redactCut(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// A log never shows a secret: in no record, kept line or crash.
func TestLogMasksSecrets(t *testing.T) {
	const secret = "S3cr3t-12345678"
	text := strings.Join([]string{
		"connecting to amqp://u:" + secret + "@h",
		`{"level":"warn","msg":"refused ` + secret + `","url":"amqp://u:` + secret + `@h","` + secret + `":1,` +
			`"list":["` + secret + `"],"g":{"` + secret + `":{"deep":"` + secret + `"}},"number":4711471147114711}`,
		`{"level":"` + secret + `","msg":{"object":"` + secret + `"}}`,
		`level=ERROR msg="no ` + secret + `" k=` + secret,
		strings.Repeat("x", maxLine-6) + secret, // it is cut in the middle of it
		strings.Repeat("y", keptLineBytes-6) + secret,
		"panic: cannot log in with " + secret,
		"goroutine 1 [running]:",
		"main.main()",
		"",
	}, "\n")
	out := &hosttest.Records{}
	secrets := &Secrets{}
	secrets.Add(secret)
	secrets.Add("4711471147114711") // printed as a number
	d := New(out.Logger(), time.Now, secrets)
	d.Read(strings.NewReader(text))
	all := out.All(t)
	if len(all) != 9 {
		t.Errorf("%d records", len(all))
	}
	for _, record := range all {
		if shown := mustJSON(t, record); strings.Contains(shown, "S3c") || strings.Contains(shown, "47114711") {
			t.Errorf("record %s", shown)
		}
	}
	if all[1]["level"] != "WARN" || all[1]["msg"] != "refused ***" || all[1]["url"] != "amqp://u:***@h" || all[1]["number"] != masked {
		t.Errorf("got %v", all[1])
	}
	lines, fatal := d.Tail()
	if kept := strings.Join(append(lines, fatal), "\n"); strings.Contains(kept, "S3c") {
		t.Errorf("kept %q", kept)
	}
	if fatal != "panic: cannot log in with ***" {
		t.Errorf("fatal %q", fatal)
	}
}

// A secret that comes after the line that has it is masked in what is kept.
func TestTailMasksLaterSecrets(t *testing.T) {
	secrets := &Secrets{}
	d := New((&hosttest.Records{}).Logger(), time.Now, secrets)
	d.Read(strings.NewReader("it is S3cr3t-late\npanic: S3cr3t-late\n"))
	secrets.Add("S3cr3t-late")
	if lines, fatal := d.Tail(); lines[0] != "it is ***" || fatal != "panic: ***" {
		t.Errorf("kept %q, %q", lines, fatal)
	}
}

func TestStdoutMasksSecrets(t *testing.T) {
	out := &hosttest.Records{}
	secrets := &Secrets{}
	secrets.Add("S3cr3t-value")
	s := NewStdout(out.Logger(), secrets)
	s.Before(Line{Text: "S3cr3t-value"})
	s.After(Line{Text: "as S3cr3t-value"})
	s.After(Line{Text: "cut S3cr3t-v", Cut: true})
	all := out.All(t)
	if len(all) != 3 || all[0]["text"] != masked || all[1]["text"] != "as ***" || all[2]["text"] != "cut ***"+cutMark {
		t.Errorf("got %v", all)
	}
}

func BenchmarkRedactNothing(b *testing.B) {
	var s Secrets
	s.Add(password)
	s.Add("another one of them")
	line := strings.Repeat("a line without a secret, as nearly all are; ", 5)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if got := s.Redact(line); len(got) != len(line) {
			b.Fatal(got)
		}
	}
}
