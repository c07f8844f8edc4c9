// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"
)

// BrokerJVersion is the release of Apache Qpid Broker-J that the tests meet.
const BrokerJVersion = "10.1.0"

// The user that a Broker-J knows when BrokerJOptions names none.
const (
	BrokerJUser     = "parley"
	BrokerJPassword = "parley"
)

// BrokerJOptions changes how a Broker-J is started. The zero value and nil are
// ready to use: everything is in memory, every node that oslo.messaging's
// legacy addresses name is made when it is first used, and AMQP 1.0 is all that
// is spoken.
type BrokerJOptions struct {
	// Users are the passwords by user of PlainAddr. Default: BrokerJUser alone.
	Users map[string]string
	// NoPolicies leaves out what makes nodes by themselves: every attach to a
	// name is refused then with amqp:not-found.
	NoPolicies bool
	// Queue is added to the attributes of every queue that the policies make,
	// such as "maximumQueueDepthMessages": 10, "overflowPolicy":
	// "PRODUCER_FLOW_CONTROL".
	Queue map[string]any
	// TLS, when not nil, lets it listen for TLS as well: at TLSAddr, PlainTLSAddr,
	// and with a client's certificate at ExternalAddr. RequireClient and Versions
	// have no effect on it.
	TLS *TLSFiles
	// MaxSessions is how many sessions it lets a connection have, its open's
	// channel-max + 1. Default: its own, 256.
	MaxSessions int
	// Properties are further ones, such as "qpid.port.heartbeatDelay".
	Properties map[string]string
	// Java are further options of the Java machine, which win over those that suit a short
	// test: "-Xmx1g", "-XX:TieredStopAtLevel=4".
	Java []string
	// StartTimeout bounds one start. Default 60 seconds.
	StartTimeout time.Duration
	// StopTimeout bounds a clean stop; it is killed after it. Default 10 seconds.
	StopTimeout time.Duration
}

func (o *BrokerJOptions) withDefaults() BrokerJOptions {
	var opts BrokerJOptions
	if o != nil {
		opts = *o
	}
	if opts.Users == nil {
		opts.Users = map[string]string{BrokerJUser: BrokerJPassword}
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = 60 * time.Second
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 10 * time.Second
	}
	return opts
}

// BrokerJ is a private Apache Qpid Broker-J. It keeps its ports over Stop, Kill
// and Restart; its queues and messages are gone then. Stop, Kill, Restart,
// Pause, Resume, PID, Output and Close are as those of Redis.
type BrokerJ struct {
	server

	dir  string
	args []string
	node brokerJNode
}

// errSharedBrokerJ is returned for what would disturb the others on a shared broker.
var errSharedBrokerJ = errors.New("the broker is shared with other test processes (" + sharedBrokerJVariable + "): start one of your own with StartBrokerJ")

// StartBrokerJ starts a private broker and returns when it takes connections,
// after two seconds on a quiet machine. The caller closes it.
func StartBrokerJ(ctx context.Context, o *BrokerJOptions) (*BrokerJ, error) {
	opts := o.withDefaults()
	jars, err := jarDir("brokerj-" + BrokerJVersion)
	if err != nil {
		return nil, missing("Apache Qpid Broker-J "+BrokerJVersion, err)
	}
	b := &BrokerJ{}
	b.server = server{
		name: "Broker-J", startTimeout: opts.StartTimeout, stopTimeout: opts.StopTimeout,
		launch: b.launch, remove: func() error { return os.RemoveAll(b.dir) },
	}
	if b.dir, err = os.MkdirTemp("", "parley-brokerj-"); err != nil {
		return nil, fmt.Errorf("make the directory of a Broker-J: %w", err)
	}
	b.args = brokerJArgs(b.dir, jars, opts)
	if b.node, err = writeBrokerJ(b.dir, opts); err == nil {
		err = b.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *BrokerJ) launch(ctx context.Context) (*process, error) {
	return launchJava(ctx, b.name, b.dir, b.args, "BRK-1004 : Qpid Broker Ready")
}

// Addr is its host:port for clients without a name: with no SASL layer, or with
// ANONYMOUS.
func (b *BrokerJ) Addr() string { return loopback(b.node.Port) }

// PlainAddr is its host:port for users: PLAIN on clear text, CRAM-MD5, SCRAM.
func (b *BrokerJ) PlainAddr() string { return loopback(b.node.PlainPort) }

// TLSAddr is like Addr over TLS, when it was started with TLS.
func (b *BrokerJ) TLSAddr() string { return loopback(b.node.TLSPort) }

// PlainTLSAddr is like PlainAddr over TLS, when it was started with TLS.
func (b *BrokerJ) PlainTLSAddr() string { return loopback(b.node.PlainTLSPort) }

// ExternalAddr is its host:port for SASL EXTERNAL: the TLS client has to show a
// certificate of the authority, when it was started with TLS.
func (b *BrokerJ) ExternalAddr() string { return loopback(b.node.ExternalPort) }

// URL is a transport URL of Parley for Addr. The broker knows no virtual host
// of that name: the driver writes it into the addresses (pseudo_vhost).
func (b *BrokerJ) URL(vhost string) string { return b.URLAt(b.Addr(), vhost) }

// URLAt is like URL for another address of the broker, such as a proxy's.
func (b *BrokerJ) URLAt(addr, vhost string) string {
	return "qpid://" + addr + "/" + url.PathEscape(vhost)
}

// PlainURL is like URL for a user of PlainAddr. It has the password in it, and
// the option that lets the driver say it on clear text.
func (b *BrokerJ) PlainURL(user, vhost string) string {
	login := url.UserPassword(user, b.node.Users[user])
	return "qpid://" + login.String() + "@" + b.PlainAddr() + "/" + url.PathEscape(vhost)
}

// PythonURL is URL under the name that oslo.messaging has for the driver.
func (b *BrokerJ) PythonURL(vhost string) string {
	return "amqp://" + b.Addr() + "/" + url.PathEscape(vhost)
}

// RunBrokerJ starts a private broker for one test, which may kill it, pause it
// and restart it.
func RunBrokerJ(tb testing.TB, o *BrokerJOptions) *BrokerJ {
	tb.Helper()
	b, err := StartBrokerJ(tb.Context(), o)
	return closeAfter(tb, b, err)
}

// RunSharedBrokerJ is UseBrokerJ for one test.
func RunSharedBrokerJ(tb testing.TB) *BrokerJ {
	tb.Helper()
	b, err := UseBrokerJ(tb.Context())
	return closeAfter(tb, b, err)
}

// sharedBrokerJVariable names the descriptor file of a broker to use instead of
// starting one. The peerctl command writes such a file.
const sharedBrokerJVariable = "PARLEY_TEST_BROKERJ"

// UseBrokerJ returns a broker for tests that only send and receive: the one
// that PARLEY_TEST_BROKERJ names, else a new private one. Such tests keep to
// virtual hosts of their own; what would disturb others returns an error.
func UseBrokerJ(ctx context.Context) (*BrokerJ, error) {
	file := os.Getenv(sharedBrokerJVariable)
	if file == "" {
		return StartBrokerJ(ctx, nil)
	}
	return AttachBrokerJ(file)
}

// AttachBrokerJ returns the broker that a descriptor file describes.
func AttachBrokerJ(file string) (*BrokerJ, error) {
	b := &BrokerJ{}
	b.name, b.foreign = "Broker-J", errSharedBrokerJ
	if err := readDescriptor(file, "Broker-J", &b.node); err != nil {
		return nil, err
	}
	return b, nil
}

// WriteDescriptor writes the file with which AttachBrokerJ finds the broker. It
// appears whole or not at all, so a reader may wait for it.
func (b *BrokerJ) WriteDescriptor(file string) error { return writeDescriptor(file, b.node) }
