# SPDX-License-Identifier: Apache-2.0
"""The comparison's notifier in Python: oslo.messaging's, with as many threads as are asked for.

It speaks the JSON lines of protocol.go.
"""

import json
import logging
import sys
import threading
import time
import warnings

warnings.simplefilter('ignore')

from oslo_config import cfg  # noqa: E402
import oslo_messaging  # noqa: E402

TOPIC = 'bench_events'


def say(message):
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


class Worker:
    def __init__(self, setup):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        # The pool has a connection for every thread.
        url = setup['url'] + '?rpc_conn_pool_size=200'
        if setup.get('durable'):
            url += '&amqp_durable_queues=true'
        transport = oslo_messaging.get_notification_transport(conf, url=url)
        self.notifier = oslo_messaging.Notifier(
            transport, publisher_id='bench.host1', driver='messagingv2', topics=[TOPIC])
        alphabet = 'abcdefghijklmnopqrstuvwxyz'
        self.payload = {'payload': (alphabet * (setup['size'] // 26 + 1))[:setup['size']]}

    def run(self, load):
        threads = max(1, load['in_flight'])
        results = [None] * threads
        begin = time.perf_counter()
        end = begin + load['seconds']

        def notify(i):
            clock, info, payload = time.perf_counter, self.notifier.info, self.payload
            latencies = []
            while True:
                start = clock()
                if start > end:
                    break
                info({}, 'bench.event', payload)
                latencies.append(clock() - start)
            results[i] = latencies

        all_threads = [threading.Thread(target=notify, args=(i,)) for i in range(threads)]
        for t in all_threads:
            t.start()
        for t in all_threads:
            t.join()
        seconds = time.perf_counter() - begin
        latencies = sorted(x for own in results for x in own or ())

        def micros(quantile):
            return latencies[int(quantile * (len(latencies) - 1))] * 1e6

        return {'calls': len(latencies), 'errors': results.count(None), 'seconds': seconds,
                'p50_us': micros(0.50), 'p99_us': micros(0.99)}


def main():
    # Upstream's notifier logs and swallows what it could not send.
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    worker = Worker(json.loads(sys.stdin.readline()))
    say({'ready': True})
    for line in iter(sys.stdin.readline, ''):
        say(worker.run(json.loads(line)))


main()
