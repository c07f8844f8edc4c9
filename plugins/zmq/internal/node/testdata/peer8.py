# SPDX-License-Identifier: Apache-2.0
"""A peer of oslo.messaging 8.1.4.

  peer8.py dealer ENDPOINT   a DEALER: each line of standard input is a list of frames in hexadecimal
                             digits that it sends; each message that comes is printed the same way
  peer8.py router            a ROUTER on a port of its own, which it prints: the consumer of 8.1.4 takes
                             requests, prints each as {"type", "message"}, and replies with the message,
                             or fails with ValueError when its method is "fail"
"""

import collections
import collections.abc
import json
import sys
import threading

# Gone from Python since 3.10, and in use by that release.
for name in ("Callable", "Mapping", "MutableMapping"):
    setattr(collections, name, getattr(collections.abc, name))

import zmq  # noqa: E402


def show(value):
    print(json.dumps(value), flush=True)


def dealer(endpoint):
    socket = zmq.Context().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while True:
        for what, _ in poller.poll():
            if what is socket:
                show([frame.hex() for frame in socket.recv_multipart()])
                continue
            line = sys.stdin.buffer.raw.readline()
            if not line:
                return
            socket.send_multipart([bytes.fromhex(frame) for frame in json.loads(line)])


def router():
    from oslo_config import cfg
    from oslo_messaging import _drivers  # noqa: F401
    from oslo_messaging import rpc, transport  # noqa: F401
    from oslo_messaging._drivers.zmq_driver.client import zmq_senders
    from oslo_messaging._drivers.zmq_driver import zmq_options, zmq_socket, zmq_version
    from oslo_messaging._drivers.zmq_driver.server.consumers import zmq_router_consumer

    class Consumer(zmq_router_consumer.RouterConsumer):
        """Without a matchmaker to announce it to, and with a socket of this script's."""

        def __init__(self, conf):
            self.conf = conf
            self.host = "here"
            self.reply_sender = zmq_senders.ReplySenderDirect(conf)
            self._receive_request_versions = zmq_version.get_method_versions(self, "receive_request")

    conf = cfg.ConfigOpts()
    conf([])
    zmq_options.register_opts(conf, transport.TransportURL(conf))
    conf.set_override("zmq_linger", 0, "oslo_messaging_zmq")
    socket = zmq_socket.ZmqSocket(conf, zmq.Context(), zmq.ROUTER, immediate=False)
    socket.handle.bind("tcp://127.0.0.1:*")
    show(socket.handle.getsockopt_string(zmq.LAST_ENDPOINT))
    consumer = Consumer(conf)

    def serve():
        while True:
            message = consumer.receive_request(socket)
            if message is None:
                continue
            call = hasattr(message, "reply_id")
            show({"call": call, "message": message.message, "context": message.ctxt})
            if call and message.message["method"] == "fail":
                try:
                    raise ValueError("bad")
                except ValueError:
                    message.reply(failure=sys.exc_info())
            elif call:
                message.reply(message.message)

    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()


if sys.argv[1] == "dealer":
    dealer(sys.argv[2])
else:
    router()
