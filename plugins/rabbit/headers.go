// SPDX-License-Identifier: Apache-2.0

package main

import (
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// isReserved reports whether a header means something to the wire: kombu decompresses the body by
// "compression", and RabbitMQ routes by the other two, or closes the channel over a text there.
func isReserved(name string) bool {
	return name == headerCompression || name == "CC" || name == "BCC"
}

const headerCompression = "compression"

func (o *outgoing) setHeaders(headers map[string]string) error {
	if len(headers) == 0 {
		return nil
	}
	if err := driver.CheckHeaders(headers); err != nil {
		return err
	}
	o.headers = make(amqp.Table, len(headers))
	for k, v := range headers {
		switch {
		case len(k) > maxShortString:
			return driver.Errorf(driver.ReasonConfig, "the name of a header is longer than AMQP's %d bytes", maxShortString)
		case isReserved(k):
			return driver.Errorf(driver.ReasonConfig, "the header %q has a meaning to AMQP and cannot be sent", k)
		}
		o.headers[k] = v
	}
	return nil
}

// textHeaders returns the headers that are text, which are those that a Message can have. A
// message with more of them than one may have is taken without: whoever sent so much meant
// something else.
func textHeaders(table amqp.Table) map[string]string {
	var out map[string]string
	size := 0
	for k, v := range table {
		s, ok := v.(string)
		if !ok || isReserved(k) || !utf8.ValidString(k) || !utf8.ValidString(s) {
			continue
		}
		if size += len(k) + len(s); size > driver.MaxHeaderBytes || len(out) == driver.MaxHeaders {
			return nil
		}
		if out == nil {
			out = make(map[string]string, min(len(table), driver.MaxHeaders))
		}
		out[k] = s
	}
	return out
}
