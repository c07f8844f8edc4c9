// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
)

// Server is the Source of a server of the topic that [Cast] and [Call] are for.
func Server(name string, settle driver.Settle) driver.Source {
	to := target()
	to.Server = name
	return driver.Source{Kind: driver.SourceServer, Settle: settle, Target: to}
}

// Replies is the Source of the replies to a name.
func Replies(name string) driver.Source {
	return driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: name}
}

// Cast is a cast with a number in it.
func Cast(n int) *driver.Message {
	return &driver.Message{
		Kind: driver.Cast, Target: target(), UniqueID: uuid.NewString(),
		Body: fmt.Appendf(nil, `{"method": "m", "args": {"n": %d}}`, n),
	}
}

// Call is a call whose reply goes to a name.
func Call(replyTo string) *driver.Message {
	m := Cast(0)
	m.Kind, m.ReplyTo, m.CallID, m.TimeLeft = driver.Call, replyTo, uuid.NewString(), time.Minute
	return m
}

func target() driver.Target { return driver.Target{Exchange: "openstack", Topic: "v"} }
