// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/node"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// islander is a node that serves calls and makes them, and tells what it sees when it is asked.
type islander struct {
	Name, Host string
	Port       int
	Seeds      []driver.Host

	conn     *node.Node
	registry registry.Registry

	mu      sync.Mutex
	ran     []string               // guarded by mu; the calls that it ran
	waiting map[string]chan string // guarded by mu
	report  islandReport           // guarded by mu
}

// islandReport is what it tells.
type islandReport struct {
	View   int            // how many others it knows
	Served map[string]int // calls by who answered
	Failed map[string]int // by the reason
	Late   int            // calls that ended later than their time
	Ran    []string       // when it is the last
}

// islandTime is what each call has.
const islandTime = 2 * time.Second

func actAsIslander(text string) error {
	a := &islander{waiting: make(map[string]chan string)}
	a.report.Served, a.report.Failed = make(map[string]int), make(map[string]int)
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return err
	}
	if err := a.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for _, src := range []driver.Source{
		{Kind: driver.SourceServer, Settle: driver.SettleOnDone, AtMostOnce: true, Target: driver.Target{Exchange: "x", Topic: "work", Server: a.Name}},
		{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: "r-" + a.Name},
	} {
		l, err := a.conn.Listen(ctx, src)
		if err != nil {
			return err
		}
		wg.Go(func() { a.take(ctx, l) })
	}
	calling, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { a.load(calling) })
	say := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "report":
			if err := say.Encode(a.now(false)); err != nil {
				return err
			}
		case "quiet":
			stop()
		}
	}
	stop()
	closing, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	if err := a.conn.Close(closing); err != nil {
		return err
	}
	cancel()
	wg.Wait()
	return say.Encode(a.now(true))
}

func (a *islander) open() error {
	options, err := driver.ValidateOptions(optionSpecs(), map[string]string{
		optBindAddress: a.Host, optHost: a.Host, optMinPort: strconv.Itoa(a.Port), optInsecure: "true",
	})
	if err != nil {
		return err
	}
	s, err := newSettings(driver.Config{
		Driver: "zmq", Variant: "seeds", Hosts: a.Seeds, Options: options, AppName: a.Name, Instance: a.Name,
		Logger: slog.New(slog.DiscardHandler), Report: func(driver.State) {},
	})
	if err != nil {
		return err
	}
	if a.registry, err = registry.Open(s.registry); err != nil {
		return err
	}
	s.node.Registry = a.registry
	a.conn, err = node.Open(s.node)
	return err
}

// take runs what comes, as a core does: what it had before, by its unique id, it drops.
func (a *islander) take(ctx context.Context, l driver.Listener) {
	had := make(map[string]bool)
	for {
		ds, err := l.Poll(ctx, 64)
		if err != nil {
			return
		}
		for _, d := range ds {
			_ = l.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Accepted}})
			if had[d.UniqueID] {
				continue
			}
			had[d.UniqueID] = true
			a.handle(ctx, d)
		}
	}
}

func (a *islander) handle(ctx context.Context, d *driver.Delivery) {
	if d.Kind == driver.Call {
		a.mu.Lock()
		a.ran = append(a.ran, d.UniqueID)
		a.mu.Unlock()
		a.conn.SendAsync(ctx, []*driver.Message{{
			Kind: driver.Reply, ReplyTo: d.ReplyTo, CallID: d.CallID, UniqueID: "r" + d.UniqueID, Body: []byte(`"` + a.Name + `"`), TimeLeft: islandTime,
		}}, func(int, error) {})
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.waiting[d.CallID]; c != nil {
		c <- strings.Trim(string(d.Body), `"`)
		delete(a.waiting, d.CallID)
	}
}

// load makes a call every few milliseconds, whatever became of those before.
func (a *islander) load(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			wg.Go(func() { a.call(fmt.Sprint(a.Name, "-", i)) })
		case <-ctx.Done():
			return
		}
	}
}

func (a *islander) call(id string) {
	answer := make(chan string, 1)
	a.mu.Lock()
	a.waiting[id] = answer
	a.mu.Unlock()
	from := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), islandTime)
	defer cancel()
	err := a.conn.Send(ctx, []*driver.Message{{
		Kind: driver.Call, Target: driver.Target{Exchange: "x", Topic: "work"}, ReplyTo: "r-" + a.Name, CallID: id, UniqueID: id,
		Body: []byte(`{"method":"m"}`), TimeLeft: islandTime,
	}})
	who, why := "", ""
	if err != nil {
		why = string(driver.ReasonOf(err))
	} else {
		select {
		case who = <-answer:
		case <-ctx.Done():
			why = "no reply"
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
	if who != "" {
		a.report.Served[who]++
	} else {
		a.report.Failed[why]++
	}
	if time.Since(from) > islandTime+time.Second {
		a.report.Late++
	}
}

func (a *islander) now(last bool) islandReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.report.View = len(a.registry.View().Records)
	if last {
		a.report.Ran = a.ran
	}
	r := a.report
	r.Served, r.Failed = maps.Clone(r.Served), maps.Clone(r.Failed)
	return r
}
