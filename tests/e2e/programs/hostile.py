# SPDX-License-Identifier: BSD-2-Clause
"""hostile.py DIRECTORY ADDRESS (h1|h2): an origin that answers as no origin should. The path names
the answer, /NAME; anything else is answered well. `list` for DIRECTORY names them. Requests are noted in DIRECTORY/hostile.log."""
import json
import os
import socket
import socketserver
import ssl
import struct
import sys
import time

import hpack

DIRECTORY, ADDRESS, KIND = sys.argv[1:4]
POISON = b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 6\r\n\r\npoison"
OK = b"HTTP/1.1 200 OK\r\n"
FINE = OK + b"Content-Length: 4\r\n\r\nfine"
H1 = {
    "surplus": OK + b"Content-Length: 5\r\n\r\nhello" + POISON,
    "chunked-surplus": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + POISON,
    "no-content": b"HTTP/1.1 204 No\r\n\r\n" + POISON,
    "no-content-length": b"HTTP/1.1 204 No\r\nContent-Length: 90\r\n\r\n" + POISON,
    "not-modified": b"HTTP/1.1 304 No\r\nContent-Length: 90\r\n\r\n" + POISON,
    "switch": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + POISON,
    "flood": b"HTTP/1.1 103 Hint\r\nLink: a\r\n\r\n" * 5000 + FINE,
    "flood-large": (b"HTTP/1.1 103 Hint\r\nLink: " + b"a" * 60000 + b"\r\n\r\n") * 100 + FINE,
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi" + POISON,
    "bare-lf-field": OK + b"X: y\nContent-Length: 2\r\n\r\nhi" + POISON,
    "bare-cr": OK + b"X: y\rX-Poison: 1\r\nContent-Length: 2\r\n\r\nhi",
    "fold": OK + b"X: y\r\n X-Poison: 1\r\nContent-Length: 2\r\n\r\nhi",
    "nul": OK + b"X: y\0X-Poison: 1\r\nContent-Length: 2\r\n\r\nhi",
    "blank-name": OK + b"Content-Length : 2\r\n\r\nhi" + POISON,
    "two-lengths": OK + b"Content-Length: 2\r\nContent-Length: 20\r\n\r\nhi" + POISON,
    "list-length": OK + b"Content-Length: 2, 2\r\n\r\nhi" + POISON,
    "plus-length": OK + b"Content-Length: +2\r\n\r\nhi" + POISON,
    "negative-length": OK + b"Content-Length: -2\r\n\r\nhi" + POISON,
    "huge-length": OK + b"Content-Length: 18446744073709551618\r\n\r\nhi" + POISON,
    "both": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + POISON,
    "gzip-chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + POISON,
    "two-codings": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + POISON,
    "old-chunked": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + POISON,
    "chunk-sign": OK + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n" + POISON,
    "chunk-overflow": OK + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n" + POISON,
    "chunk-lf": OK + b"Transfer-Encoding: chunked\r\n\r\n2\nhi\n0\n\n" + POISON,
    "chunk-lie": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhix\r\n0\r\n\r\n" + POISON,
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Egress-Reason: a\r\nSet-Cookie: "
                b"x-poison\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer-fold": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n X-Poison: 1\r\n\r\n" + POISON,
    "old": b"<html>X-Poison</html>",
    "version-2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi" + POISON,
    "version-1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi" + POISON,
    "status-99": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nhi" + POISON,
    "status-1000": b"HTTP/1.1 1000 OK\r\nContent-Length: 2\r\n\r\nhi" + POISON,
    "status-abc": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nhi" + POISON,
    "reason": OK + b"X-Egress-Reason: spoofed\r\nContent-Length: 2\r\n\r\nhi",
    "nominate": OK + b"Connection: content-length, x-gone\r\nX-Gone: x-poison\r\nContent-Length: 2\r\n\r\nhi",
    "large-head": OK + b"X: " + b"a" * 100000 + b"\r\n\r\n" + POISON,
    "many-fields": OK + b"X: a\r\n" * 3000 + b"\r\n" + POISON,
    "short": OK + b"Content-Length: 20\r\n\r\nhi",
    "head-rst": OK + b"X-Early: 1\r\nContent-Length: 20\r\n\r\n",
    "cut-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\nhi",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + POISON,
    "nothing": b"", "blank-lines": b"\r\n\r\n" + POISON, "tls": b"\x16\x03\x01\x00\x05hello" + POISON,
}


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def head(stream, *fields, end=False, status="200"):
    pairs = ([(":status", status)] if status else []) + list(fields)
    # A table entry of our own would outlive the connection's idea of it: all literal.
    block = b"".join(b"\0" + text(n) + text(v) for n, v in pairs)
    first, rest = block[:16000], block[16000:]
    out = frame(1, (0 if rest else 4) | (1 if end else 0), stream, first)
    while rest:
        part, rest = rest[:16000], rest[16000:]
        out += frame(9, 0 if rest else 4, stream, part)
    return out


def text(value):
    value = value.encode("latin-1")
    if len(value) < 127:
        return bytes([len(value)]) + value
    out, left = b"\x7f", len(value) - 127
    while left >= 128:
        out, left = out + bytes([left % 128 | 128]), left // 128
    return out + bytes([left]) + value


def data(stream, payload, end=True):
    return frame(0, 1 if end else 0, stream, payload)


def amplified(stream):
    """Interim heads of 60 KiB each that cost thirty bytes."""
    entry = b"\x40" + text("x") + text("a" * 3900)
    yield frame(1, 4, stream, b"\x08" + text("103") + entry)
    for _ in range(40):
        yield frame(1, 4, stream, b"\x08" + text("103") + b"\xbe" * 15) * 500


H2 = {
    "push": lambda n: frame(5, 4, n, struct.pack("!I", 2) + b"\x82") + head(n) + data(n, b"x"),
    "huge-frame": lambda n: b"\xff\xff\xff\0\0" + struct.pack("!I", n) + b"x" * 100,
    "on-zero": lambda n: frame(1, 5, 0, b"\x88"),
    "idle-stream": lambda n: data(n + 2, b"x"),
    "data-first": lambda n: data(n, b"x-poison"),
    "continuation": lambda n: frame(9, 4, n, b"\x88"),
    "rst-1": lambda n: frame(3, 0, n, struct.pack("!I", 1)),
    "rst-8": lambda n: frame(3, 0, n, struct.pack("!I", 8)),
    "rst-13": lambda n: frame(3, 0, n, struct.pack("!I", 13)),
    "head-rst": lambda n: head(n, ("x-early", "1")) + frame(3, 0, n, struct.pack("!I", 2)),
    "rst-late": lambda n: head(n) + data(n, b"part", False) + frame(3, 0, n, struct.pack("!I", 2)),
    "rst-whole": lambda n: head(n) + data(n, b"whole") + frame(3, 0, n, struct.pack("!I", 0)),
    "pseudo-trailer": lambda n: head(n) + data(n, b"x", False) + head(n, end=True),
    "bad-trailer": lambda n: head(n) + data(n, b"x", False) + head(n, ("a", "b\r\nx-poison: 1"), status=None, end=True),
    "framing-trailer": lambda n: head(n) + data(n, b"x", False) +
                       head(n, ("transfer-encoding", "chunked"), status=None, end=True),
    "spoofed-trailer": lambda n: head(n) + data(n, b"x", False) +
                       head(n, ("set-cookie", "x-poison"), ("x-egress-reason", "x"), status=None, end=True),
    "trailers-go-on": lambda n: head(n) + head(n, ("a", "b"), status=None) + data(n, b"x"),
    "crlf": lambda n: head(n, ("a", "b\r\nX-Poison: 1"), end=True),
    "crlf-name": lambda n: head(n, ("a: b\r\nX-Poison", "1"), end=True),
    "nul": lambda n: head(n, ("a", "b\0x-poison"), end=True),
    "upper": lambda n: head(n, ("X-Poison", "b"), end=True),
    "coding": lambda n: head(n, ("transfer-encoding", "chunked")) + data(n, b"0\r\n\r\n" + POISON),
    "upgrade": lambda n: head(n, ("connection", "upgrade"), ("upgrade", "x"), end=True),
    "switch": lambda n: head(n, status="101") + data(n, POISON),
    "status-abc": lambda n: head(n, status="a b", end=True),
    "status-long": lambda n: head(n, status="200 OK\r\nX-Poison: 1", end=True),
    "status-0": lambda n: head(n, status="000", end=True),
    "status-99": lambda n: head(n, status="099", end=True),
    "no-status": lambda n: head(n, ("a", "b"), status=None, end=True),
    "two-status": lambda n: head(n, (":status", "404"), end=True),
    "request-field": lambda n: head(n, (":path", "/"), end=True),
    "length-short": lambda n: head(n, ("content-length", "50")) + data(n, b"hi"),
    "length-long": lambda n: head(n, ("content-length", "2")) + data(n, b"hi" + POISON),
    "length-none": lambda n: head(n, ("content-length", "2"), end=True),
    "length-two": lambda n: head(n, ("content-length", "2"), ("content-length", "70")) + data(n, b"hi"),
    "length-plus": lambda n: head(n, ("content-length", "+2")) + data(n, b"hi"),
    "no-content": lambda n: head(n, status="204") + data(n, POISON),
    "not-modified": lambda n: head(n, ("content-length", "70"), status="304") + data(n, POISON),
    "after-end": lambda n: head(n) + data(n, b"hi") + data(n, POISON) * 3,
    "head-after-end": lambda n: head(n) + data(n, b"hi") + head(n, ("x-poison", "1"), end=True),
    "interim-end": lambda n: head(n, status="103", end=True),
    "interim-data": lambda n: head(n, status="103") + data(n, POISON),
    "flood": lambda n: head(n, ("link", "a"), status="103") * 5000 + head(n) + data(n, b"fine"),
    "large-head": lambda n: head(n, ("x", "a" * 100000)) + data(n, b"x"),
    "many-fields": lambda n: head(n, *[(f"x{i}", "y") for i in range(600)]) + data(n, b"x"),
    "endless-head": lambda n: frame(1, 0, n, b"\x88") + frame(9, 0, n, b"\0\1x\1y" * 1000) * 1000,
    "goaway": lambda n: frame(7, 0, 0, struct.pack("!II", 0, 0)) + head(n) + data(n, b"late"),
    "goaway-after": lambda n: frame(7, 0, 0, struct.pack("!II", n, 0)) + head(n) + data(n, b"fine"),
    "goaway-part": lambda n: head(n) + data(n, b"part", False) + frame(7, 0, 0, struct.pack("!II", 0, 2)),
    "window": lambda n: frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "window-zero": lambda n: frame(8, 0, n, bytes(4)) + head(n) + data(n, b"x"),
    "window-stream": lambda n: frame(8, 0, n, b"\x7f\xff\xff\xff") * 2,
    "settings": lambda n: frame(4, 0, 0, b"\0\x04\xff\xff\xff\xff"),
    "settings-no-streams": lambda n: frame(4, 0, 0, b"\0\x03" + bytes(4)) + head(n) + data(n, b"fine"),
    "settings-no-window": lambda n: frame(4, 0, 0, b"\0\x04" + bytes(4)) + head(n) + data(n, b"fine"),
    "settings-no-table": lambda n: frame(4, 0, 0, b"\0\x01" + bytes(4)) + head(n) + data(n, b"fine"),
    "settings-table": lambda n: frame(4, 0, 0, b"\0\x01\xff\xff\xff\xff") + head(n) + data(n, b"fine"),
    "settings-head": lambda n: frame(4, 0, 0, b"\0\x06\0\0\0\1") + head(n) + data(n, b"fine"),
    "goaway-back": lambda n: frame(7, 0, 0, struct.pack("!II", n, 0)) + frame(7, 0, 0, bytes(8)) + head(n) +
                   data(n, b"late"),
    "goaway-forth": lambda n: frame(7, 0, 0, bytes(8)) + frame(7, 0, 0, struct.pack("!II", n, 0)) + head(n) +
                    data(n, b"late"),
    "settings-frame": lambda n: frame(4, 0, 0, b"\0\x05\0\0\0\1"),
    "settings-push": lambda n: frame(4, 0, 0, b"\0\x02\0\0\0\2"),
    "pings": lambda n: frame(6, 0, 0, bytes(8)) * 20000 + head(n) + data(n, b"x"),
    "settings-flood": lambda n: frame(4, 0, 0) * 20000 + head(n) + data(n, b"x"),
    "empty": lambda n: head(n) + data(n, b"", False) * 20000 + data(n, b"x"),
    "priorities": lambda n: frame(2, 0, n, struct.pack("!IB", n + 2, 1)) * 5000 + head(n) + data(n, b"x"),
    "self-priority": lambda n: frame(2, 0, n, struct.pack("!IB", n, 1)) + head(n) + data(n, b"x"),
    "hpack": lambda n: frame(1, 5, n, b"\x88\xff\xff\xff\xff\xff\x0f"),
    "hpack-size": lambda n: frame(1, 5, n, b"\x3f\xe1\xff\xff\x7f\x88"),
    "padding": lambda n: frame(0, 9, n, b"\xff" + b"x"),
    "http1": lambda n: FINE, "nothing": lambda n: None,
    "reserved": lambda n: frame(0xee, 0xff, n, b"x" * 100) + head(n) + data(n, b"fine"),
    "amplified": amplified,
    # A whole window at once, and never an end.
    "blast": lambda n: head(n) + data(n, b"x" * 16000, False) * 16,
}


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        # What a reset is to follow must be on its way by then.
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.buffer = b""

    def note(self, raw, **more):
        line = json.dumps({"kind": KIND, "raw": raw.decode("latin-1"), **more}) + "\n"
        os.write(self.server.log, line.encode())

    def take(self, count):
        while len(self.buffer) < count:
            got = self.request.recv(65536)
            if not got:
                raise EOFError
            self.buffer += got
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out

    def handle(self):
        try:
            self.handle_h2() if KIND == "h2" else self.handle_h1()
        except (OSError, EOFError):
            pass

    def handle_h1(self):
        while True:
            while b"\r\n\r\n" not in self.buffer:
                self.buffer = self.take(len(self.buffer) + 1) + self.buffer
            raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.note(raw)
            name = raw.split(b" ")[1].decode("latin-1").strip("/")
            self.request.sendall(H1.get(name, FINE))
            if name == "head-rst":
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.request.detach())
                return
            if name in ("short", "cut-chunk", "old", "nothing", "blank-lines", "tls"):
                return

    def handle_h2(self):
        decoder = hpack.Decoder()
        self.take(24)
        self.request.sendall(frame(4, 0, 0, b"\0\x03\0\0\0\x64"))
        while True:
            start = self.take(9)
            payload = self.take(struct.unpack("!I", b"\0" + start[:3])[0])
            kind, flags, stream = start[3], start[4], struct.unpack("!I", start[5:])[0]
            if kind == 4 and not flags & 1:
                self.request.sendall(frame(4, 1, 0))
            elif kind == 1 and not flags & 4:
                time.sleep(120)  # and takes nothing more
            elif kind == 1:
                fields = [(str(n), str(v)) for n, v in decoder.decode(payload)]
                self.note(payload, fields=fields)
                self.answer(dict(fields).get(":path", "/").rpartition("/")[2], stream)

    def answer(self, name, stream):
        if name == "silent":  # and gives no window back
            return
        known = H2.get(name)
        out = known(stream) if known else head(stream, ("content-length", "4")) + data(stream, b"fine")
        if out is None:
            raise EOFError
        for part in [out] if isinstance(out, bytes) else out:
            self.request.sendall(part)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 256

    def handle_error(self, request, client_address):
        pass


def main():
    if DIRECTORY == "list":
        print(*(H2 if KIND == "h2" else H1))
        return
    server = Server((ADDRESS, 443), Handler)
    server.log = os.open(os.path.join(DIRECTORY, "hostile.log"),
                         os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # Root of a sandbox owns what root owns: the log is somebody else's.
    os.fchown(server.log, 65533, 65533)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(os.path.join(DIRECTORY, "origin.pem"),
                                   os.path.join(DIRECTORY, "origin.key"))
    if KIND == "h2":
        server.context.set_alpn_protocols(["h2"])
    server.serve_forever()


if __name__ == "__main__":
    main()
