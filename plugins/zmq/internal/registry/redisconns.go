// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	redisPort    = 6379
	sentinelPort = 26379
	// sentinelGroup is the old driver's default name of a group of servers.
	sentinelGroup = "oslo-messaging-zeromq"

	redisDialTime = time.Second
	redisTime     = 2 * time.Second
	// redisTries is how often the library tries a command: a connection may be stale.
	redisTries = 1
	// redisPool is enough for the one goroutine and the subscription.
	redisPool = 3
	// subscribeAgain is the pause before a lost subscription is tried again.
	subscribeAgain = time.Second
	// subscribeSilence is how long a subscription may be silent before it is asked for a sign.
	subscribeSilence = 5 * time.Second
	// preferEvery is how often it is tried to go back to an earlier host.
	preferEvery = 5 * time.Second
)

// The library logs by itself, to the standard error and for all its users at once. What matters
// comes as errors as well and is logged here.
func init() { redis.SetLogger(silentRedis{}) }

type silentRedis struct{}

func (silentRedis) Printf(context.Context, string, ...any) {}

// redisConns are the connections to the servers of a URL, of which the first that answers is
// used, so that all nodes use the same one. What sentinels watch is one server here.
type redisConns struct {
	names   []string
	clients []*redis.Client
	log     *slog.Logger
	out     chan struct{}

	// All below but what listens is the keeper's goroutine's.

	current   int
	suspect   bool // the current one failed
	preferred time.Time
	channel   string
	stop      context.CancelFunc // ends the subscription
	done      sync.WaitGroup
}

func newRedisConns(o Options) *redisConns {
	if len(o.Hosts) == 0 {
		o.Hosts = []driver.Host{{}}
	}
	c := &redisConns{log: o.Logger, out: make(chan struct{}, 1)}
	if o.Variant == "sentinel" {
		c.addSentinels(o)
		return c
	}
	for _, h := range o.Hosts {
		name := h.Address(redisPort)
		c.names = append(c.names, name)
		c.clients = append(c.clients, redis.NewClient(&redis.Options{
			Addr: name, Username: h.User, Password: h.Password.Reveal(), TLSConfig: o.TLS, Protocol: 2,
			DialTimeout: redisDialTime, ReadTimeout: redisTime, WriteTimeout: redisTime, ContextTimeoutEnabled: true,
			MaxRetries: redisTries, DialerRetries: 1, PoolSize: redisPool, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}))
	}
	return c
}

// addSentinels adds the server that the sentinels call the master of the group.
func (c *redisConns) addSentinels(o Options) {
	group := strings.Trim(o.Path, "/")
	if group == "" {
		group = sentinelGroup
	}
	options := &redis.FailoverOptions{
		MasterName: group, SentinelPassword: o.SentinelPassword.Reveal(), TLSConfig: o.TLS, Protocol: 2,
		DialTimeout: redisDialTime, ReadTimeout: redisTime, WriteTimeout: redisTime, ContextTimeoutEnabled: true,
		MaxRetries: redisTries, PoolSize: redisPool, DisableIdentity: true,
	}
	for _, h := range o.Hosts {
		options.SentinelAddrs = append(options.SentinelAddrs, h.Address(sentinelPort))
		if options.Password == "" && options.Username == "" {
			options.Username, options.Password = h.User, h.Password.Reveal()
		}
	}
	c.names = []string{group + " of sentinels " + strings.Join(options.SentinelAddrs, ",")}
	c.clients = []*redis.Client{redis.NewFailoverClient(options)}
}

// String returns the addresses.
func (c *redisConns) String() string { return strings.Join(c.names, ",") }

// get returns the client to use.
func (c *redisConns) get(ctx context.Context) (*redis.Client, error) {
	if !c.suspect || len(c.clients) == 1 {
		return c.clients[c.current], nil
	}
	var errs []error
	for i, client := range c.clients {
		err := client.Ping(ctx).Err()
		if err == nil {
			c.choose(i)
			return client, nil
		}
		errs = append(errs, err)
	}
	return nil, c.failed("reach", errors.Join(errs...))
}

// preferFirst goes back to an earlier host once it answers again. Else those who start then would
// meet there without the others.
func (c *redisConns) preferFirst(ctx context.Context) {
	if c.current == 0 || time.Since(c.preferred) < preferEvery {
		return
	}
	c.preferred = time.Now()
	for i, client := range c.clients[:c.current] {
		if client.Ping(ctx).Err() == nil {
			c.choose(i)
			return
		}
	}
}

func (c *redisConns) choose(i int) {
	c.suspect = false
	if i == c.current {
		return
	}
	c.log.Info("another Redis is used to discover nodes", "address", c.names[i], "before", c.names[c.current])
	c.current, c.preferred = i, time.Now()
	c.subscribe(c.channel)
}

// failed notes that the current server did not do something, and says so.
func (c *redisConns) failed(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	c.suspect = true
	reason, hint := redisReason(err)
	return driver.Errorf(reason, "%s Redis at %s: %w", what, c, err).WithHint("%s", hint)
}

// redisReason sorts an error of the library or of the server.
func redisReason(err error) (reason driver.Reason, hint string) {
	text := err.Error()
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("WRONGPASS", "NOAUTH", "invalid password", "without any password configured"):
		return driver.ReasonAuthRefused, "check the user and password of the URL"
	case has("NOPERM"):
		return driver.ReasonAccessRefused, "let the user use the keys parley:* and the channels of the same name"
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &unknown), has("tls: "):
		return driver.ReasonTLSFailed, "check the certificates, and that Redis speaks TLS on that port"
	default:
		return driver.ReasonNotConnected, "it is tried again each second; check the address and that Redis runs"
	}
}

// subscribe listens for hints at the current server, and no more at the one before.
func (c *redisConns) subscribe(channel string) {
	c.endSubscription()
	ctx, stop := context.WithCancel(context.Background())
	c.channel, c.stop = channel, stop
	client := c.clients[c.current]
	c.done.Go(func() { c.listen(ctx, client, channel) })
}

func (c *redisConns) endSubscription() {
	if c.stop != nil {
		c.stop()
	}
	c.done.Wait()
}

// listen subscribes until ctx ends.
func (c *redisConns) listen(ctx context.Context, client *redis.Client, channel string) {
	for ctx.Err() == nil {
		c.listenOnce(ctx, client.Subscribe(ctx, channel))
		select {
		case <-ctx.Done():
		case <-time.After(subscribeAgain):
		}
	}
}

// listenOnce hints at a change for each message, and at the start, since some were missed before.
func (c *redisConns) listenOnce(ctx context.Context, subscription *redis.PubSub) {
	unhook := context.AfterFunc(ctx, func() { _ = subscription.Close() })
	defer func() {
		if unhook() {
			_ = subscription.Close()
		}
	}()
	silent := false
	for {
		message, err := subscription.ReceiveTimeout(ctx, subscribeSilence)
		switch {
		case err == nil:
			silent = false
			if _, ok := message.(*redis.Pong); !ok {
				c.hint()
			}
		case !isTimeout(err) || silent:
			return
		default:
			silent = true
			if subscription.Ping(ctx) != nil {
				return
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (c *redisConns) hint() {
	select {
	case c.out <- struct{}{}:
	default: // there is one already
	}
}

func (c *redisConns) close() {
	c.endSubscription()
	for _, client := range c.clients {
		_ = client.Close() // nothing is left to write
	}
}
