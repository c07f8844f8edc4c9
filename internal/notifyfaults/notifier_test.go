// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The ways of notifying.
const (
	// wayNotify waits for each notification, and repeats it for as long as there is time.
	wayNotify = "notify"
	// wayForget does not wait.
	wayForget = "forget"
	// wayOnce does not wait, and repeats nothing.
	wayOnce = "once"
)

// notifierSettings are those of an application that notifies.
type notifierSettings struct {
	Way     string
	Senders int           // goroutines, each a publisher of its own
	First   int           // number of each one's first notification
	Pace    time.Duration // between two of a sender
	Spool   string        // directory, if there is one
}

// numbered is the payload.
type numbered struct {
	N int `json:"n"`
}

// notifying is an application that notifies as often as it is told to.
type notifying struct {
	*application
	notifier *messaging.Notifier
	senders  sync.WaitGroup
	begun    atomic.Int64
	done     atomic.Int64
	broken   atomic.Bool
}

func (a *application) notify() error {
	v := &notifying{application: a}
	opts := &messaging.NotifierOptions{Topics: []string{topic}, Timeout: notifyTimeout, OnResult: v.onResult}
	if a.Notifies.Way == wayOnce {
		opts.Retry = new(int)
	}
	if a.Notifies.Spool != "" {
		var err error
		if opts.Spool, err = messaging.OpenSpool(a.Transport, &messaging.SpoolOptions{Dir: a.Notifies.Spool}); err != nil {
			return err
		}
	}
	v.notifier = messaging.NewNotifier(a.Transport, opts)
	ctx, cancel := context.WithCancel(context.Background())
	orders := make([]chan int, a.Notifies.Senders)
	for i := range orders {
		orders[i] = make(chan int, 1<<10)
		v.senders.Go(func() { v.send(ctx, i, orders[i]) })
	}
	return a.Orders.Obey(map[string]testbed.Command{
		"send": testbed.Take(func(n int) (any, error) {
			for _, order := range orders {
				order <- n
			}
			return nil, nil
		}),
		"progress": testbed.Say(func() (progress, error) { return progress{Begun: v.begun.Load(), Done: v.done.Load()}, nil }),
		"waiting":  testbed.Say(func() (int, error) { return opts.Spool.Stats().Waiting, nil }),
		"stop": testbed.Say(func() (string, error) {
			for _, order := range orders {
				close(order)
			}
			v.senders.Wait()
			cancel()
			stats := fmt.Sprintf("%+v", a.Transport.Stats())
			if opts.Spool == nil {
				return stats, a.Close()
			}
			stats += fmt.Sprintf(" %+v", opts.Spool.Stats())
			return stats, errors.Join(closeSpool(opts.Spool), a.Close())
		}),
	})
}

// progress is how many notifications an application began to send, and how many of them came to an
// end.
type progress struct{ Begun, Done int64 }

func closeSpool(s *messaging.Spool) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return s.Close(ctx)
}

// send is one publisher.
func (v *notifying) send(ctx context.Context, sender int, orders <-chan int) {
	n := number{fmt.Sprintf("%s.%d", v.Name, sender), v.Notifies.First}
	notifier := v.notifier.With(messaging.PublisherID(n.publisher))
	for count := range orders {
		for range count {
			n.n++
			v.entries.write(entry{kind: entrySent, at: now(), number: n})
			v.begun.Add(1)
			if v.Notifies.Way == wayNotify {
				v.result(n, notifier.Info(ctx, eventType, numbered{n.n}))
			} else {
				notifier.NotifyAndForget(ctx, messaging.PriorityInfo, eventType, numbered{n.n})
			}
			testbed.Pause(context.Background(), v.Notifies.Pace)
		}
	}
}

// onResult is told of those that nobody waited for.
func (v *notifying) onResult(n *messaging.Notification, err error) {
	var payload numbered
	if wrong := json.Unmarshal(n.Payload, &payload); wrong != nil {
		fmt.Fprintln(os.Stderr, "OnResult:", wrong, err)
		os.Exit(1)
	}
	v.result(number{n.PublisherID, payload.N}, err)
}

// result notes what became of a notification.
func (v *notifying) result(n number, err error) {
	e := entry{kind: entryAccepted, at: now(), number: n}
	if v.Sabotage == sabotageFail && v.broken.CompareAndSwap(false, true) {
		err = messaging.ErrUnavailable
	}
	if err != nil {
		e.kind, e.text = entryFailed, codeOf(err)+" "+err.Error()
	}
	v.entries.write(e)
	v.done.Add(1)
}

// codeOf is the code of an error, or none.
func codeOf(err error) string {
	if code := messaging.CodeOf(err); code != "" {
		return string(code)
	}
	return "none"
}
