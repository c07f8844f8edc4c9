# SPDX-License-Identifier: Apache-2.0
"""An oslo.messaging notifier that tests drive.

usage: notifier.py URL [OPTIONS]

OPTIONS is a JSON object: conf {group: {option: value}}.

It prints one JSON line when it is ready. After that it takes one JSON command
per line, works on them in order, and prints one line for each, with the
command's id. It ends when its standard input does.

{"id", "op": "notify", "driver", "publisher_id", "topics", "level",
 "event_type", "payload", "payload_json", "ctxt", "redacts", "numbered"}
  -> {"id", "ok": true} | {"id", "ok": false, "class", "module", "message"}

"payload_json" is the text of the payload for what JSON proper cannot say. With
"redacts" the context is an object that knows what of it may be published, and
not a dictionary. "numbered" sends so many, whose payloads are their numbers.

{"id", "op": "usage"} -> result {"cpu", "max_rss_kb", "time"}
"""

import json
import logging
import sys
import traceback

import oslo_messaging

import peerlib


class Context:
    """A request context as oslo.context has it."""

    secrets = ('auth_token',)

    def __init__(self, values):
        self._values = values

    def to_dict(self):
        return dict(self._values)

    @classmethod
    def from_dict(cls, values):
        return cls(values)

    def redacted_copy(self):
        return Context({k: v for k, v in self._values.items()
                        if k not in self.secrets})


class Failures(logging.Handler):
    """What notifiers log in place of raising it."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.texts = []

    def emit(self, record):
        text = record.getMessage()
        if record.exc_info:
            text += ': %r' % (record.exc_info[1],)
        self.texts.append(text)


class Notifiers:
    """Notifiers by what they are made of; they are expensive to make."""

    def __init__(self, transport):
        self._transport = transport
        self._all = {}

    def get(self, driver, topics):
        key = (driver, tuple(topics))
        if key not in self._all:
            self._all[key] = oslo_messaging.Notifier(
                self._transport, driver=driver, topics=list(topics))
        return self._all[key]


def notify(notifiers, failures, c):
    notifier = notifiers.get(
        c.get('driver') or 'messagingv2', c.get('topics') or ['notifications'])
    notifier = notifier.prepare(publisher_id=c.get('publisher_id'))
    ctxt = c.get('ctxt') or {}
    if c.get('redacts'):
        ctxt = Context(ctxt)
    payload = c.get('payload')
    if c.get('payload_json'):
        payload = json.loads(c['payload_json'])
    act = getattr(notifier, c.get('level') or 'info')
    payloads = range(c['numbered']) if c.get('numbered') else [payload]
    failures.texts.clear()
    for payload in payloads:
        act(ctxt, c.get('event_type') or 'test', payload)
    if failures.texts:
        raise RuntimeError(failures.texts[0])


def main(url, options='{}'):
    notifiers = Notifiers(
        peerlib.notification_transport(url, json.loads(options)))
    failures = Failures()
    logging.getLogger('oslo_messaging.notify').addHandler(failures)
    peerlib.ready()
    for c in peerlib.commands():
        answer = {'id': c.get('id'), 'ok': True}
        try:
            if c['op'] == 'notify':
                notify(notifiers, failures, c)
            elif c['op'] == 'usage':
                answer['result'] = peerlib.usage()
            else:
                raise ValueError('no such op: %r' % c['op'])
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
