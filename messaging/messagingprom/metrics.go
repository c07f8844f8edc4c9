// SPDX-License-Identifier: Apache-2.0

package messagingprom

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMaxMethods is the default of [Options.MaxMethods].
const DefaultMaxMethods = 1000

// DefaultBuckets are the default of [Options.Buckets]: from a millisecond to the default
// timeout of a call.
func DefaultBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// Options are the settings of [Metrics]. Nil, and every zero field, mean the default.
type Options struct {
	// Buckets are the upper bounds of the histograms, in seconds, in any order. Default: [DefaultBuckets].
	Buckets []float64
	// MaxMethods bounds how many pairs of topic and method have series of their own, on the
	// client side and on the server side each; those that come later share the method and the
	// topic "(other)". Default: 1000.
	MaxMethods int
	// ConstLabels are on every metric.
	ConstLabels prometheus.Labels
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if len(c.Buckets) == 0 {
		c.Buckets = DefaultBuckets()
	}
	// Buckets out of order would be a panic, and not before the first request.
	c.Buckets = slices.Compact(slices.Sorted(slices.Values(c.Buckets)))
	if c.MaxMethods <= 0 {
		c.MaxMethods = DefaultMaxMethods
	}
	return c
}

// Metrics are the metrics of a program: register it with one registry. It may be used by any
// number of clients, servers and goroutines.
type Metrics struct {
	client, server *side
	transports     *watch[transportStats]
	servers        *watch[serverStats]
	listeners      *watch[listenerStats]
	spools         *watch[spoolStats]
}

var _ prometheus.Collector = (*Metrics)(nil)

// New returns metrics that nothing was counted in.
func New(o *Options) *Metrics {
	c := o.withDefaults()
	return &Metrics{
		client:     newSide("client", "sent", c),
		server:     newSide("server", "handled", c),
		transports: newWatch("transport", transportSeries(), c),
		servers:    newWatch("server", serverSeries(), c),
		listeners:  newWatch("listener", listenerSeries(), c),
		spools:     newWatch("spool", spoolSeries(), c),
	}
}

// parts are the collectors inside.
func (m *Metrics) parts() []prometheus.Collector {
	return []prometheus.Collector{m.client, m.server, m.transports, m.servers, m.listeners, m.spools}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.parts() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.parts() {
		c.Collect(ch)
	}
}
