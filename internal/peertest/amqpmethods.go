// SPDX-License-Identifier: Apache-2.0

package peertest

// amqpMethod names a method of AMQP 0-9-1 and its arguments in order.
type amqpMethod struct {
	name   string
	fields []amqpField
}

// amqpField is one argument: its name and its type in the grammar below.
type amqpField struct {
	name string
	kind byte
}

// The kinds of arguments.
const (
	kindOctet    = 'o'
	kindShort    = 's'
	kindLong     = 'l'
	kindLonglong = 'L'
	kindBit      = 'b'
	kindShortstr = 't'
	kindLongstr  = 'S'
	kindTable    = 'F'
)

// lookupMethod returns the method with a class and a method id, as the XML file
// of the AMQP 0-9-1 specification and RabbitMQ's extensions number them.
func lookupMethod(class, method uint16) (amqpMethod, bool) {
	m := func(name string, fields ...amqpField) (amqpMethod, bool) {
		return amqpMethod{name, fields}, true
	}
	f := func(name string, kind byte) amqpField { return amqpField{name, kind} }

	switch uint32(class)<<16 | uint32(method) {
	case 10<<16 | 10:
		return m("connection.start", f("version_major", kindOctet), f("version_minor", kindOctet),
			f("server_properties", kindTable), f("mechanisms", kindLongstr), f("locales", kindLongstr))
	case 10<<16 | 11:
		return m("connection.start-ok", f("client_properties", kindTable), f("mechanism", kindShortstr),
			f("response", kindLongstr), f("locale", kindShortstr))
	case 10<<16 | 20:
		return m("connection.secure", f("challenge", kindLongstr))
	case 10<<16 | 21:
		return m("connection.secure-ok", f("response", kindLongstr))
	case 10<<16 | 30:
		return m("connection.tune", f("channel_max", kindShort), f("frame_max", kindLong), f("heartbeat", kindShort))
	case 10<<16 | 31:
		return m("connection.tune-ok", f("channel_max", kindShort), f("frame_max", kindLong), f("heartbeat", kindShort))
	case 10<<16 | 40:
		return m("connection.open", f("virtual_host", kindShortstr), f("reserved_1", kindShortstr), f("reserved_2", kindBit))
	case 10<<16 | 41:
		return m("connection.open-ok", f("reserved_1", kindShortstr))
	case 10<<16 | 50:
		return m("connection.close", f("reply_code", kindShort), f("reply_text", kindShortstr), f("class_id", kindShort), f("method_id", kindShort))
	case 10<<16 | 51:
		return m("connection.close-ok")
	case 10<<16 | 60:
		return m("connection.blocked", f("reason", kindShortstr))
	case 10<<16 | 61:
		return m("connection.unblocked")

	case 20<<16 | 10:
		return m("channel.open", f("reserved_1", kindShortstr))
	case 20<<16 | 11:
		return m("channel.open-ok", f("reserved_1", kindLongstr))
	case 20<<16 | 20:
		return m("channel.flow", f("active", kindBit))
	case 20<<16 | 21:
		return m("channel.flow-ok", f("active", kindBit))
	case 20<<16 | 40:
		return m("channel.close", f("reply_code", kindShort), f("reply_text", kindShortstr), f("class_id", kindShort), f("method_id", kindShort))
	case 20<<16 | 41:
		return m("channel.close-ok")

	case 40<<16 | 10:
		return m("exchange.declare", f("reserved_1", kindShort), f("exchange", kindShortstr), f("type", kindShortstr),
			f("passive", kindBit), f("durable", kindBit), f("auto_delete", kindBit), f("internal", kindBit), f("no_wait", kindBit),
			f("arguments", kindTable))
	case 40<<16 | 11:
		return m("exchange.declare-ok")
	case 40<<16 | 20:
		return m("exchange.delete", f("reserved_1", kindShort), f("exchange", kindShortstr), f("if_unused", kindBit), f("no_wait", kindBit))
	case 40<<16 | 21:
		return m("exchange.delete-ok")
	case 40<<16 | 30:
		return m("exchange.bind", f("reserved_1", kindShort), f("destination", kindShortstr), f("source", kindShortstr),
			f("routing_key", kindShortstr), f("no_wait", kindBit), f("arguments", kindTable))
	case 40<<16 | 31:
		return m("exchange.bind-ok")
	case 40<<16 | 40:
		return m("exchange.unbind", f("reserved_1", kindShort), f("destination", kindShortstr), f("source", kindShortstr),
			f("routing_key", kindShortstr), f("no_wait", kindBit), f("arguments", kindTable))
	case 40<<16 | 51:
		return m("exchange.unbind-ok")

	case 50<<16 | 10:
		return m("queue.declare", f("reserved_1", kindShort), f("queue", kindShortstr),
			f("passive", kindBit), f("durable", kindBit), f("exclusive", kindBit), f("auto_delete", kindBit), f("no_wait", kindBit),
			f("arguments", kindTable))
	case 50<<16 | 11:
		return m("queue.declare-ok", f("queue", kindShortstr), f("message_count", kindLong), f("consumer_count", kindLong))
	case 50<<16 | 20:
		return m("queue.bind", f("reserved_1", kindShort), f("queue", kindShortstr), f("exchange", kindShortstr),
			f("routing_key", kindShortstr), f("no_wait", kindBit), f("arguments", kindTable))
	case 50<<16 | 21:
		return m("queue.bind-ok")
	case 50<<16 | 30:
		return m("queue.purge", f("reserved_1", kindShort), f("queue", kindShortstr), f("no_wait", kindBit))
	case 50<<16 | 31:
		return m("queue.purge-ok", f("message_count", kindLong))
	case 50<<16 | 40:
		return m("queue.delete", f("reserved_1", kindShort), f("queue", kindShortstr), f("if_unused", kindBit), f("if_empty", kindBit), f("no_wait", kindBit))
	case 50<<16 | 41:
		return m("queue.delete-ok", f("message_count", kindLong))
	case 50<<16 | 50:
		return m("queue.unbind", f("reserved_1", kindShort), f("queue", kindShortstr), f("exchange", kindShortstr),
			f("routing_key", kindShortstr), f("arguments", kindTable))
	case 50<<16 | 51:
		return m("queue.unbind-ok")

	case 60<<16 | 10:
		return m("basic.qos", f("prefetch_size", kindLong), f("prefetch_count", kindShort), f("global", kindBit))
	case 60<<16 | 11:
		return m("basic.qos-ok")
	case 60<<16 | 20:
		return m("basic.consume", f("reserved_1", kindShort), f("queue", kindShortstr), f("consumer_tag", kindShortstr),
			f("no_local", kindBit), f("no_ack", kindBit), f("exclusive", kindBit), f("no_wait", kindBit), f("arguments", kindTable))
	case 60<<16 | 21:
		return m("basic.consume-ok", f("consumer_tag", kindShortstr))
	case 60<<16 | 30:
		return m("basic.cancel", f("consumer_tag", kindShortstr), f("no_wait", kindBit))
	case 60<<16 | 31:
		return m("basic.cancel-ok", f("consumer_tag", kindShortstr))
	case 60<<16 | 40:
		return m("basic.publish", f("reserved_1", kindShort), f("exchange", kindShortstr), f("routing_key", kindShortstr),
			f("mandatory", kindBit), f("immediate", kindBit))
	case 60<<16 | 50:
		return m("basic.return", f("reply_code", kindShort), f("reply_text", kindShortstr), f("exchange", kindShortstr), f("routing_key", kindShortstr))
	case 60<<16 | 60:
		return m("basic.deliver", f("consumer_tag", kindShortstr), f("delivery_tag", kindLonglong), f("redelivered", kindBit),
			f("exchange", kindShortstr), f("routing_key", kindShortstr))
	case 60<<16 | 70:
		return m("basic.get", f("reserved_1", kindShort), f("queue", kindShortstr), f("no_ack", kindBit))
	case 60<<16 | 71:
		return m("basic.get-ok", f("delivery_tag", kindLonglong), f("redelivered", kindBit), f("exchange", kindShortstr),
			f("routing_key", kindShortstr), f("message_count", kindLong))
	case 60<<16 | 72:
		return m("basic.get-empty", f("reserved_1", kindShortstr))
	case 60<<16 | 80:
		return m("basic.ack", f("delivery_tag", kindLonglong), f("multiple", kindBit))
	case 60<<16 | 90:
		return m("basic.reject", f("delivery_tag", kindLonglong), f("requeue", kindBit))
	case 60<<16 | 100:
		return m("basic.recover-async", f("requeue", kindBit))
	case 60<<16 | 110:
		return m("basic.recover", f("requeue", kindBit))
	case 60<<16 | 111:
		return m("basic.recover-ok")
	case 60<<16 | 120:
		return m("basic.nack", f("delivery_tag", kindLonglong), f("multiple", kindBit), f("requeue", kindBit))

	case 85<<16 | 10:
		return m("confirm.select", f("no_wait", kindBit))
	case 85<<16 | 11:
		return m("confirm.select-ok")
	}
	return amqpMethod{}, false
}

// messageProperties are the properties of a message, in the order of their flag
// bits from the highest.
func messageProperties() []amqpField {
	return []amqpField{
		{"content_type", kindShortstr}, {"content_encoding", kindShortstr}, {"headers", kindTable},
		{"delivery_mode", kindOctet}, {"priority", kindOctet}, {"correlation_id", kindShortstr},
		{"reply_to", kindShortstr}, {"expiration", kindShortstr}, {"message_id", kindShortstr},
		{"timestamp", kindLonglong}, {"type", kindShortstr}, {"user_id", kindShortstr},
		{"app_id", kindShortstr}, {"cluster_id", kindShortstr},
	}
}
