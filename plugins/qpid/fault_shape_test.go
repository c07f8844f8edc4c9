// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

// shape is a link as upstream's links are described: its name without what is random, its termini and
// how it settles.
func shape(a *scripted.Attach) string {
	role := "receiver"
	if a.Sender {
		role = "sender"
	}
	name := regexp.MustCompile(`/[0-9a-f]{32}$`).ReplaceAllString(a.Name, "/HEX")
	return fmt.Sprintf("%s %s source=%s target=%s snd=%d rcv=%d", role, name, terminus(a.Source), terminus(a.Target), a.SndSettle, a.RcvSettle)
}

// terminus shows the fields of a source or target that are not those of upstream's: address, then
// durable 0, no expiry policy but that of the session, no timeout, nothing more.
func terminus(fields scripted.List) string {
	text := "-"
	for i, v := range fields {
		switch {
		case i == 0 && v != nil:
			text = fmt.Sprint(v)
		case i == 4 && v == true:
			text += " dynamic"
		case v == nil, v == uint32(0), v == false, v == scripted.Symbol("session-end"):
		default:
			text += fmt.Sprintf(" %d:%v", i, v)
		}
	}
	return text
}

// attached waits for n links over the last connection and shows them in their order.
func (f *faults) attached(conn, n int) []string {
	f.t.Helper()
	var shapes []string
	eventually(f.t, "all links are attached", func() bool {
		shapes = nil
		for _, e := range f.peer.Named("attach") {
			if e.Conn == conn {
				shapes = append(shapes, shape(e.Attach))
			}
		}
		return len(shapes) >= n
	})
	return shapes
}

// TestFaultLinksAsUpstream compares the links of a client and a server with those of upstream
// (oslo_messaging/_drivers/amqp1_driver/controller.py: Server, Sender, Replies).
func TestFaultLinksAsUpstream(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	listen(t, f.conn, testkit.Replies("r"))
	f.server(driver.SettleOnPoll)
	f.sends(testkit.Call("r"))
	f.sends(f.messageFor(toAll))
	f.sends(notification())
	listen(t, f.conn, driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Notifications: []driver.NotificationTopic{
		{Exchange: "openstack", Topic: "notifs", Priority: "info"}, {Exchange: "openstack", Topic: "notifs", Priority: "error"},
	}})
	link := func(role, address string) string {
		return fmt.Sprintf("%s openstack.org/om/%s/[%s]/HEX source=%s target=%s snd=2 rcv=0", role, role, address, address, address)
	}
	reply := "receiver openstack.org/om/receiver/[rpc-response]/HEX source=- dynamic target=rpc-response snd=2 rcv=0"
	want := []string{
		reply, link("receiver", toOne), link("receiver", toAll), link("receiver", toAny),
		link("sender", toAny), link("sender", toAll), link("sender", toEvent),
		link("receiver", toEvent), link("receiver", "unicast.openstack.notifs.error"),
	}
	if got := f.attached(1, len(want)); !slices.Equal(got, want) {
		t.Errorf("the links are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	channels := map[uint16]int{}
	for _, e := range f.peer.Named("attach") {
		channels[e.Channel]++
	}
	if len(channels) != len(want) {
		t.Errorf("%d links have %d sessions, want one each", len(want), len(channels))
	}

	n := f.st.Len()
	f.peer.CutAll()
	f.st.Await(t, n, driver.Ready)
	// Receivers come back at their addresses, the reply link before all senders.
	again := f.attached(2, 6)
	for _, each := range []string{reply, link("receiver", toOne), link("receiver", toAll), link("receiver", toAny), link("receiver", toEvent)} {
		if !slices.Contains(again, each) {
			t.Errorf("not made again: %s", each)
		}
	}
	f.sends(testkit.Call("r"))
	again = f.attached(2, 7)
	if sender := slices.Index(again, link("sender", toAny)); sender < 0 || slices.Index(again, reply) > sender {
		t.Errorf("the reply link is not before the senders:\n%s", strings.Join(again, "\n"))
	}
}

// TestFaultOpenAsUpstream compares the open frame.
func TestFaultOpenAsUpstream(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options  map[string]string
		vhost    string
		hostname any
		idle     any
		id       string
	}{
		"default":      {nil, "", nil, nil, `^openstack.org/om/container/[^/]+/test/\d+/[0-9a-f]{32}$`},
		"pseudo vhost": {nil, "nova", nil, nil, ``},
		"vhost":        {map[string]string{optPseudoVhost: "false"}, "nova", "nova", nil, ``},
		"container":    {map[string]string{optContainerName: "me"}, "", nil, nil, `^me$`},
		"idle timeout": {map[string]string{optIdleTimeout: "8"}, "", nil, uint32(4000), ``}, // half of it, as the protocol wants
	} {
		t.Run(name, func(t *testing.T) {
			p := scripted.Run(t, scripted.Options{})
			f := atPeer(t, p, tt.options, func(cfg *driver.Config) { cfg.VirtualHost, cfg.HasVirtualHost = tt.vhost, tt.vhost != "" })
			open := f.happens(0, "open", func(e scripted.Event) bool { return e.Name == "open" }).Fields
			for len(open) < 10 {
				open = append(open, nil)
			}
			if id := fmt.Sprint(open[0]); !regexp.MustCompile(tt.id).MatchString(id) {
				t.Errorf("container-id is %q", id)
			}
			if open[1] != tt.hostname {
				t.Errorf("hostname is %v", open[1])
			}
			if open[3] != uint16(32767) {
				t.Errorf("channel-max is %v", open[3])
			}
			if open[4] != tt.idle {
				t.Errorf("idle-time-out is %v", open[4])
			}
			properties, _ := open[9].(scripted.Map)
			for _, name := range []scripted.Symbol{"process", "pid", "node"} {
				if properties[name] == nil {
					t.Errorf("the property %s is missing in %v", name, properties)
				}
			}
		})
	}
}

// TestFaultFewSessions is a peer that allows four sessions on a connection: links share them.
func TestFaultFewSessions(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{ChannelMax: 3}, nil)
	l := f.server(driver.SettleOnPoll)
	back := listen(t, f.conn, testkit.Replies("r"))
	for range 3 {
		for _, address := range []string{toOne, toAll, toAny} {
			m := f.messageFor(address)
			f.sends(m)
			if ds := testkit.Poll(soon(t), t, l, 1, 1); ds[0].UniqueID != m.UniqueID {
				t.Errorf("delivered %q, want %q", ds[0].UniqueID, m.UniqueID)
			}
		}
		f.sends(notification())
	}
	for i := range 20 {
		m := testkit.Cast(i)
		m.Target.Topic = fmt.Sprint("t", i)
		f.sends(m)
	}
	m := testkit.Call("r")
	f.sends(m)
	testkit.Poll(soon(t), t, l, 1, 1)
	f.answer(f.arrives(toAny, m.CallID), "42")
	if ds := testkit.Poll(soon(t), t, back, 1, 1); ds[0].CallID != m.CallID {
		t.Errorf("delivered %+v", ds[0])
	}
	if err := f.conn.Ping(soon(t)); err != nil {
		t.Logf("Ping: %v", err)
	}
	channels := map[uint16]bool{}
	for _, e := range f.peer.Named("begin") {
		channels[e.Channel] = true
	}
	if len(channels) > 4 || len(f.peer.Named("connect")) != 1 {
		t.Errorf("%d sessions on %d connections", len(channels), len(f.peer.Named("connect")))
	}
}

// TestFaultSmallFrames is a peer with the smallest frames that there may be.
func TestFaultSmallFrames(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{MaxFrameSize: 512}, nil)
	l := f.server(driver.SettleOnPoll)
	m := testkit.Cast(1)
	m.Body = fmt.Appendf(nil, `{"method": "m", "args": {"text": %q}}`, strings.Repeat("0123456789", 20_000))
	f.sends(m)
	if ds := testkit.Poll(soon(t), t, l, 1, 1); string(ds[0].Body) != string(m.Body) {
		t.Errorf("delivered %d bytes, want %d", len(ds[0].Body), len(m.Body))
	}
	sent := f.peer.Messages(toAny)[0]
	t.Logf("%d bytes in %d frames", len(sent.Payload), sent.Frames)
	if sent.Frames < len(m.Body)/512 {
		t.Errorf("it took %d frames", sent.Frames)
	}
}

// TestFaultSmallMessages is a peer with a limit for messages, which the driver knows.
func TestFaultSmallMessages(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{MaxMessageSize: 4096}, nil)
	m := testkit.Cast(1)
	m.Body = fmt.Appendf(nil, `{"method": "m", "args": {"text": %q}}`, strings.Repeat("x", 5000))
	wantDoubt(t, f.fails(soon(t), m, driver.ReasonMessageTooLarge, "4096", toAny), false)
	f.sends(testkit.Cast(2))
	if n := len(f.peer.Messages(toAny)); n != 1 {
		t.Errorf("%d messages were sent, want the small one", n)
	}
}
