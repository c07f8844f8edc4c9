// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

var update = flag.Bool("update", false, "write testdata/brokers.md anew")

// bootTime is how long a broker may take to start while others do.
const bootTime = 5 * time.Minute

// tablePage is the page of the documentation that has the table too.
var tablePage = filepath.Join("..", "..", "docs", "QPID.md")

// TestBrokers finds out what each broker can do with this driver, by doing it. What it finds is
// compared with testdata/brokers.md, and so is the table in the documentation.
func TestBrokers(t *testing.T) {
	brokers := []*subject{
		{name: "Broker-J " + peertest.BrokerJVersion, run: func(t *testing.T, s *subject) { s.addr = shared.usual.use(t) }},
		{name: "Artemis " + peertest.ArtemisVersion, run: func(t *testing.T, s *subject) {
			s.addr = peertest.RunArtemis(t, &peertest.ArtemisOptions{StartTimeout: bootTime}).Addr()
		}},
		{name: "RabbitMQ 3, plugin `rabbitmq_amqp1_0`", run: func(t *testing.T, s *subject) {
			s.addr, s.user = peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{Plain: true, AMQP1: true, StartTimeout: bootTime}).Addr(), "guest"
		}},
	}
	t.Run("try", func(t *testing.T) {
		for _, s := range brokers {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, s)
				s.tryAll(t)
			})
		}
	})
	if !t.Failed() {
		compareTable(t, table(brokers))
	}
}

// compareTable compares what was found with what is written.
func compareTable(t *testing.T, got string) {
	file := filepath.Join("testdata", "brokers.md")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the brokers can do other things than %s says (-update writes it):\n%s", file, got)
	}
	page, err := os.ReadFile(tablePage)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), string(want)) {
		t.Errorf("%s does not have the table of %s", tablePage, file)
	}
}

func table(brokers []*subject) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head, rule := []string{"what"}, []string{"---"}
	for _, s := range brokers {
		head, rule = append(head, s.name), append(rule, "---")
	}
	line(head)
	line(rule)
	for i, r := range feats() {
		cells := []string{r.name}
		for _, s := range brokers {
			cells = append(cells, s.cells[i])
		}
		line(cells)
	}
	return b.String()
}

// subject is a broker that is tried.
type subject struct {
	name       string
	run        func(*testing.T, *subject) // sets addr and user
	addr, user string                     // the password is the user's name
	cells      []string                   // what was found, in the order of feats
}

// tryAll does all there is to do at once: nothing of it has to do with another.
func (s *subject) tryAll(t *testing.T) {
	all := feats()
	s.cells = make([]string, len(all))
	var done sync.WaitGroup
	for i, f := range all {
		done.Go(func() { s.cells[i] = s.try(t, f) })
	}
	done.Wait()
}

// feat is a thing to do.
type feat struct {
	name string
	do   func(*scene) (string, error)
}

// feats are the rows of the table.
func feats() []feat {
	return []feat{
		{"addresses, with `addressing_mode=dynamic`", (*scene).addresses},
		{"sessions a connection, as delivered", (*scene).sessions},
		{"call to any server, and its reply", func(st *scene) (string, error) { return st.call("") }},
		{"call to one server", func(st *scene) (string, error) { return st.call("a") }},
		{"fanout to two servers", (*scene).fanout},
		{"cast, not confirmed", func(st *scene) (string, error) { return st.cast(nil) }},
		{"cast with `reliable_casts`", func(st *scene) (string, error) { return st.cast(map[string]string{optReliableCasts: "true"}) }},
		{"notification", (*scene).notification},
		{"headers", (*scene).headers},
		{"a body of 1 MiB", (*scene).large},
		{"a message waits for its first listener", (*scene).early},
		{"a request of 1 s that nobody takes is gone after", (*scene).expiry},
		{"requeue", (*scene).requeue},
		{"a slash in the name of a topic", (*scene).slash},
		{"answers over an anonymous relay", (*scene).relay},
	}
}

// try does one thing, with connections of its own.
func (s *subject) try(t *testing.T, f feat) string {
	st := &scene{s: s, t: t, vhost: newVhost()}
	defer st.close()
	found, err := f.do(st)
	if err == nil {
		return found
	}
	t.Logf("%s: %v", f.name, err)
	st.checkHint(f.name, err)
	return "no: " + string(driver.ReasonOf(err))
}

// checkHint: who is refused something by RabbitMQ is told the driver that can.
func (st *scene) checkHint(what string, err error) {
	if strings.HasPrefix(st.s.name, "RabbitMQ") && !strings.Contains(err.Error(), "rabbit://") {
		st.t.Errorf("%s: the error does not name rabbit://: %v", what, err)
	}
}

// scene is what one thing is done with: a virtual host, and connections to it.
type scene struct {
	s     *subject
	t     *testing.T
	vhost string
	conns []driver.Conn
}

func (st *scene) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range st.conns {
		if err := c.Close(ctx); err != nil {
			st.t.Errorf("Close: %v", err)
		}
	}
}

// open opens one more Conn.
func (st *scene) open(options map[string]string) (*conn, error) {
	cfg := testkit.Config(st.t, newDriver(), st.s.addr, st.vhost, &testkit.Logs{}, options)
	if u := st.s.user; u != "" {
		h := &cfg.Hosts[0]
		h.User, h.Password, h.HasUser, h.HasPassword = u, driver.Secret(u), true, true
	}
	c, err := newDriver().Open(st.t.Context(), cfg)
	if err != nil {
		return nil, err
	}
	st.conns = append(st.conns, c)
	return c.(*conn), nil
}

// listen opens a Conn and listens with it.
func (st *scene) listen(src driver.Source) (*conn, driver.Listener, error) {
	c, err := st.open(nil)
	if err != nil {
		return nil, nil, err
	}
	l, err := c.Listen(soon(st.t), src)
	return c, l, err
}

// one is the next delivery.
func (st *scene) one(l driver.Listener) (*driver.Delivery, error) {
	for {
		ds, err := l.Poll(soon(st.t), 1)
		if err != nil || len(ds) > 0 {
			return first(ds), err
		}
	}
}

func first(ds []*driver.Delivery) *driver.Delivery {
	if len(ds) == 0 {
		return nil
	}
	return ds[0]
}

// session is a session of a new Conn.
func (st *scene) session() (*session, error) {
	c, err := st.open(nil)
	if err != nil {
		return nil, err
	}
	s, cause := c.link.Await(soon(st.t), false)
	if s == nil {
		return nil, cause
	}
	return s, nil
}

func (st *scene) addresses() (string, error) {
	s, err := st.session()
	if err != nil {
		return "", err
	}
	return string(s.addr.Mode), nil
}

func (st *scene) sessions() (string, error) {
	s, err := st.session()
	if err != nil {
		return "", err
	}
	return strconv.Itoa(int(s.peer.ChannelMax) + 1), nil
}

func (st *scene) relay() (string, error) {
	s, err := st.session()
	switch {
	case err != nil:
		return "", err
	case !s.relay:
		return "not offered: a link for each client", nil
	case s.fragileRelay():
		return "for the clients beyond " + strconv.Itoa(fewAnswerLanes), nil
	default:
		return "yes", nil
	}
}

// call calls a server, any of the topic with "".
func (st *scene) call(to string) (string, error) {
	srv, requests, err := st.listen(testkit.Server("a", driver.SettleOnPoll))
	if err != nil {
		return "", err
	}
	name := strings.ReplaceAll(uuid.NewString(), "-", "")
	client, answers, err := st.listen(testkit.Replies(name))
	if err != nil {
		return "", err
	}
	m := testkit.Call(name)
	m.Target.Server = to
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return "", err
	}
	d, err := st.one(requests)
	if err != nil {
		return "", err
	}
	reply := &driver.Message{Kind: driver.Reply, CallID: d.CallID, ReplyTo: d.ReplyTo, UniqueID: uuid.NewString(), Body: []byte("1")}
	if err := srv.Send(soon(st.t), []*driver.Message{reply}); err != nil {
		return "", err
	}
	got, err := st.one(answers)
	if err != nil {
		return "", err
	}
	if got.CallID != m.CallID || got.Lost != nil {
		return "", fmt.Errorf("the answer is %+v", got)
	}
	if strings.HasPrefix(d.ReplyTo, "openstack.org.om.reply.") {
		return "yes, reply address by name", nil
	}
	return "yes, dynamic reply address", nil
}

func (st *scene) fanout() (string, error) {
	var all []driver.Listener
	for _, name := range []string{"a", "b"} {
		_, l, err := st.listen(testkit.Server(name, driver.SettleOnPoll))
		if err != nil {
			return "", err
		}
		all = append(all, l)
	}
	client, err := st.open(nil)
	if err != nil {
		return "", err
	}
	m := testkit.Cast(1)
	m.Target.Fanout = true
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return "", err
	}
	for _, l := range all {
		if d, err := st.one(l); err != nil || d.UniqueID != m.UniqueID {
			return "", fmt.Errorf("a server did not hear it: %w", err)
		}
	}
	return "yes", nil
}

// pass sends m and takes it at a listener that was there before.
func (st *scene) pass(src driver.Source, m *driver.Message, options map[string]string) (*driver.Delivery, error) {
	_, l, err := st.listen(src)
	if err != nil {
		return nil, err
	}
	client, err := st.open(options)
	if err != nil {
		return nil, err
	}
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return nil, err
	}
	d, err := st.one(l)
	if err == nil && string(d.Body) != string(m.Body) {
		err = fmt.Errorf("the body is %.100s", d.Body)
	}
	return d, err
}

func (st *scene) cast(options map[string]string) (string, error) {
	_, err := st.pass(testkit.Server("a", driver.SettleOnPoll), testkit.Cast(1), options)
	return "yes", err
}

// events is a Source of notifications.
func events(settle driver.Settle) driver.Source {
	return driver.Source{
		Kind: driver.SourceNotifications, Settle: settle,
		Notifications: []driver.NotificationTopic{{Exchange: "openstack", Topic: "v", Priority: "info"}},
	}
}

func event(body string) *driver.Message {
	return &driver.Message{
		Kind: driver.Notification, Target: driver.Target{Exchange: "openstack", Topic: "v"}, Priority: "info",
		Format: driver.NotificationV2, UniqueID: uuid.NewString(), Body: []byte(`{"payload": "` + body + `"}`),
	}
}

func (st *scene) notification() (string, error) {
	_, err := st.pass(events(driver.SettleOnPoll), event("x"), nil)
	return "yes", err
}

func (st *scene) headers() (string, error) {
	m := event("x")
	m.Headers = map[string]string{"traceparent": "00-1-2-01"}
	d, err := st.pass(events(driver.SettleOnPoll), m, nil)
	if err == nil && d.Headers["traceparent"] != "00-1-2-01" {
		return "lost", nil
	}
	return "yes", err
}

func (st *scene) large() (string, error) {
	_, err := st.pass(events(driver.SettleOnPoll), event(strings.Repeat("x", 1<<20)), nil)
	return "yes", err
}

// early sends before anybody listens.
func (st *scene) early() (string, error) {
	m := event("x")
	client, err := st.open(nil)
	if err != nil {
		return "", err
	}
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return "", err
	}
	_, l, err := st.listen(events(driver.SettleOnPoll))
	if err != nil {
		return "", err
	}
	_, err = st.one(l)
	return "yes", err
}

// expiry sends a request of a second, and another behind it.
func (st *scene) expiry() (string, error) {
	const life = time.Second
	client, err := st.open(nil)
	if err != nil {
		return "", err
	}
	maker, short, long := testkit.Call("nobody"), testkit.Call("nobody"), testkit.Call("nobody")
	short.TimeLeft = life
	// It makes the node and the link, which may take longer than a second.
	if err := client.Send(soon(st.t), []*driver.Message{maker}); err != nil {
		return "", err
	}
	for range 100 { // on a busy machine it may be over before it is sent
		err := client.Send(soon(st.t), []*driver.Message{short})
		if err == nil {
			break
		}
		if driver.ReasonOf(err) != driver.ReasonExpired {
			return "", err
		}
	}
	sent := time.Now()
	if err := client.Send(soon(st.t), []*driver.Message{long}); err != nil {
		return "", err
	}
	select {
	case <-time.After(time.Until(sent.Add(2 * life))):
	case <-st.t.Context().Done():
	}
	_, l, err := st.listen(testkit.Server("a", driver.SettleOnPoll))
	if err != nil {
		return "", err
	}
	for {
		d, err := st.one(l)
		switch {
		case err != nil:
			return "", err
		case d.UniqueID == short.UniqueID:
			return "delivered all the same", nil
		case d.UniqueID == long.UniqueID:
			return "yes", nil
		}
	}
}

func (st *scene) requeue() (string, error) {
	m := event("x")
	_, l, err := st.listen(events(driver.SettleOnDone))
	if err != nil {
		return "", err
	}
	client, err := st.open(nil)
	if err != nil {
		return "", err
	}
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return "", err
	}
	d, err := st.one(l)
	if err != nil {
		return "", err
	}
	if err := l.Done(soon(st.t), []driver.Outcome{{Token: d.Token, Result: driver.Requeued}}); err != nil {
		return "", err
	}
	again, err := st.one(l)
	if err != nil {
		return "", err
	}
	if err := l.Done(soon(st.t), []driver.Outcome{{Token: again.Token, Result: driver.Accepted}}); err != nil {
		return "", err
	}
	if again.Redelivered {
		return "yes, marked as delivered before", nil
	}
	return "yes, without a mark", nil
}

func (st *scene) slash() (string, error) {
	client, err := st.open(nil)
	if err != nil {
		return "", err
	}
	m := event("x")
	m.Target.Topic = "v/w"
	if err := client.Send(soon(st.t), []*driver.Message{m}); err != nil {
		return "", err
	}
	src := events(driver.SettleOnPoll)
	src.Notifications[0].Topic = "v/w"
	_, l, err := st.listen(src)
	if err != nil {
		return "", err
	}
	_, err = st.one(l)
	return "yes", err
}
