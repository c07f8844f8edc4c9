# SPDX-License-Identifier: Apache-2.0
"""An oslo.messaging notification listener that tests start.

usage: listener.py URL OPTIONS

OPTIONS is a JSON object: targets [{topic, exchange}], levels, pool,
allow_requeue, requeue, filter, batch {size, timeout}, conf
{group: {option: value}}.

The first "requeue" calls of its handlers ask for what they got to come again;
-1 is all of them. It prints one JSON line when it listens. After that it takes
one JSON command per line: {"op": "received", "event_type"} or
{"op": "usage" | "start" | "stop"}, and prints one line for each. It ends when
its standard input does.
"""

import json
import sys
import threading
import traceback

import oslo_messaging

import peerlib

LEVELS = ['audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample']


class Recorder:
    """What the handlers were given, in that order."""

    def __init__(self, requeue):
        self._lock = threading.Lock()
        self._records = []
        self._calls = 0
        self._requeue = requeue

    def add(self, level, messages):
        with self._lock:
            self._calls += 1
            again = self._requeue < 0 or self._calls <= self._requeue
            for m in messages:
                # JSON proper cannot say all that a payload may be.
                self._records.append({
                    'level': level, 'call': self._calls, 'requeued': again,
                    'ctxt': dict(m['ctxt']),
                    'publisher_id': m['publisher_id'],
                    'event_type': m['event_type'],
                    'payload': json.dumps(m['payload']),
                    'metadata': m['metadata']})
        if again:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED

    def all(self, event_type):
        with self._lock:
            return [r for r in self._records
                    if not event_type or r['event_type'] == event_type]


def endpoint(recorder, levels, batch, rule):
    """Make an endpoint with a method for each level."""
    def single(level):
        def method(self, ctxt, publisher_id, event_type, payload, metadata):
            return recorder.add(level, [dict(
                ctxt=ctxt, publisher_id=publisher_id, event_type=event_type,
                payload=payload, metadata=metadata)])
        return method

    def many(level):
        def method(self, messages):
            return recorder.add(level, messages)
        return method

    make = many if batch else single
    members = {level: make(level) for level in levels}
    if rule:
        members['filter_rule'] = oslo_messaging.NotificationFilter(**rule)
    return type('Endpoint', (), members)()


def listener(transport, recorder, options):
    targets = [oslo_messaging.Target(topic=t['topic'], exchange=t.get('exchange') or None)
               for t in options['targets']]
    batch = options.get('batch')
    endpoints = [endpoint(
        recorder, options.get('levels') or LEVELS, batch, options.get('filter'))]
    more = dict(executor='threading', pool=options.get('pool') or None,
                allow_requeue=bool(options.get('allow_requeue')))
    if not batch:
        return oslo_messaging.get_notification_listener(
            transport, targets, endpoints, **more)
    return oslo_messaging.get_batch_notification_listener(
        transport, targets, endpoints, batch_size=batch['size'],
        batch_timeout=batch['timeout'], **more)


def main(url, options):
    options = json.loads(options)
    recorder = Recorder(options.get('requeue') or 0)
    server = listener(
        peerlib.notification_transport(url, options), recorder, options)
    server.start()
    peerlib.ready()
    for c in peerlib.commands():
        answer = {'id': c.get('id'), 'ok': True}
        try:
            op = c['op']
            if op == 'received':
                answer['result'] = recorder.all(c.get('event_type'))
            elif op == 'usage':
                answer['result'] = peerlib.usage()
            elif op == 'start':
                server.start()
            elif op == 'stop':
                server.stop()
                server.wait()
            else:
                raise ValueError('no such op: %r' % op)
        except Exception as e:
            peerlib.failed(answer, e)
        peerlib.say(answer)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        peerlib.leave(1)
    peerlib.leave()
