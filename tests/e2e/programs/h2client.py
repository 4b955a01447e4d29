# SPDX-License-Identifier: BSD-2-Clause
"""h2client.py FILE: an HTTP/2 client that says exactly what it is told, by python3-h2's HPACK and
frames of our own making. FILE (JSON): {"host": ..., "frames": [...], "wait": seconds}; a frame is
  {"headers": [[name, value], ...], "end": true, "stream": 1}, {"data": text, ...}, or {"raw": hex}.
Prints one JSON line: what came, stream by stream; a list of scripts gives a list of answers."""
import json
import socket
import ssl
import struct
import sys

import hpack

TYPES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
         "WINDOW_UPDATE", "CONTINUATION"]


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


class Client:
    def __init__(self, host, port=443, settings=b""):
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((host, port), 5),
                                          server_hostname=host)
        self.encoder, self.decoder, self.buffer = hpack.Encoder(), hpack.Decoder(), b""
        self.streams, self.goaway, self.closed = {}, None, False
        self.flags, self.block = 0, b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings))

    def headers(self, fields, stream, end):
        # Not as pairs of a set order: hpack would put the pseudo-header fields first.
        return frame(1, 4 | (1 if end else 0), stream,
                     self.encoder.encode([(n.encode("latin-1"), v.encode("latin-1"))
                                          for n, v in fields], huffman=False))

    def send(self, item):
        stream = item.get("stream", 1)
        if "headers" in item:
            out = self.headers(item["headers"], stream, item.get("end", True))
        elif "data" in item:
            out = frame(0, 1 if item.get("end", True) else 0, stream, item["data"].encode())
        else:
            out = bytes.fromhex(item["raw"]) * item.get("times", 1)
        self.socket.sendall(out)

    def stream(self, number):
        return self.streams.setdefault(number, {"headers": [], "body": "", "trailers": [],
                                                "end": False, "reset": None, "frames": []})

    def take(self, kind, flags, number, payload):
        if kind in (1, 9) and not flags & 4:
            self.flags, self.block = self.flags | flags, self.block + payload
            return
        if kind == 9:
            kind = 1
        if kind == 1:
            flags, payload = self.flags | flags, self.block + payload
            self.flags, self.block = 0, b""
        if number and kind in (0, 1):
            self.stream(number)["frames"].append(TYPES[kind])
        if kind == 4 and not flags & 1:
            self.socket.sendall(frame(4, 1, 0))
        elif kind == 7:
            self.goaway = struct.unpack("!I", payload[4:8])[0]
        elif kind == 3:
            self.stream(number)["reset"] = struct.unpack("!I", payload)[0]
        elif kind == 1:
            fields = [[str(n), str(v)] for n, v in self.decoder.decode(payload)]
            stream = self.stream(number)
            stream["trailers" if stream["headers"] and stream["headers"][0][1][0] != "1"
                   else "headers"][:] = fields
            stream["end"] |= bool(flags & 1)
        elif kind == 0:
            stream = self.stream(number)
            stream["body"] += payload.decode("latin-1")
            stream["end"] |= bool(flags & 1)

    def over(self):
        return self.streams and all(s["end"] or s["reset"] is not None for s in self.streams.values())

    def receive(self, seconds, want=None):
        self.socket.settimeout(seconds)
        try:
            while not (want and want()):
                while len(self.buffer) >= 9:
                    length = struct.unpack("!I", b"\0" + self.buffer[:3])[0]
                    if len(self.buffer) < 9 + length:
                        break
                    head, payload = self.buffer[:9], self.buffer[9:9 + length]
                    self.buffer = self.buffer[9 + length:]
                    self.take(head[3], head[4], struct.unpack("!I", head[5:])[0] & 0x7fffffff,
                              payload)
                if want and want():
                    break
                data = self.socket.recv(65536)
                if not data:
                    self.closed = True
                    break
                self.buffer += data
        except TimeoutError:
            pass
        except OSError:
            self.closed = True


def run(script):
    client = Client(script["host"], settings=bytes.fromhex(script.get("settings", "")))
    try:
        for item in script["frames"]:
            client.send(item)
    except OSError:
        client.closed = True
    wanted = script.get("streams", 1)
    client.receive(script.get("wait", 5),
                   lambda: (len(client.streams) >= wanted and client.over()) or client.goaway is not None)
    return {"streams": client.streams, "goaway": client.goaway, "closed": client.closed}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        script = json.load(file)
    print(json.dumps([run(s) for s in script] if isinstance(script, list) else run(script)))


if __name__ == "__main__":
    main()
