# SPDX-License-Identifier: BSD-2-Clause
"""hello.py FILE: ClientHellos of our own making. FILE (JSON): a list of {"host", "names": what SNI says,
"again": a second SNI extension, "more": {type: hex}, "shares": groups beside X25519, "segments": bytes
each}. Prints what came first for each: "server hello, group NNNN", "alert N", or "closed"."""
import json
import os
import socket
import struct
import sys
import time

SIZES = {0x11ec: 1216, 0x6399: 1216, 0x0a0a: 1, 0x0017: 0}  # X25519MLKEM768, its draft, GREASE


def part(kind, data):
    return struct.pack("!HH", kind, len(data)) + data


def listed(data):
    return struct.pack("!H", len(data)) + data


def server_name(names):
    return part(0, listed(b"".join(b"\0" + listed(name.encode()) for name in names)))


def hello(case):
    shares = b"".join(struct.pack("!HH", group, SIZES[group]) + os.urandom(SIZES[group])
                      for group in case.get("shares", []))
    groups = b"".join(struct.pack("!H", group) for group in [*case.get("shares", []), 0x1d])
    extensions = b"".join([
        server_name(case["names"]) if case["names"] else b"",
        server_name(case["names"]) if case.get("again") else b"",
        part(10, listed(groups)), part(43, b"\x02\x03\x04"),
        part(13, listed(bytes.fromhex("0403080404010503080505010806060102010203"))),
        part(51, listed(shares + struct.pack("!HH", 0x1d, 32) + os.urandom(32))),
        *[part(int(kind), bytes.fromhex(data)) for kind, data in case.get("more", {}).items()]])
    body = (b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32) + listed(bytes.fromhex("130113021303")) +
            b"\x01\x00" + listed(extensions))
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"".join(b"\x16\x03\x01" + listed(message[at:at + 16384])
                    for at in range(0, len(message), 16384))


def group_of(record):
    """The group of a ServerHello's key share."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at] + 3
    end = at + 2 + struct.unpack("!H", record[at:at + 2])[0]
    at += 2
    while at < end:
        kind, length = struct.unpack("!HH", record[at:at + 4])
        if kind == 51:
            return struct.unpack("!H", record[at + 4:at + 6])[0]
        at += 4 + length
    return 0


def play(case):
    s = socket.create_connection((case["host"], 443), 5)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(8)
    data = hello(case)
    size = case.get("segments", len(data))
    try:
        for at in range(0, len(data), size):
            s.sendall(data[at:at + size])
            if size < len(data):
                time.sleep(0.0005)
        answer = s.recv(65536)
    except OSError:
        return "closed"
    if not answer:
        return "closed"
    return f"alert {answer[6]}" if answer[0] == 21 else f"server hello, group {group_of(answer):04x}"


with open(sys.argv[1], encoding="utf-8") as file:
    print(json.dumps([play(case) for case in json.load(file)]))
