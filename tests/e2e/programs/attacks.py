# SPDX-License-Identifier: BSD-2-Clause
"""Ways out that a sandbox must not have. Prints {name: [outcome, milliseconds]} as JSON; an outcome
is an errno's name, "timeout", "refused answer" or "OPEN".  attacks.py V4 V6"""
import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time

V4, V6 = sys.argv[1:3]
WAIT = 2.0


def tcp(family, address, port):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(WAIT)
    s.connect((address, port))
    # A connection that opened is still no way out if nobody but a closed door is behind it.
    s.sendall(b"GET / HTTP/1.1\r\nHost: leaked\r\n\r\n")
    return "OPEN"


def udp_send(family, address, port, connected=False):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(0.2)
    if connected:
        s.connect((address, port))
        s.send(b"leak")
    else:
        s.sendto(b"leak", (address, port))
    return "OPEN"


def make(family, kind, protocol):
    s = socket.socket(family, kind, protocol)
    s.settimeout(WAIT)
    if kind == socket.SOCK_RAW:
        s.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (V4 if family == socket.AF_INET else V6, 0))
    elif protocol in (socket.IPPROTO_ICMP, 58):
        s.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (V4 if family == socket.AF_INET else V6, 0))
    else:
        s.connect((V4 if family == socket.AF_INET else V6, 443))
    return "OPEN"


def packet():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        return "no wire"
    s.bind((names[0], 0x0800))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, b"\x7f\0\0\1",
                     socket.inet_aton(V4)) + struct.pack("!HHHH", 1, 9, 8, 0)
    s.send(b"\xff" * 6 + b"\x02" * 6 + b"\x08\x00" + ip)
    return "OPEN"


def device(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(WAIT)
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        return "no wire"
    s.setsockopt(socket.SOL_SOCKET, 25, names[0].encode() + b"\0")
    s.connect((address, 443))
    return "OPEN"


def fastopen():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(WAIT)
    s.sendto(b"leak", 0x20000000, (V4, 443))
    return "OPEN"


def routing_header():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, 57, struct.pack("!BBBBI16s", 0, 2, 0, 1, 0,
                                                      socket.inet_pton(socket.AF_INET6, V6)))
    s.sendto(b"leak", ("::1", 9))
    return "OPEN" if os.environ.get("STRICT") else "ENOTSUP"


def sendmmsg():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    libc = ctypes.CDLL(None, use_errno=True)
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 9) + socket.inet_aton(V4) + b"\0" * 8
    name, data = ctypes.create_string_buffer(address), ctypes.create_string_buffer(b"leak")
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(data), 4)
    header = (ctypes.c_size_t * 8)(ctypes.addressof(name), 16, ctypes.addressof(vector), 1)
    if libc.sendmmsg(s.fileno(), header, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "sendmmsg")
    return "OPEN"


def bind_port(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", port))
    s.listen()
    return "OPEN"


ATTACKS = {
    "v4 literal": lambda: tcp(socket.AF_INET, V4, 443),
    "v4 literal port 80": lambda: tcp(socket.AF_INET, V4, 80),
    "v4 literal port 22": lambda: tcp(socket.AF_INET, V4, 22),
    "v4 metadata": lambda: tcp(socket.AF_INET, "169.254.169.254", 80),
    "v6 literal": lambda: tcp(socket.AF_INET6, V6, 443),
    "v4 mapped": lambda: tcp(socket.AF_INET6, "::ffff:" + V4, 443),
    "v4 compatible": lambda: tcp(socket.AF_INET6, "::" + V4, 443),
    "nat64": lambda: tcp(socket.AF_INET6, "64:ff9b::" + V4, 443),
    "link-local v6": lambda: tcp(socket.AF_INET6, "fe80::1", 443),
    "udp": lambda: udp_send(socket.AF_INET, V4, 9),
    "udp connected": lambda: udp_send(socket.AF_INET, V4, 9, True),
    "udp v6": lambda: udp_send(socket.AF_INET6, V6, 9),
    "udp mapped": lambda: udp_send(socket.AF_INET6, "::ffff:" + V4, 9),
    "udp multicast": lambda: udp_send(socket.AF_INET, "224.0.0.251", 5353),
    "quic": lambda: udp_send(socket.AF_INET, V4, 443),
    "quic connected": lambda: udp_send(socket.AF_INET, V4, 443, True),
    "ntp": lambda: udp_send(socket.AF_INET, V4, 123),
    "sendmmsg": sendmmsg,
    "fast open": fastopen,
    "raw icmp": lambda: make(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "raw udp": lambda: make(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    "raw v6": lambda: make(socket.AF_INET6, socket.SOCK_RAW, 58),
    "ping": lambda: make(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    "ping v6": lambda: make(socket.AF_INET6, socket.SOCK_DGRAM, 58),
    "udplite": lambda: make(socket.AF_INET, socket.SOCK_DGRAM, 136),
    "sctp": lambda: make(socket.AF_INET, socket.SOCK_STREAM, 132),
    "mptcp": lambda: make(socket.AF_INET, socket.SOCK_STREAM, 262),
    "dccp": lambda: make(socket.AF_INET, 6, 33),
    "packet": packet,
    "bind to device": lambda: device(V4),
    "routing header": routing_header,
    "squat on the proxy's port": lambda: bind_port(9099),
}


def attempt(function):
    begun = time.monotonic()
    try:
        outcome = function()
    except socket.timeout:
        outcome = "timeout"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    return [outcome, round((time.monotonic() - begun) * 1000, 1)]


print(json.dumps({name: attempt(function) for name, function in ATTACKS.items()}))
