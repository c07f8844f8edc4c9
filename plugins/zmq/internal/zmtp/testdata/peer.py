# SPDX-License-Identifier: Apache-2.0
"""A libzmq peer: peer.py {bind|connect} SOCKET ENDPOINT HEARTBEAT_MS

It prints its endpoint, then obeys lines on standard input, each answered by one:
  echo N       bind: send the next N messages back
  send N SIZE  connect: send N messages of five frames, one with SIZE bytes, and want them back
  idle SECONDS look at the socket's monitor for so long
  lost         how often connections were lost
"""

import sys
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

TIMEOUT = 15000


def main(how, kind, endpoint, heartbeat):
    socket = zmq.Context().socket(getattr(zmq, kind))
    socket.linger = 0
    socket.rcvtimeo = socket.sndtimeo = TIMEOUT
    if int(heartbeat):
        socket.heartbeat_ivl = int(heartbeat)
        socket.heartbeat_timeout = 3 * int(heartbeat)
        socket.heartbeat_ttl = 3 * int(heartbeat)
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    lost = 0
    if how == "bind":
        socket.bind(endpoint)
    else:
        if kind != "REQ":
            socket.identity = b"py"
        socket.connect(endpoint)
    print(socket.last_endpoint.decode(), flush=True)
    for line in sys.stdin:
        verb, *args = line.split()
        if verb == "echo":
            for _ in range(int(args[0])):
                socket.send_multipart(socket.recv_multipart())
        elif verb == "send":
            for i in range(int(args[0])):
                sent = [b"", b"2.0", str(i).encode(), b"\x00\xff" * (int(args[1]) // 2), b""]
                socket.send_multipart(sent)
                got = socket.recv_multipart()
                if got != sent:
                    raise SystemExit("%d: %r..." % (i, got[:3]))
        elif verb == "idle":
            end = time.monotonic() + float(args[0])
            while (left := end - time.monotonic()) > 0:
                if monitor.poll(left * 1000):
                    recv_monitor_message(monitor)
                    lost += 1
        print("%s %d" % (verb, lost), flush=True)


main(*sys.argv[1:])
