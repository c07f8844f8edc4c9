# SPDX-License-Identifier: Apache-2.0
"""The comparison's workers in Python: an echo by pyzmq, DEALER to ROUTER over tcp.

They speak the JSON lines of protocol.go, and the frames of zmqraw.go: an empty
one, an id of eight bytes whose first says what is wanted, and the body.
"""

import json
import os
import struct
import sys
import threading
import time

import zmq

CALL, CAST, COUNT = 0, 1, 2
TIMEOUT_MS = 60_000


def say(message):
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


def end_with_input():
    """The parent closes our standard input when it wants us gone."""
    for _ in sys.stdin:
        pass
    os._exit(0)


def serve(context):
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port('tcp://127.0.0.1')
    threading.Thread(target=end_with_input, daemon=True).start()
    say({'ready': True, 'address': 'tcp://127.0.0.1:%d' % port})
    noted = 0
    receive, send = router.recv_multipart, router.send_multipart
    while True:
        frames = receive()
        what = frames[2][0]
        if what == CAST:
            noted += 1
            continue
        if what == COUNT:
            frames[3] = struct.pack('>Q', noted)
        send(frames)


class Client:
    def __init__(self, context, setup):
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        self.socket.setsockopt(zmq.SNDTIMEO, TIMEOUT_MS)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(setup['url'])
        alphabet = b'abcdefghijklmnopqrstuvwxyz'
        self.body = (alphabet * (setup['size'] // 26 + 1))[:setup['size']]

    def run(self, load):
        if load.get('cast'):
            return self.casts(load['seconds'])
        return self.calls(load['in_flight'], load['seconds'])

    def calls(self, in_flight, seconds):
        """Keep the calls on their way: the answer of one sends the next."""
        clock, body = time.perf_counter, self.body
        receive, send = self.socket.recv_multipart, self.socket.send_multipart
        latencies = []
        begin = clock()
        end = begin + seconds
        started = [0.0] * in_flight
        requests = [(b'', struct.pack('>BxxxI', CALL, slot), body) for slot in range(in_flight)]
        for slot, request in enumerate(requests):
            started[slot] = clock()
            send(request)
        waiting = in_flight
        while waiting:
            _, number, answer = receive()
            if answer != body:
                raise ValueError('the payload did not come back')
            slot = int.from_bytes(number[4:], 'big')
            now = clock()
            latencies.append(now - started[slot])
            if now > end:
                waiting -= 1
                continue
            started[slot] = now
            send(requests[slot])
        return summary(latencies, clock() - begin)

    def casts(self, seconds):
        clock, send = time.perf_counter, self.socket.send_multipart
        request = (b'', struct.pack('>BxxxI', CAST, 0), self.body)
        latencies = []
        begin = start = clock()
        before = self.count()
        end = begin + seconds
        while start < end:
            start = clock()
            send(request)
            latencies.append(clock() - start)
        after = self.count()  # one connection keeps the order
        result = summary(latencies, clock() - begin)
        result['calls'] = after - before
        result['errors'] = len(latencies) - (after - before)
        return result

    def count(self):
        self.socket.send_multipart((b'', struct.pack('>BxxxI', COUNT, 0), b''))
        return struct.unpack('>Q', self.socket.recv_multipart()[2])[0]


def summary(latencies, seconds):
    latencies.sort()

    def micros(quantile):
        return latencies[int(quantile * (len(latencies) - 1))] * 1e6

    return {'calls': len(latencies), 'errors': 0, 'seconds': seconds,
            'p50_us': micros(0.50), 'p99_us': micros(0.99)}


def main():
    setup = json.loads(sys.stdin.readline())
    context = zmq.Context()
    if setup['role'] == 'pyzmq-server':
        serve(context)
    client = Client(context, setup)
    say({'ready': True})
    for line in iter(sys.stdin.readline, ''):
        say(client.run(json.loads(line)))
    context.destroy(linger=0)


main()
