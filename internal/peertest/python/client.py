# SPDX-License-Identifier: Apache-2.0
"""An oslo.messaging RPC client that tests drive.

usage: client.py URL [OPTIONS]

OPTIONS is a JSON object: allowed_remote_exmods, conf {group: {option: value}}.

It prints one JSON line when it is ready. After that it takes one JSON command
per line, works on them concurrently, and prints one line for each, with the
command's id. It ends when its standard input does.

{"id", "op": "call" | "cast" | "fanout", "topic", "server", "exchange",
 "namespace", "version", "version_cap", "timeout", "monitor", "retry",
 "at_least_once", "ctxt", "method", "args", "args_json"}
  -> {"id", "ok": true, "result", "elapsed"}
   | {"id", "ok": false, "class", "module", "message", "exc_type", "value",
      "traceback", "args", "kwargs", "elapsed"}

"args_json" is the text of args for what JSON proper cannot say, such as NaN.

{"id", "op": "bench", as above, "size", "concurrency", "seconds" | "calls", "warmup", "cast"}
  -> result {"calls", "errors", "elapsed", "p50", "p99", "max", "cpu"}, times in seconds

{"id", "op": "usage"} -> result {"cpu", "max_rss_kb", "time"}
{"id", "op": "cleanup"}  closes the transport
"""

import concurrent.futures
import json
import sys
import threading
import time
import traceback

import oslo_messaging

import peerlib


def make_client(transport, c):
    target = oslo_messaging.Target(
        topic=c.get('topic'),
        exchange=c.get('exchange') or None,
        server=c.get('server') or None,
        namespace=c.get('namespace') or None,
        version=c.get('version') or None,
        fanout=True if c['op'] == 'fanout' else None)
    options = {'version_cap': c.get('version_cap') or None}
    for ours, theirs in (('timeout', 'timeout'),
                         ('monitor', 'call_monitor_timeout'),
                         ('retry', 'retry')):
        if c.get(ours) is not None:
            options[theirs] = c[ours]
    if c.get('at_least_once'):
        options['transport_options'] = oslo_messaging.TransportOptions(at_least_once=True)
    return peerlib.rpc_client(transport, target, **options)


def send(transport, c):
    client = make_client(transport, c)
    ctxt, method, args = c.get('ctxt') or {}, c['method'], c.get('args') or {}
    if c.get('args_json'):
        args = json.loads(c['args_json'])
    if c['op'] == 'call':
        return client.call(ctxt, method, **args)
    return client.cast(ctxt, method, **args)


def bench(transport, c):
    """Let several callers work for a time, or until a number of calls is made."""
    client = make_client(transport, c)
    ctxt, method = c.get('ctxt') or {}, c.get('method') or 'value'
    args = c.get('args') or {'v': 'x' * (c.get('size') or 0)}
    act = client.cast if c.get('cast') else client.call
    workers = c.get('concurrency') or 1

    for _ in range(c.get('warmup') or 0):
        act(ctxt, method, **args)

    budget = c.get('calls') or sys.maxsize
    lock = threading.Lock()
    latencies = []
    errors = []
    taken = 0
    start = time.perf_counter()
    deadline = start + (c.get('seconds') or float('inf'))

    def worker():
        nonlocal taken
        mine = []
        while time.perf_counter() < deadline:
            with lock:
                if taken >= budget:
                    break
                taken += 1
            before = time.perf_counter()
            try:
                act(ctxt, method, **args)
            except Exception as e:
                with lock:
                    errors.append(repr(e))
                continue
            mine.append(time.perf_counter() - before)
        with lock:
            latencies.extend(mine)

    cpu = time.process_time()
    threads = [threading.Thread(target=worker) for _ in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    elapsed = time.perf_counter() - start
    cpu = time.process_time() - cpu
    latencies.sort()

    def quantile(q):
        return latencies[min(len(latencies) - 1, int(q * len(latencies)))] if latencies else 0.0

    return {
        'calls': len(latencies),
        'errors': len(errors),
        'first_error': errors[0] if errors else '',
        'elapsed': elapsed,
        'p50': quantile(0.50),
        'p99': quantile(0.99),
        'max': quantile(1.0),
        'cpu': cpu,
    }


def answer(transport, c):
    started = time.monotonic()
    reply = {'id': c.get('id')}
    try:
        op = c['op']
        if op in ('call', 'cast', 'fanout'):
            result = send(transport, c)
        elif op == 'bench':
            result = bench(transport, c)
        elif op == 'usage':
            result = peerlib.usage()
        elif op == 'cleanup':
            result = transport.cleanup()
        else:
            raise ValueError('no such op: %r' % op)
        reply.update(ok=True, result=result)
    except Exception as e:
        reply.update(ok=False, module=type(e).__module__, message=str(e),
                     exc_type=getattr(e, 'exc_type', None),
                     value=getattr(e, 'value', None),
                     traceback=getattr(e, 'traceback', None),
                     args=e.args,
                     kwargs=getattr(e, 'kwargs', None))
        reply['class'] = type(e).__name__
    reply['elapsed'] = time.monotonic() - started
    peerlib.say(reply)


def main(url, options='{}'):
    options = json.loads(options)
    transport = peerlib.transport(url, options)
    peerlib.ready()
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=options.get('workers') or 64)
    for c in peerlib.commands():
        pool.submit(answer, transport, c)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        peerlib.leave(1)
    peerlib.leave()
