// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

func diagnosisCases() []Case {
	return []Case{
		{Rule: "DIAG-1", Name: "Diagnose waits for a broker that is away, until its ctx ends", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: diagnoseAway},
		{Rule: "DIAG-2", Name: "Diagnose disturbs nothing that is under way, and may be asked again", needs: rpc(), run: diagnoseHarmless},
		{Rule: "DIAG-3", Name: "findings are few, and have a topic and a line each", needs: rpc(), run: diagnoseFindings},
	}
}

// diagnose asks a Conn. It returns false when it has no such ability; the case is then not proven.
func (w *world) diagnose(ctx context.Context, c driver.Conn) (findings []driver.Finding, ok bool, err error) {
	if d, can := c.(driver.Diagnoser); can {
		findings, err = d.Diagnose(ctx)
		if !errors.Is(err, &driver.Error{Reason: driver.ReasonUnsupported}) {
			return findings, true, err
		}
	}
	w.skip("the Conn is no driver.Diagnoser")
	return nil, false, nil
}

func diagnoseFindings(ctx context.Context, w *world) {
	findings, ok, err := w.diagnose(ctx, w.open(ctx))
	switch {
	case !ok:
		return
	case err != nil:
		w.Fatalf("diagnose: %v", err)
	case len(findings) > driver.MaxFindings:
		w.Errorf("%d findings, and %d are allowed", len(findings), driver.MaxFindings)
	}
	for _, f := range findings {
		if f.Topic == "" || f.Topic != strings.ToLower(f.Topic) || f.Detail == "" || strings.ContainsAny(f.Topic+f.Detail, "\r\n") {
			w.Errorf("the finding %+v has no lower-case topic, or no detail in one line", f)
		}
	}
}

func diagnoseHarmless(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	if _, ok, _ := w.diagnose(ctx, c); !ok {
		return
	}
	sent := w.casts(100)
	flow := later(func() (struct{}, error) {
		for _, m := range sent {
			if err := c.Send(ctx, []*driver.Message{m}); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	for range 3 {
		if _, _, err := w.diagnose(ctx, c); err != nil {
			w.Errorf("diagnose while messages are sent: %v", err)
		}
	}
	if _, err := wait(ctx, w, flow, "sending meanwhile"); err != nil {
		w.Fatalf("send meanwhile: %v", err)
	}
	w.wantSame(w.take(ctx, l, len(sent)), sent)
}

func diagnoseAway(ctx context.Context, w *world) {
	c := w.open(ctx)
	if _, ok, err := w.diagnose(ctx, c); !ok || err != nil {
		if err != nil {
			w.Errorf("diagnose: %v", err)
		}
		return
	}
	w.stopBroker(ctx)
	short, cancel := context.WithTimeout(ctx, awayPatience)
	defer cancel()
	if _, _, err := w.diagnose(short, c); err == nil || short.Err() == nil {
		w.Errorf("without a broker it returned %v, with time left: %t", err, short.Err() == nil)
	}
	w.startBroker(ctx)
	if _, _, err := w.diagnose(ctx, c); err != nil {
		w.Errorf("diagnose after the broker came back: %v", err)
	}
}
