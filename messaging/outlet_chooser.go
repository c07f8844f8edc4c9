// SPDX-License-Identifier: Apache-2.0

package messaging

import "context"

// OutletChooser is an [Outlet] that stands for others, as a router does. A notifier asks it which
// ones a notification is for and gives it to those itself, so that NotifyAndForget does not wait
// for a broker behind it. Its Notify is for whoever calls it as an outlet.
//
// Choose returns the outlets, none for a notification that goes nowhere. It must not change n or
// keep it, must not block, and may be called by many goroutines at once. What it returns is not
// asked again.
type OutletChooser interface {
	Outlet
	Choose(ctx context.Context, n *Notification) []Outlet
}

// outletsOf are the outlets that n is for.
func (s *notifierSettings) outletsOf(ctx context.Context, n *Notification) []Outlet {
	var all []Outlet
	for i, o := range s.outlets {
		c, ok := o.(OutletChooser)
		switch {
		case ok && all == nil:
			all = append(append(make([]Outlet, 0, len(s.outlets)), s.outlets[:i]...), c.Choose(ctx, n)...)
		case ok:
			all = append(all, c.Choose(ctx, n)...)
		case all != nil:
			all = append(all, o)
		}
	}
	if all == nil {
		return s.outlets
	}
	return all
}

// outletEnabled reports whether an outlet brings anything anywhere. One that can tell is asked.
func outletEnabled(o Outlet) bool {
	if e, ok := o.(interface{ Enabled() bool }); ok {
		return e.Enabled()
	}
	return o != NoopOutlet()
}
