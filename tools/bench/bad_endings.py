# SPDX-License-Identifier: BSD-2-Clause
"""bad_endings.py HOST PORT COUNT: so many connections that end as none should, from inside a bottle.
Prints how many of each kind there were, and fails when one could not even begin."""
import collections
import itertools
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

CLIENTS = 16
STREAMS = 100
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HEADERS, END_STREAM, END_HEADERS = 1, 1, 4


def context(*protocols):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(protocols)
    return made


PLAIN, H2 = context("http/1.1"), context("h2")


class Client:
    def __init__(self, host, address):
        self.host, self.address = host, address

    def connect(self):
        made = socket.create_connection(self.address, 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def hello(self):
        out = ssl.MemoryBIO()
        try:
            PLAIN.wrap_bio(ssl.MemoryBIO(), out, server_hostname=self.host).do_handshake()
        except ssl.SSLWantReadError:
            return out.read()

    def tls(self, how):
        return how.wrap_socket(self.connect(), server_hostname=self.host,
                               suppress_ragged_eofs=False)

    def head_of_stream(self, number):
        """GET /gib, by indices of HPACK's static table (RFC 7541, A) and literals."""
        name = self.host.encode()
        block = b"\x82\x87\x01" + bytes([len(name)]) + name + b"\x04\x04/gib"
        return (struct.pack(">I", len(block))[1:] + bytes([HEADERS, END_STREAM | END_HEADERS]) +
                struct.pack(">I", number) + block)

    # ---- the endings ----

    def half_a_hello(self):
        with self.connect() as s:
            hello = self.hello()
            s.sendall(hello[:len(hello) // 2])

    def after_the_hello(self):
        with self.connect() as s:
            s.sendall(self.hello())

    def reset_in_the_handshake(self):
        """When the server has said all it has to say."""
        with self.connect() as s:
            s.sendall(self.hello())
            if not s.recv(1):
                raise ConnectionError("no ServerHello")
            reset(s)

    def half_a_request(self):
        with self.tls(PLAIN) as s:
            s.sendall(f"GET /kib HTTP/1.1\r\nHost: {self.host}\r\nX-Half: ".encode())

    def reset_in_a_request(self):
        with self.tls(PLAIN) as s:
            s.sendall(f"GET /gib HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            if not s.recv(1):
                raise ConnectionError("no answer")
            reset(s)

    def away_with_streams(self):
        with self.tls(H2) as s:
            if s.selected_alpn_protocol() != "h2":
                raise ConnectionError("no HTTP/2")
            s.sendall(PREFACE + b"".join(self.head_of_stream(2 * i + 1) for i in range(STREAMS)))
            s.recv(1)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = Client(host, socket.getaddrinfo(host, port, socket.AF_INET)[0][4])
    # Each stream is a connection to the origin: rare.
    kinds = [client.half_a_hello, client.after_the_hello, client.reset_in_the_handshake,
             client.half_a_request, client.reset_in_a_request] * 20 + [client.away_with_streams]
    chosen = list(itertools.islice(itertools.cycle(kinds), count))
    # Together, so that each run has the same peak of memory.
    chosen.sort(key=lambda kind: kind != client.away_with_streams)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(lambda kind: kind(), chosen):
            pass
    done = collections.Counter(kind.__name__ for kind in chosen)
    print(", ".join(f"{number} {name}" for name, number in done.items()), flush=True)


main()
