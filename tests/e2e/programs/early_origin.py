# SPDX-License-Identifier: BSD-2-Clause
"""early_origin.py DIRECTORY ADDRESS (h1|h2): an origin that answers before it has read the body. The
path is /STATUS/HOW, HOW one of those below; windows are given back only where it is said ("on" does,
and reads all). With HTTP/1 it takes what comes ("end"), or closes. "keep" has no answer, and its body
keeps the connection's window; after "freeze" nothing has an answer. DIRECTORY/early-told has a line
more when that is so."""
import os
import struct
import sys

sys.dont_write_bytecode = True
import hostile  # its frames, its ways to read
from hostile import data, frame, head

NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
LARGE = b"large " * 40000


def reset(stream, code):
    return frame(3, 0, stream, struct.pack("!I", code))


def answers(how, status, n):
    """The frames of an answer."""
    plain = head(n, ("content-length", "2"), status=status) + data(n, b"no")
    return {
        "end": plain,
        "on": plain,
        "reset": plain + reset(n, NO_ERROR),
        "cancel": plain + reset(n, CANCEL),
        "bare": head(n, status=status) + data(n, b"no") + reset(n, NO_ERROR),
        "empty": head(n, status=status, end=True) + reset(n, NO_ERROR),
        "hints": head(n, ("link", "</a>"), status="103") + plain + reset(n, NO_ERROR),
        "trailers": head(n, status=status) + data(n, b"no", False) +
                    head(n, ("x-sum", "1"), status=None, end=True) + reset(n, NO_ERROR),
        "cut": head(n, status=status) + data(n, b"no", False) + reset(n, INTERNAL_ERROR),
        "unended": head(n, status=status) + data(n, b"no", False) + reset(n, NO_ERROR),
    }[how]


def tell():
    with open(os.path.join(hostile.DIRECTORY, "early-told"), "a", encoding="ascii") as file:
        file.write("so\n")


class Handler(hostile.Handler):
    def handle_h1(self):
        while True:
            while b"\r\n\r\n" not in self.buffer:
                self.buffer = self.take(len(self.buffer) + 1) + self.buffer
            raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            _, status, how = raw.split(b" ")[1].split(b"/")
            self.request.sendall(b"HTTP/1.1 %s Early\r\nContent-Length: 2\r\n\r\nno" % status)
            if how != b"end":
                return
            while self.request.recv(65536):
                pass

    def handle_h2(self):
        self.decoder, self.paths, self.begun = hostile.hpack.Decoder(), {}, set()
        self.windows, self.initial, self.kept = {0: 65535}, 65535, 0
        self.take(24)
        self.request.sendall(frame(4, 0, 0, b"\0\x03\0\0\0\x64"))
        while True:
            self.one_frame()

    def one_frame(self):
        start = self.take(9)
        payload = self.take(struct.unpack("!I", b"\0" + start[:3])[0])
        kind, flags, stream = start[3], start[4], struct.unpack("!I", start[5:])[0]
        if kind == 4 and not flags & 1:
            settings = dict(struct.iter_unpack("!HI", payload))
            self.initial = settings.get(4, self.initial)
            self.request.sendall(frame(4, 1, 0))
        elif kind == 1:
            fields = [(str(k), str(v)) for k, v in self.decoder.decode(payload)]
            self.paths[stream] = dict(fields).get(":path", "/x")[1:].split("/")
            self.windows[stream] = self.initial
            self.begin(stream, flags & 1)
        elif kind == 0:
            # The connection's, in all cases but one: else no other stream would send any more.
            if payload and self.paths[stream][1] != "keep":
                self.request.sendall(frame(8, 0, 0, struct.pack("!I", len(payload))))
            self.body(stream, payload, flags & 1)
        elif kind == 8 and stream in self.windows:
            self.windows[stream] += struct.unpack("!I", payload)[0]

    def huge(self, n, status, how):
        """HOW is hugeMIB or hugeMIB-reset: so much as its windows open, and the end, while nothing of the
        request is taken but what its first window holds."""
        left = int(how[4:].partition("-")[0]) << 20
        self.request.sendall(head(n, status=status))
        while left:
            part = min(left, 16000, self.windows[0], self.windows[n])
            if part <= 0:
                self.one_frame()
                continue
            left -= part
            self.windows[0] -= part
            self.windows[n] -= part
            self.request.sendall(data(n, b"x" * part, left == 0))
        if how.endswith("reset"):
            self.request.sendall(reset(n, NO_ERROR))

    def begin(self, n, ended):
        status, how = self.paths[n]
        if how.startswith("huge"):
            self.huge(n, status, how)
        elif how == "large":
            # Within the window that we give; more than the sockets of a client take that does not read.
            self.request.sendall(head(n, status=status) + b"".join(
                data(n, LARGE[i:i + 16000], False) for i in range(0, len(LARGE), 16000)) +
                data(n, b"", True) + reset(n, NO_ERROR))
        elif how in ("echo", "read"):
            if how == "echo":
                self.request.sendall(head(n, ("content-type", "application/grpc")))
            self.length = 0
            if ended:
                self.body(n, b"", True)
        elif how == "freeze":
            tell()
            while True:
                self.take(len(self.buffer) + 1)
        elif how not in ("late", "keep"):
            self.request.sendall(answers(how, status, n))

    def body(self, n, payload, ended):
        status, how = self.paths[n]
        if how == "late" and n not in self.begun:
            self.begun.add(n)
            self.request.sendall(answers("reset", status, n))
        if how == "keep":
            self.kept += len(payload)
            if self.kept == 65535:
                tell()
        if how not in ("echo", "read", "on"):
            return
        if payload and not ended:
            self.request.sendall(frame(8, 0, n, struct.pack("!I", len(payload))))
        if how == "on":
            return
        self.length += len(payload)
        if how == "echo":
            self.request.sendall(data(n, payload, False) if payload else b"")
        if ended and how == "echo":
            self.request.sendall(head(n, ("grpc-status", "0"), status=None, end=True))
        elif ended:
            self.request.sendall(head(n) + data(n, str(self.length).encode()))


def main():
    hostile.Handler = Handler
    hostile.main()


if __name__ == "__main__":
    main()
