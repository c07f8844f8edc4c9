// SPDX-License-Identifier: Apache-2.0

package messaging

import "time"

// CallOption changes one setting in a client derived by [RPCClient.With].
type CallOption func(*clientSettings)

// Exchange sets the target's exchange; empty is the transport's default.
func Exchange(name string) CallOption { return func(s *clientSettings) { s.target.Exchange = name } }

// Topic sets the target's topic.
func Topic(name string) CallOption { return func(s *clientSettings) { s.target.Topic = name } }

// Namespace sets the target's namespace.
func Namespace(name string) CallOption {
	return func(s *clientSettings) { s.target.Namespace = name }
}

// NoNamespace clears the target's namespace: the null namespace.
func NoNamespace() CallOption { return Namespace("") }

// Version sets the target's version; empty sends none, which servers take as 1.0.
func Version(v string) CallOption { return func(s *clientSettings) { s.target.Version = v } }

// Server addresses one server of the topic, or any of them when name is empty. It undoes
// Fanout.
func Server(name string) CallOption {
	return func(s *clientSettings) { s.target.Server, s.target.Fanout = name, false }
}

// Fanout addresses every server of the topic. It undoes Server.
func Fanout() CallOption {
	return func(s *clientSettings) { s.target.Server, s.target.Fanout = "", true }
}

// Timeout sets [RPCClientOptions.Timeout]; zero is the default.
func Timeout(d time.Duration) CallOption { return func(s *clientSettings) { s.timeout = d } }

// VersionCap sets [RPCClientOptions.VersionCap]; empty is no cap.
func VersionCap(v string) CallOption { return func(s *clientSettings) { s.versionCap = v } }

// Mandatory sets [RPCClientOptions.Mandatory].
func Mandatory() CallOption { return func(s *clientSettings) { s.mandatory = true } }

// Monitor sets [RPCClientOptions.Monitor]; zero is without.
func Monitor(d time.Duration) CallOption { return func(s *clientSettings) { s.monitor = d } }

// Retry sets [RPCClientOptions.Retry]; negative is as long as there is time.
func Retry(n int) CallOption { return func(s *clientSettings) { s.retry = n } }

// Repeatable sets [RPCClientOptions.Repeatable].
func Repeatable() CallOption { return func(s *clientSettings) { s.repeatable = true } }

// With returns a client that differs from c by opts, applied in order. It is upstream's
// prepare. It is cheap, and the result may be kept.
func (c *RPCClient) With(opts ...CallOption) *RPCClient {
	s := c.s
	for _, opt := range opts {
		opt(&s)
	}
	return newClient(c.t, s)
}
