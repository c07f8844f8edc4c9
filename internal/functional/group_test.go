// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/parleymq/parley/messaging"
)

type (
	incrementArgs struct {
		Increment int `json:"increment"`
	}
	textArgs struct {
		Text string `json:"text"`
	}
	echoArgs struct {
		Echo string `json:"echo"`
	}
)

// The methods of the functional tests' servers.
var (
	add        = messaging.Method[incrementArgs, int]{Name: "add"}
	subtract   = messaging.Method[incrementArgs, int]{Name: "subtract"}
	appendText = messaging.Method[textArgs, string]{Name: "append"}
	longTask   = messaging.Method[struct{}, struct{}]{Name: "long_running_task"}
	echo       = messaging.Method[echoArgs, string]{Name: "test"}

	errValue = &messaging.RemoteError{Module: "builtins", Class: "ValueError"}
)

// account is what one server keeps.
type account struct {
	name string

	mu   sync.Mutex // guards the rest
	sum  int
	text string
}

func (a *account) state() (sum int, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sum, a.text
}

func (a *account) add(_ context.Context, args incrementArgs) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum += args.Increment
	return a.sum, nil
}

func (a *account) subtract(_ context.Context, args incrementArgs) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sum < args.Increment {
		return 0, errValue.Withf("%d is less than %d", a.sum, args.Increment)
	}
	a.sum -= args.Increment
	return a.sum, nil
}

func (a *account) append(_ context.Context, args textArgs) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text += args.Text
	return a.text, nil
}

// wait is the long running task: it lasts as long as somebody may wait for it.
func (a *account) wait(ctx context.Context, _ struct{}) (struct{}, error) {
	<-ctx.Done()
	return struct{}{}, ctx.Err()
}

func (a *account) endpoint() *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	add.Handle(ep, a.add)
	subtract.Handle(ep, a.subtract)
	appendText.Handle(ep, a.append)
	longTask.Handle(ep, a.wait)
	return ep
}

// group is three servers of one topic.
type group struct {
	tr       *messaging.Transport
	target   messaging.Target
	accounts []*account
}

func startGroup(t *testing.T, tr *messaging.Transport, target messaging.Target) *group {
	t.Helper()
	g := &group{tr: tr, target: target}
	for i := range 3 {
		a := &account{name: fmt.Sprintf("server_%d", i)}
		target.Server = a.name
		serve(t, tr, target, nil, a.endpoint())
		g.accounts = append(g.accounts, a)
	}
	return g
}

// any addresses any server of the group, one the server of that number.
func (g *group) any() *messaging.RPCClient { return client(g.tr, g.target) }
func (g *group) one(i int) *messaging.RPCClient {
	return g.any().With(messaging.Server(g.accounts[i].name))
}

// settled makes sure that each server has handled a request since, so that what was on its way
// to it before has most likely come.
func (g *group) settled(t *testing.T) {
	t.Helper()
	for i := range g.accounts {
		if _, err := add.Call(soon(t), g.one(i), incrementArgs{0}); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *group) texts() []string {
	var texts []string
	for _, a := range g.accounts {
		_, text := a.state()
		texts = append(texts, text)
	}
	return texts
}

// untouched fails for every server but the one of that number that has received anything.
func (g *group) untouched(t *testing.T, but int) {
	t.Helper()
	for i, a := range g.accounts {
		if sum, text := a.state(); i != but && (sum != 0 || text != "") {
			t.Errorf("%s got %d and %q", a.name, sum, text)
		}
	}
}
