# SPDX-License-Identifier: Apache-2.0
"""What the server and the client peer have in common."""

import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import threading
import time
import warnings

from oslo_config import cfg
import oslo_messaging

_print_lock = threading.Lock()

# The release with the amqp driver warns of that driver at every message, whatever
# the filters are.
warnings.showwarning = lambda *args, **kwargs: None


def say(message):
    """Write one JSON line for whoever started this process."""
    try:
        line = json.dumps(message, allow_nan=False)
    except (TypeError, ValueError):
        # NaN and what JSON cannot say otherwise are told as Python writes them.
        message = dict(message, result=None, repr=repr(message.get('result')))
        line = json.dumps(message, default=repr)
    with _print_lock:
        sys.stdout.write(line + '\n')
        sys.stdout.flush()


def ready():
    say({
        'ready': True,
        'pid': os.getpid(),
        'oslo_messaging': _version('oslo.messaging'),
        'kombu': _version('kombu'),
        'amqp': _version('amqp'),
        'python': sys.version.split()[0],
    })


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ''


def commands():
    """Yield the commands on standard input until it ends.

    Its end is the sign that whoever started this process is gone.
    """
    for line in sys.stdin:
        line = line.strip()
        if line:
            yield json.loads(line)


def configure(options):
    """Set the global configuration.

    Several releases register options on the global object only, so a private
    one fails in them with NoSuchOptError.
    """
    # Options have to be known when the driver is made, and cannot be set by name
    # before it has registered them; a file can hold them that early.
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as f:
        for group, values in (options.get('conf') or {}).items():
            f.write('[%s]\n' % group)
            for name, value in values.items():
                f.write('%s = %s\n' % (name, value))
        f.flush()
        cfg.CONF(['--config-file', f.name], project='peer')


def transport(url, options):
    """Build a transport of RPC on the global configuration."""
    configure(options)
    return oslo_messaging.get_rpc_transport(
        cfg.CONF, url,
        allowed_remote_exmods=options.get('allowed_remote_exmods') or [])


def notification_transport(url, options):
    """Build a transport of notifications on the global configuration."""
    configure(options)
    return oslo_messaging.get_notification_transport(cfg.CONF, url)


def failed(answer, e):
    """Put an exception into an answer."""
    answer.update(ok=False, message=str(e), module=type(e).__module__)
    answer['class'] = type(e).__name__


def rpc_client(transport, target, **options):
    # Debian's release has the class only, later ones warn when it is used.
    make = getattr(oslo_messaging, 'get_rpc_client', oslo_messaging.RPCClient)
    return make(transport, target, **options)


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        'cpu': used.ru_utime + used.ru_stime,
        'max_rss_kb': used.ru_maxrss,
        'time': time.monotonic(),
    }


def leave(code=0):
    """End at once.

    A normal exit waits for oslo.messaging's threads, for seconds in some releases.
    """
    sys.stdout.flush()
    os._exit(code)
