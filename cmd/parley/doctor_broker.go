// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// pingResult is what came of the one thing that login and virtual host are.
type pingResult struct {
	unsupported bool
	vhost       error // why the virtual host is not open, when the login was fine
}

// login opens the transport that the last steps use, and waits for the broker.
func (x *examination) login(ctx context.Context) stepResult {
	s, err := x.a.open(ctx, x.host, temporary(x.raw, x.url, x.info))
	if err != nil {
		return failedStep(err)
	}
	x.transport = s.Transport
	x.closeAll = append(x.closeAll, s.close)
	if x.direct() {
		return x.enter(ctx, s)
	}
	err = s.Ping(ctx)
	if errors.Is(err, messaging.ErrUnsupported) {
		x.pinged.unsupported = true
		return skippedStep("the driver has no way to ask its broker")
	}
	if reasonOf(err) == driver.ReasonVirtualHostMissing {
		x.pinged.vhost, err = err, nil
	}
	if err != nil {
		return failedStep(x.silent(err))
	}
	return okStep("%s", x.loggedIn())
}

// silent makes of a bare timeout the broker that takes connections and says nothing.
func (x *examination) silent(err error) error {
	if messaging.CodeOf(err) != "" || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	hint := "is it the port of a broker, and is the broker well? --timeout waits longer"
	if x.hasTLS() && x.tls == nil {
		hint = "if it is a port for TLS, set " + tlspeer.OptEnabled + "=true; " + hint
	}
	return &messaging.Error{
		Code: messaging.CodeUnavailable, Message: "the broker takes connections and did not answer in time", Hint: hint, Err: err,
	}
}

// reasonOf is the driver's reason for err, "" when it gave none.
func reasonOf(err error) driver.Reason {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Reason
	}
	return ""
}

// unavailable makes a bare timeout the broker's fault.
func unavailable(err error) error {
	if messaging.CodeOf(err) != "" || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &messaging.Error{Code: messaging.CodeUnavailable, Message: "the broker did not answer in time", Err: err}
}

func (x *examination) loggedIn() string {
	if hosts := x.url.Hosts; len(hosts) > 0 && hosts[0].HasUser {
		return "the broker lets in user " + hosts[0].User
	}
	return "the broker answers"
}

// vhost is the second half of what login did.
func (x *examination) vhost(context.Context) stepResult {
	switch {
	case x.direct():
		return skippedStep(noBroker + " that has any; the URL's path is the driver's")
	case x.pinged.vhost != nil:
		return failedStep(x.pinged.vhost)
	case x.pinged.unsupported:
		return skippedStep("the driver has no way to ask its broker")
	case x.url.VirtualHost == "":
		return okStep("/")
	default:
		return okStep("%s", x.url.VirtualHost)
	}
}

// temporaryOptions make what a driver declares at its broker go away when it is not used.
func temporaryOptions() map[string]string { return map[string]string{"amqp_auto_delete": "true"} }

// temporary returns the URL with the options that leave nothing behind, where the driver has
// such, unless the URL says otherwise.
func temporary(raw string, u *messaging.URL, info driver.Info) string {
	raw, _, _ = strings.Cut(raw, "#")
	for _, spec := range info.Options {
		value, ok := temporaryOptions()[spec.Name]
		if _, given := u.Query[spec.Name]; !ok || given {
			continue
		}
		separator := "?"
		if strings.Contains(raw, "?") {
			separator = "&"
		}
		raw += separator + spec.Name + "=" + value
	}
	return raw
}

// privateTarget is one that nobody else uses, with an exchange of its own.
func privateTarget(purpose string) messaging.Target {
	name := "parley-" + purpose + "-" + strings.ToLower(rand.Text()[:12])
	return messaging.Target{Exchange: name + "-exchange", Topic: name, Server: purpose}
}

// noteMethod is the method of the message that publish sends.
const noteMethod = "note"

// declare starts a server on a private topic.
func (x *examination) declare(ctx context.Context) stepResult {
	target := privateTarget("doctor")
	arrived := make(chan time.Time, 1)
	ep := messaging.NewEndpoint(nil)
	serveEcho(ep)
	ep.HandleFunc(noteMethod, func(context.Context, map[string]any) (any, error) {
		select {
		case arrived <- time.Now():
		default: // a second one
		}
		return nil, nil //nolint:nilnil // a cast has no result
	})
	stop, err := startServing(ctx, messaging.NewRPCServer(x.transport, target, nil, ep))
	if err != nil {
		return failedStep(x.blocked(err))
	}
	x.closeAll = append(x.closeAll, stop)
	x.target, x.arrived = target, arrived
	return okStep("topic %s is declared and listened to", target.Topic)
}

// publish sends a message that the broker must take and route.
func (x *examination) publish(ctx context.Context) stepResult {
	client := messaging.NewRPCClient(x.transport, x.target, &messaging.RPCClientOptions{Mandatory: x.info.Has(driver.CapMandatory)})
	x.sent = time.Now()
	if err := client.Cast(ctx, noteMethod, map[string]any{}); err != nil {
		return failedStep(x.blocked(err))
	}
	return okStep("%s took a message in %s", x.taker(), since(x.sent, time.Now()))
}

// blocked makes of a time that ran out the broker that takes no messages, if it said so.
func (x *examination) blocked(err error) error {
	s := x.transport.State()
	if s.Phase != messaging.PhaseBlocked || s.Err == nil {
		return err
	}
	e := driver.AsError(s.Err)
	return &messaging.Error{Code: messaging.CodeUnavailable, Message: e.Message, Hint: adviceFor(driver.ReasonBrokerBlocked), Err: s.Err}
}

// consume waits for the message that publish sent.
func (x *examination) consume(ctx context.Context) stepResult {
	select {
	case at := <-x.arrived:
		return okStep("it came back %s after it was sent", since(x.sent, at))
	case <-ctx.Done():
		return failedf(x.lostHint(), "the message did not come back within %s", x.timeout)
	}
}

func since(begin, end time.Time) time.Duration { return end.Sub(begin).Round(10 * time.Microsecond) }

// call sends a call to the server that declare started: its answer goes the way of replies.
func (x *examination) call(ctx context.Context) stepResult {
	client := messaging.NewRPCClient(x.transport, messaging.Target{Exchange: x.target.Exchange, Topic: x.target.Topic}, nil)
	want := rand.Text()
	begin := time.Now()
	var reply map[string]any
	if err := client.Call(ctx, "echo", map[string]any{"text": want}, &reply); err != nil {
		return failedStep(x.blocked(err))
	}
	if reply["text"] != want {
		return failedStep(&messaging.Error{Code: messaging.CodeInternal, Message: "another answer came back than was sent",
			Hint: "somebody else serves this topic, or the driver mixes up its messages"})
	}
	return okStep("a call was answered in %s", since(begin, time.Now()))
}
