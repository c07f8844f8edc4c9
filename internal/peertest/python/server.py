# SPDX-License-Identifier: Apache-2.0
"""An oslo.messaging RPC server that tests start.

usage: server.py URL TOPIC SERVER [OPTIONS]

OPTIONS is a JSON object: exchange, allowed_remote_exmods, conf {group: {option: value}}.

It prints one JSON line when it serves. After that it takes one JSON command per
line: {"op": "received" | "usage" | "start" | "stop"}, and prints one line for
each. It ends when its standard input does.
"""

import json
import sys
import threading
import time
import traceback

import oslo_messaging

import peererrors
import peerlib
import peerstrangers


class Recorder:
    def __init__(self):
        self._lock = threading.Lock()
        self._records = []

    def add(self, record):
        with self._lock:
            self._records.append(record)

    def all(self):
        with self._lock:
            return list(self._records)


class Common:
    """Methods that every endpoint has."""

    def __init__(self, server, recorder, transport):
        self._server = server
        self._recorder = recorder
        self._transport = transport

    def echo(self, ctxt, **kwargs):
        return kwargs

    def value(self, ctxt, v=None):
        return v

    def whoami(self, ctxt):
        return self._server

    def version(self, ctxt):
        target = getattr(self, 'target', None)
        if target is None:
            return '1.0'
        return '%s/%s' % (target.namespace or '', target.version)

    def record(self, ctxt, **kwargs):
        self._recorder.add({
            'server': self._server,
            'endpoint': self.version(ctxt),
            'ctxt': dict(ctxt),
            'args': kwargs,
        })


class Plain(Common):
    """Null namespace, version 1.0."""

    def ping(self, ctxt):
        return 'pong'

    def context(self, ctxt):
        return dict(ctxt)

    def sleep(self, ctxt, seconds):
        time.sleep(seconds)
        return seconds

    def received(self, ctxt):
        return self._recorder.all()

    def typeof(self, ctxt, v=None):
        return type(v).__name__

    def relay(self, ctxt, topic, server, to, args):
        """Pass a call on to another server, with what comes of it."""
        target = oslo_messaging.Target(topic=topic, server=server)
        return peerlib.rpc_client(self._transport, target).call(ctxt, to, **args)

    def fail(self, ctxt, kind='builtin', message='boom', **kwargs):
        if kind == 'builtin':
            raise ValueError(message)
        if kind == 'os':
            raise OSError(2, message)
        if kind == 'own':
            raise peererrors.PeerError(message, **kwargs)
        if kind == 'stranger':
            raise peerstrangers.StrangerError(message)
        if kind == 'expected':
            return self.fail_expected(ctxt, message)
        if kind == 'unserializable':
            return object()
        raise AssertionError('no failure of kind %r' % kind)

    @oslo_messaging.expected_exceptions(peererrors.ExpectedPeerError)
    def fail_expected(self, ctxt, message='boom'):
        raise peererrors.ExpectedPeerError(message)

    def _private(self, ctxt):
        return 'must not be reached'


class Second(Common):
    """Null namespace, version 2.3."""

    target = oslo_messaging.Target(version='2.3')


class Namespaced(Common):
    """Namespace ns1, version 1.5; the older namespace ns0 is accepted too."""

    target = oslo_messaging.Target(
        namespace='ns1', version='1.5', legacy_namespaces=['ns0'])


class Renamed(Common):
    """Namespace ns2, version 4.2, which had several names before, and none at first."""

    target = oslo_messaging.Target(
        namespace='ns2', version='4.2', legacy_namespaces=['ns3', 'ns4', None])


def main(url, topic, server, options='{}'):
    options = json.loads(options)
    transport = peerlib.transport(url, options)
    recorder = Recorder()
    target = oslo_messaging.Target(
        topic=topic, server=server, exchange=options.get('exchange') or None)
    rpc = oslo_messaging.get_rpc_server(
        transport, target,
        [kind(server, recorder, transport)
         for kind in (Plain, Second, Namespaced, Renamed)],
        executor='threading')
    rpc.start()
    peerlib.ready()
    for command in peerlib.commands():
        op = command['op']
        answer = {'id': command.get('id'), 'ok': True}
        try:
            if op == 'received':
                answer['result'] = recorder.all()
            elif op == 'usage':
                answer['result'] = peerlib.usage()
            elif op == 'start':
                rpc.start()
            elif op == 'stop':
                rpc.stop()
                rpc.wait()
            else:
                raise ValueError('no such op: %r' % op)
        except Exception as e:
            answer.update(ok=False, message=str(e))
            answer['class'] = type(e).__name__
            answer['module'] = type(e).__module__
        peerlib.say(answer)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        peerlib.leave(1)
    peerlib.leave()
