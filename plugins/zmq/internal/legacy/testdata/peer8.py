# SPDX-License-Identifier: Apache-2.0
"""The zmq driver of oslo.messaging 8.1.4 as a peer: its own classes make and take the frames.

Reads one JSON object from each line of standard input and answers with one line:

  {"op": "send", "type": T, "context": C, "message": M[, "serialization": "msgpack"]}
      its sender sends that request: {"frames": as a ROUTER gets them, without the identity};
      context and message are JSON as text
  {"op": "serve", "frames": F[, "failure": text]}
      its consumer takes the frames as a request: {"id", "context", "message"} and, when it was a
      call, {"reply": frames as the client's DEALER gets them}, whose result is the message or whose
      failure is a ValueError with that text
  {"op": "receive", "frames": F}
      its client takes the frames as a response: {"id", "result"} and {"class", "error"} of what the
      caller would see raised

Frames are lists of hexadecimal digits. What it refuses is {"refused": why}.
"""

import collections
import collections.abc
import json
import logging
import sys

# Gone from Python since 3.10, and in use by that release.
for name in ("Callable", "Mapping", "MutableMapping"):
    setattr(collections, name, getattr(collections.abc, name))

import zmq  # noqa: E402
from oslo_config import cfg  # noqa: E402

from oslo_messaging import _drivers  # noqa: E402,F401
from oslo_messaging import rpc, transport  # noqa: E402,F401
from oslo_messaging._drivers import common  # noqa: E402
from oslo_messaging._drivers.zmq_driver.client import zmq_receivers, zmq_request, zmq_senders  # noqa: E402
from oslo_messaging._drivers.zmq_driver import zmq_names, zmq_options, zmq_socket, zmq_version  # noqa: E402
from oslo_messaging._drivers.zmq_driver.server.consumers import zmq_router_consumer  # noqa: E402
import pbr.version  # noqa: E402

TIMEOUT = 10 * 1000
REQUESTS = {
    "call": lambda **kw: zmq_request.CallRequest(None, timeout=5, allowed_remote_exmods=[], **kw),
    "cast": lambda **kw: zmq_request.CastRequest(None, **kw),
    "fanout": lambda **kw: zmq_request.FanoutRequest(None, **kw),
    "notify": lambda **kw: zmq_request.NotificationRequest(None, version=2.0, **kw),
}


class Refusals(logging.Handler):
    """The driver logs what it refuses and goes on."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.why = None

    def emit(self, record):
        self.why = record.getMessage()


class Consumer(zmq_router_consumer.RouterConsumer):
    """Without a matchmaker to announce it to, and with a socket of this script's."""

    def __init__(self, conf):
        self.conf = conf
        self.host = "here"
        self.reply_sender = zmq_senders.ReplySenderDirect(conf)
        self._receive_request_versions = zmq_version.get_method_versions(self, "receive_request")


class Receiver(zmq_receivers.ReceiverDirect):
    """Without a thread that polls."""

    def __init__(self, conf):
        self.conf = conf
        self._receive_response_versions = zmq_version.get_method_versions(self, "receive_response")


class Peer:
    def __init__(self):
        self.conf = cfg.ConfigOpts()
        self.conf([])
        zmq_options.register_opts(self.conf, transport.TransportURL(self.conf))
        self.conf.set_override("zmq_linger", 0, "oslo_messaging_zmq")
        self.context = zmq.Context()
        self.server = self.socket(zmq.ROUTER)
        self.server.handle.bind("tcp://127.0.0.1:*")
        self.client = self.socket(zmq.DEALER)
        self.client.connect(self.server.handle.getsockopt_string(zmq.LAST_ENDPOINT))
        self.refusals = Refusals()
        logging.getLogger("oslo_messaging").addHandler(self.refusals)
        self.send("cast", "{}", '{"method": "hello"}')  # the ROUTER has to know the DEALER

    def socket(self, kind):
        socket = zmq_socket.ZmqSocket(self.conf, self.context, kind, immediate=False)
        socket.setsockopt(zmq.RCVTIMEO, TIMEOUT)
        socket.setsockopt(zmq.SNDTIMEO, TIMEOUT)
        return socket

    def send(self, type, context, message, serialization="json"):
        self.conf.set_override("rpc_zmq_serialization", serialization, "oslo_messaging_zmq")
        request = REQUESTS[type](context=json.loads(context), message=json.loads(message))
        zmq_senders.RequestSenderDirect(self.conf).send(self.client, request)
        self.conf.clear_override("rpc_zmq_serialization", "oslo_messaging_zmq")
        identity, *frames = self.server.recv_multipart()
        assert identity == self.client.handle.identity
        return {"frames": frames}

    def serve(self, frames, failure=None):
        self.client.send_multipart(frames)
        message = Consumer(self.conf).receive_request(self.server)
        if message is None:
            return {}
        answer = {"context": message.ctxt, "message": message.message}
        if not hasattr(message, "reply_id"):
            return answer
        answer["id"] = message.message_id
        if failure is None:
            message.reply(message.message)
        else:
            try:
                exec(compile("raise ValueError(text)", "service.py", "exec"), {"text": failure})
            except ValueError:
                kind, value, traceback = sys.exc_info()
                message.reply(failure=(kind, value, traceback.tb_next))  # without this file's path
        answer["reply"] = self.client.recv_multipart()
        return answer

    def receive(self, frames):
        self.server.send_multipart([self.client.handle.identity, *frames])
        reply = Receiver(self.conf).receive_response(self.client)
        if reply is None:
            return {}
        answer = {"id": reply.message_id, "result": reply.reply_body}
        if reply.failure:
            error = common.deserialize_remote_exception(reply.failure, ["builtins"])
            answer.update({"class": type(error).__name__, "error": str(error).splitlines()[0]})
        return answer

    def handle(self, op, **args):
        self.refusals.why = None
        if "frames" in args:
            args["frames"] = [bytes.fromhex(frame) for frame in args["frames"]]
        answer = {"send": self.send, "serve": self.serve, "receive": self.receive}[op](**args)
        for key in ("frames", "reply"):
            if key in answer:
                answer[key] = [frame.hex() for frame in answer[key]]
        if self.refusals.why:
            answer["refused"] = self.refusals.why
        return answer


def main():
    release = pbr.version.VersionInfo("oslo.messaging").release_string()
    assert release == "8.1.4" and zmq_names.ACK_TYPE == 6, release
    peer = Peer()
    for line in sys.stdin:
        print(json.dumps(peer.handle(**json.loads(line))), flush=True)


main()
