// SPDX-License-Identifier: Apache-2.0

package messagingprom

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// What stands for methods that have no series of their own.
const (
	unknownMethod = "(unknown)"
	otherMethods  = "(other)"
)

// pair is what there may be many of.
type pair struct{ method, topic string }

// series names the series of a request.
type series struct {
	pair
	call bool
}

// newSeries cuts a method's name: a peer may send one of any length.
func newSeries(method, topic string, call bool) series {
	return series{pair{method[:min(len(method), maxMethod)], topic}, call}
}

// maxMethod is how much of a method's name a label shows, in bytes.
const maxMethod = 128

func (s series) kind() string {
	if s.call {
		return "call"
	}
	return "cast"
}

// other is the series of those that have none.
func (s series) other() series {
	return series{pair{otherMethods, otherMethods}, s.call}
}

// side holds the metrics of the requests of one side, client or server.
type side struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	limit    int // of len(pairs)

	mu      sync.RWMutex // guards the rest
	handles map[series]*handle
	pairs   map[pair]struct{}
}

// handle has the metrics of one series at hand: looking them up by label for every request
// costs more than counting.
type handle struct {
	requests *prometheus.CounterVec // all but the code is set
	ok       prometheus.Counter
	duration prometheus.Observer
	inFlight prometheus.Gauge
}

func newSide(name, verb string, o Options) *side {
	all := []string{"method", "topic", "kind", "code"}
	labels := all[:3] // how a request ends is not known before
	full := func(metric string) string { return prometheus.BuildFQName("parley", name, metric) }
	return &side{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: full("requests_total"), Help: "Requests " + verb + ", by how they ended.", ConstLabels: o.ConstLabels,
		}, all),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: full("request_duration_seconds"), Help: "How long requests " + verb + " took.",
			ConstLabels: o.ConstLabels, Buckets: o.Buckets,
		}, labels),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: full("in_flight"), Help: "Requests being " + verb + " now.", ConstLabels: o.ConstLabels,
		}, labels),
		limit:   o.MaxMethods,
		handles: make(map[series]*handle),
		pairs:   make(map[pair]struct{}),
	}
}

// of returns the handle of a series, or of the one that stands for those beyond the limit.
func (s *side) of(key series) *handle {
	if h := s.find(key); h != nil {
		return h
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key.method = strings.Clone(key.method) // it may be a piece of something large
	if _, known := s.pairs[key.pair]; !known {
		if len(s.pairs) >= s.limit {
			key = key.other()
		} else {
			s.pairs[key.pair] = struct{}{}
		}
	}
	h := s.handles[key]
	if h == nil {
		h = s.newHandle(key)
		s.handles[key] = h
	}
	return h
}

// find returns the handle if there is one. It needs no writer's lock for what is beyond the
// limit either, which may be every request.
func (s *side) find(key series) *handle {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.handles[key]; h != nil || len(s.pairs) < s.limit {
		return h
	}
	if _, known := s.pairs[key.pair]; known {
		return nil
	}
	return s.handles[key.other()]
}

func (s *side) newHandle(key series) *handle {
	labels := prometheus.Labels{"method": clean(key.method), "topic": clean(key.topic), "kind": key.kind()}
	requests := s.requests.MustCurryWith(labels)
	return &handle{
		requests: requests, ok: requests.WithLabelValues(codeOK),
		duration: s.duration.With(labels), inFlight: s.inFlight.With(labels),
	}
}

// clean makes a text fit for a label, which is UTF-8 or a panic.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Describe implements prometheus.Collector.
func (s *side) Describe(ch chan<- *prometheus.Desc) {
	s.requests.Describe(ch)
	s.duration.Describe(ch)
	s.inFlight.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *side) Collect(ch chan<- prometheus.Metric) {
	s.requests.Collect(ch)
	s.duration.Collect(ch)
	s.inFlight.Collect(ch)
}
