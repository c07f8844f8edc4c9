// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ArtemisVersion is the release of Apache ActiveMQ Artemis that the tests meet.
const ArtemisVersion = "2.42.0"

// ArtemisOptions changes how an Artemis is started. The zero value and nil are
// ready to use: everything is in memory, nobody has to log in, and AMQP 1.0 is
// all that is spoken.
type ArtemisOptions struct {
	// Config is added to the core part of its broker.xml, such as
	// "<address-settings>...</address-settings>".
	Config string
	// StartTimeout bounds one start. Default 60 seconds.
	StartTimeout time.Duration
	// StopTimeout bounds a clean stop; it is killed after it. Default 10 seconds.
	StopTimeout time.Duration
}

func (o *ArtemisOptions) withDefaults() ArtemisOptions {
	var opts ArtemisOptions
	if o != nil {
		opts = *o
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = 60 * time.Second
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = 10 * time.Second
	}
	return opts
}

// Artemis is a private Apache ActiveMQ Artemis. It keeps its port over Stop, Kill
// and Restart; its queues and messages are gone then.
type Artemis struct {
	server

	dir, jars string
	port      int
}

// StartArtemis starts a private broker and returns when it takes connections,
// after two seconds on a quiet machine. The caller closes it.
func StartArtemis(ctx context.Context, o *ArtemisOptions) (*Artemis, error) {
	opts := o.withDefaults()
	a := &Artemis{}
	a.server = server{
		name: "Artemis", startTimeout: opts.StartTimeout, stopTimeout: opts.StopTimeout,
		launch: a.launch, remove: func() error { return os.RemoveAll(a.dir) },
	}
	var err error
	if a.jars, err = jarDir("artemis-" + ArtemisVersion); err != nil {
		return nil, missing("Apache ActiveMQ Artemis "+ArtemisVersion, err)
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	a.port = ports[0]
	if a.dir, err = os.MkdirTemp("", "parley-artemis-"); err != nil {
		return nil, fmt.Errorf("make the directory of an Artemis: %w", err)
	}
	if err = a.configure(opts.Config); err == nil {
		err = a.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// artemisConfig is its broker.xml, with a place for the port and for more.
const artemisConfig = `<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <name>parley</name>
    <persistence-enabled>false</persistence-enabled>
    <security-enabled>false</security-enabled>
    <journal-type>NIO</journal-type>
    <max-disk-usage>-1</max-disk-usage>
    <acceptors>
      <acceptor name="amqp">tcp://127.0.0.1:%d?protocols=AMQP;useEpoll=false</acceptor>
    </acceptors>
    %s
  </core>
</configuration>
`

func (a *Artemis) configure(more string) error {
	if err := os.Mkdir(filepath.Join(a.dir, "etc"), 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(artemisConfig, a.port, more)
	return os.WriteFile(filepath.Join(a.dir, "etc", "broker.xml"), []byte(text), 0o600)
}

func (a *Artemis) launch(ctx context.Context) (*process, error) {
	args := append(javaOptions(a.dir),
		// Else it writes a line for each thing that a client does.
		"-Dorg.slf4j.simpleLogger.log.org.apache.activemq.audit=off",
		"-cp", filepath.Join(a.jars, "*"), "org.apache.activemq.artemis.core.server.embedded.Main", a.dir)
	return launchJava(ctx, a.name, a.dir, args, "AMQ221007: Server is now active")
}

// Addr is its host:port, for clients with and without a name.
func (a *Artemis) Addr() string { return loopback(a.port) }

// URL is a transport URL of Parley. The virtual host is a part of the addresses
// and nothing that it knows of.
func (a *Artemis) URL(vhost string) string { return "qpid://" + a.Addr() + "/" + url.PathEscape(vhost) }

// RunArtemis starts a private broker for one test, which may kill it, pause it
// and restart it.
func RunArtemis(tb testing.TB, o *ArtemisOptions) *Artemis {
	tb.Helper()
	a, err := StartArtemis(tb.Context(), o)
	return closeAfter(tb, a, err)
}
