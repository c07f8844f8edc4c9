// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ActAsApp(actAsGreeter)
	os.Exit(m.Run())
}

// greeting are the settings of an application that greets.
type greeting struct{ Word, End string }

func actAsGreeter(s greeting, orders *Orders) error {
	if s.End == "at once" {
		return errors.New("it does not like " + s.Word)
	}
	hold := make(chan struct{})
	return orders.Obey(map[string]Command{
		"greet": Take(func(whom string) (string, error) {
			if whom == "" {
				return "", errors.New("greet\nwhom?")
			}
			return s.Word + " " + whom, nil
		}),
		"hang": Do(func() error { <-hold; return nil }),
		"wait": Take(func(d time.Duration) (any, error) { <-time.After(d); return nil, nil }),
		"stop": Say(func() (string, error) {
			if s.End == "badly" {
				return "", errors.New("it cannot stop")
			}
			return "bye", nil
		}),
	})
}

func startGreeter(t *testing.T, end string) *App {
	t.Helper()
	return StartApp(t, AppOptions{Name: "greeter", Settings: greeting{Word: "hello", End: end}, Drivers: t.TempDir()})
}

func mustSay(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want an error with %q", err, text)
		}
	}
}

func TestApp(t *testing.T) {
	a := startGreeter(t, "")
	Must(t, a.Await(answerTimeout))
	var said string
	Must(t, a.Do("greet", "you", &said))
	if said != "hello you" {
		t.Errorf("it said %q", said)
	}
	mustSay(t, a.Do("greet", "", &said), "greeter", "greet\nwhom?")
	mustSay(t, a.Do("greet", 5, &said), "cannot unmarshal number")
	mustSay(t, a.Do("dance", nil, nil), "dance")
	Must(t, a.Stop(answerTimeout, &said))
	if said != "bye" || !a.HasExited() || a.Killed() {
		t.Errorf("it said %q, exited %t, killed %t", said, a.HasExited(), a.Killed())
	}
}

// TestAppLate: an answer that comes when nobody waits any more is not that to the next order.
func TestAppLate(t *testing.T) {
	a := startGreeter(t, "")
	Must(t, a.Await(answerTimeout))
	mustSay(t, a.DoWithin(time.Millisecond, "wait", 200*time.Millisecond, nil), "does not answer")
	var said string
	Must(t, a.Do("greet", "you", &said))
	if said != "hello you" {
		t.Errorf("it said %q", said)
	}
}

func TestAppEndsBadly(t *testing.T) {
	mustSay(t, startGreeter(t, "at once").Await(answerTimeout), "has ended", "exit status 1", "does not like hello")

	a := startGreeter(t, "badly")
	Must(t, a.Await(answerTimeout))
	mustSay(t, a.Stop(answerTimeout, nil), "it cannot stop", "exit status 1")

	a = startGreeter(t, "")
	Must(t, a.Await(answerTimeout))
	mustSay(t, a.CloseInput(answerTimeout), "nobody is left")
}

func TestAppKilled(t *testing.T) {
	a := startGreeter(t, "")
	Must(t, a.Await(answerTimeout))
	mustSay(t, a.DoWithin(time.Millisecond, "hang", nil, nil), "does not answer")
	a.Kill()
	if !a.HasExited() || !a.Killed() {
		t.Error("it is not killed")
	}
	mustSay(t, a.Exit(time.Second), "signal: killed")
	if _, err := a.Driver(); err == nil || !strings.Contains(err.Error(), "has no driver") {
		t.Errorf("its driver: %v", err)
	}
}

// TestAppLines is a program that has no orders.
func TestAppLines(t *testing.T) {
	var lines [][]byte // read when it has ended
	a := StartApp(t, AppOptions{Name: "cat", Program: "/bin/cat", Settings: greeting{Word: "meow"}, OnLine: func(line []byte) {
		lines = append(lines, bytes.Clone(line))
	}})
	Must(t, a.CloseInput(answerTimeout))
	if want := `{"Word":"meow","End":""}`; len(lines) != 1 || string(lines[0]) != want {
		t.Errorf("got %q, want %s", lines, want)
	}
}
