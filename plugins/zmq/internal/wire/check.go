// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"unicode/utf8"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// Check returns why the receiver would refuse p, or would deliver it without its headers, as a
// *driver.Error; nil when it will take it. Append does not look.
func (p *Packet) Check() error {
	if p.Type == 0 || p.Type > Goodbye {
		return driver.Errorf(driver.ReasonDriverBug, "a packet of type %d cannot be sent", p.Type)
	}
	if p.Type.message() {
		return p.checkMessage()
	}
	if err := p.checkSettlements(); err != nil {
		return err
	}
	if err := checkTarget(&p.Target); err != nil {
		return err
	}
	if p.Type == Hello || p.Type == Welcome {
		return p.checkRecord()
	}
	return nil
}

func (p *Packet) checkMessage() error {
	if p.Seq == 0 {
		return driver.Errorf(driver.ReasonDriverBug, "a message without a sequence number cannot be sent")
	}
	for key := uint64(keyPool); key <= keyUniqueID; key++ {
		if text := p.text(key); text != nil {
			if err := checkText(*text); err != nil {
				return err
			}
		}
	}
	return driver.CheckHeaders(p.Message.Headers)
}

func checkText(s string) error {
	if len(s) > MaxText {
		return driver.Errorf(driver.ReasonMessageTooLarge, "a name or id of the message has %d bytes and the limit is %d", len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return driver.Errorf(driver.ReasonUnsupported, "a name or id of the message is not valid UTF-8")
	}
	return nil
}

func (p *Packet) checkSettlements() error {
	if n := max(len(p.Acked), len(p.Done), len(p.Nacks)); n > MaxRanges {
		return driver.Errorf(driver.ReasonMessageTooLarge, "a list of %d settlements, the limit is %d", n, MaxRanges)
	}
	for _, list := range [][]Range{p.Acked, p.Done} {
		for _, r := range list {
			if r.From > r.To {
				return driver.Errorf(driver.ReasonDriverBug, "a range of sequence numbers from %d to %d", r.From, r.To)
			}
		}
	}
	return nil
}

func checkTarget(t *registry.Target) error {
	for _, s := range []string{t.Exchange, t.Topic, t.Server, t.Reply, t.Priority, t.Pool} {
		if err := checkText(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *Packet) checkRecord() error {
	if p.Record == nil {
		if p.Type == Welcome {
			return nil
		}
		return driver.Errorf(driver.ReasonDriverBug, "a hello without a record cannot be sent")
	}
	if _, err := parseRecord(recordText(p.Record)); err != nil {
		return driver.Errorf(driver.ReasonMessageTooLarge, "the record of node %.40q, which says what it listens to: %w", p.Record.Node, err).
			WithHint("listen to fewer topics in one process")
	}
	return nil
}
