# SPDX-License-Identifier: BSD-2-Clause
"""Accomplices outside of every bottle.

outsider.py relay DIRECTORY   whatever reaches its sockets, it sends to the origin
outsider.py knock             connects to each port of the host that it reads from standard input,
                              and sends a datagram there, for three seconds"""
import array
import os
import socket
import sys
import threading
import time

ORIGIN = ("203.0.113.10", 9)
HOST = "203.0.113.1"
TCP_PORT, UDP_PORT = 7777, 7778


def forward(data):
    if data:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"relayed " + data, ORIGIN)


def serve_stream(listener):
    while True:
        connection, _ = listener.accept()
        connection.settimeout(1)
        try:
            forward(connection.recv(4096))
        except OSError:
            pass
        connection.close()


def serve_datagrams(receiver):
    while True:
        try:
            forward(receiver.recv(4096))
        except OSError:
            time.sleep(0.01)


def give_sockets(listener):
    """To everybody who connects: a UDP socket, a connected TCP socket, and a raw one."""
    while True:
        connection, _ = listener.accept()
        tcp = socket.create_connection(("203.0.113.10", 7000), 2)
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), tcp,
                   socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)]
        try:
            connection.sendmsg([b"here"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                            array.array("i", [s.fileno() for s in sockets]))])
        except OSError:
            pass
        connection.close()
        for s in sockets:
            s.close()


def listening(family, kind, address):
    s = socket.socket(family, kind)
    if family != socket.AF_UNIX:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(address)
    if family == socket.AF_UNIX and isinstance(address, str) and not address.startswith("\0"):
        os.chmod(address, 0o777)
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    return s


def relay(directory):
    unix, inet, inet6 = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6
    stream, dgram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    jobs = [(serve_stream, listening(unix, stream, f"{directory}/relay")),
            (serve_stream, listening(unix, stream, "\0egress-attack-relay")),
            (serve_datagrams, listening(unix, dgram, f"{directory}/relay-dgram")),
            (serve_datagrams, listening(unix, dgram, "\0egress-attack-relay-dgram")),
            (give_sockets, listening(unix, stream, f"{directory}/give")),
            (give_sockets, listening(unix, stream, "\0egress-attack-give")),
            (serve_stream, listening(inet, stream, ("127.0.0.1", TCP_PORT))),
            (serve_stream, listening(inet6, stream, ("::1", TCP_PORT))),
            (serve_stream, listening(inet, stream, (HOST, TCP_PORT))),
            (serve_datagrams, listening(inet, dgram, ("127.0.0.1", UDP_PORT))),
            (serve_datagrams, listening(inet6, dgram, ("::1", UDP_PORT))),
            (serve_datagrams, listening(inet, dgram, (HOST, UDP_PORT)))]
    for function, s in jobs:
        threading.Thread(target=function, args=(s,), daemon=True).start()
    # for pidfd_getfd(): a socket of root's, and one of nobody's
    open_socket = socket.socket(inet, dgram)
    print("ready", flush=True)
    threading.Event().wait()
    open_socket.close()


def knock_at(port):
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"knock", (HOST, port))
        try:
            with socket.create_connection((HOST, port), 0.5) as s:
                s.settimeout(0.5)
                s.sendall(b"give me the data\n")
                s.recv(4096)
        except OSError:
            pass
        time.sleep(0.1)


def knock():
    for line in sys.stdin:
        threading.Thread(target=knock_at, args=(int(line),), daemon=True).start()


if __name__ == "__main__":
    relay(sys.argv[2]) if sys.argv[1] == "relay" else knock()
