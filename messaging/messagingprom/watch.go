// SPDX-License-Identifier: Apache-2.0

package messagingprom

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// stat is one number of the statistics S.
type stat[S any] struct {
	name, help string
	gauge      bool // it goes down as well
	value      func(S) float64
}

// watched is what is asked for its statistics at each scrape, under a name.
type watched[S any] struct {
	name string
	ask  func() S
}

// watch exports the statistics of what is watched. What has the same name is added up: two of
// one name would fail the scrape.
type watch[S any] struct {
	stats []stat[S]
	descs []*prometheus.Desc // of stats

	mu   sync.Mutex // guards list
	list []*watched[S]
}

// newWatch returns a watch of a kind of thing, which names the metrics and their label.
func newWatch[S any](kind string, stats []stat[S], o Options) *watch[S] {
	w := &watch[S]{stats: stats}
	for _, s := range stats {
		w.descs = append(w.descs, prometheus.NewDesc(
			prometheus.BuildFQName("parley", kind, s.name), s.help, []string{kind}, o.ConstLabels))
	}
	return w
}

// add watches until stop is called.
func (w *watch[S]) add(name string, ask func() S) (stop func()) {
	added := &watched[S]{clean(name), ask}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, added)
	return func() { w.remove(added) }
}

func (w *watch[S]) remove(added *watched[S]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(other *watched[S]) bool { return other == added })
}

// sums returns the values of all stats, by name.
func (w *watch[S]) sums() map[string][]float64 {
	w.mu.Lock()
	list := slices.Clone(w.list)
	w.mu.Unlock()
	sums := make(map[string][]float64, len(list))
	for _, each := range list {
		if sums[each.name] == nil {
			sums[each.name] = make([]float64, len(w.stats))
		}
		now := each.ask()
		for i, s := range w.stats {
			sums[each.name][i] += s.value(now)
		}
	}
	return sums
}

// Describe implements prometheus.Collector.
func (w *watch[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range w.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watch[S]) Collect(ch chan<- prometheus.Metric) {
	for name, values := range w.sums() {
		for i, s := range w.stats {
			kind := prometheus.CounterValue
			if s.gauge {
				kind = prometheus.GaugeValue
			}
			ch <- prometheus.MustNewConstMetric(w.descs[i], kind, values[i], name)
		}
	}
}
