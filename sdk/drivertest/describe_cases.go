// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"reflect"
	"regexp"

	"github.com/parleymq/parley/plugin/driver"
)

func describeCases() []Case {
	return []Case{
		{Rule: "DESC-1", Name: "Describe always returns the same", run: describeTwice},
		{Rule: "DESC-2", Name: "the name is one that a URL's scheme can have", run: describeName},
		{Rule: "DESC-3", Name: "every option accepts its own default", run: describeDefaults},
		{Rule: "LIFE-1", Name: "two connections meet, and closing one leaves the other", run: twoConns},
		{Rule: "PING", Name: "a broker that is there answers", run: ping},
	}
}

func describeTwice(_ context.Context, w *world) {
	if a, b := w.h.Info(), w.h.Info(); !reflect.DeepEqual(a, b) {
		w.Errorf("Describe returned %+v and then %+v", a, b)
	}
}

func describeName(_ context.Context, w *world) {
	info := w.h.Info()
	if !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(info.Name) {
		w.Errorf("name %q: want lower-case letters, digits and dashes", info.Name)
	}
	if info.Version == "" || info.Summary == "" {
		w.Errorf("version %q and summary %q: want both", info.Version, info.Summary)
	}
}

func describeDefaults(_ context.Context, w *world) {
	for _, o := range w.h.Info().Options {
		if o.Help == "" {
			w.Errorf("option %s has no help", o.Name)
		}
		given := map[string]string{o.Name: o.Default}
		if _, err := driver.ValidateOptions([]driver.OptionSpec{o}, given); err != nil {
			w.Errorf("the default of option %s is not allowed: %v", o.Name, err)
		}
	}
}

func twoConns(ctx context.Context, w *world) {
	sender, receiver, other := w.open(ctx), w.open(ctx), w.open(ctx)
	l := w.listen(ctx, receiver, w.server("one"))
	m := w.cast()
	w.send(ctx, sender, m)
	w.wantNext(ctx, l, m, "the topic is new")

	w.closeConn(ctx, other)
	m = w.cast()
	w.send(ctx, sender, m)
	w.wantNext(ctx, l, m, "the topic is new")
}

func ping(ctx context.Context, w *world) {
	p, ok := w.open(ctx).(driver.Pinger)
	if !ok {
		w.skip("the Conn is no driver.Pinger")
		return
	}
	if err := p.Ping(ctx); err != nil {
		w.Errorf("ping: %v", err)
	}
}
