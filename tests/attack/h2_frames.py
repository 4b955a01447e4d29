# SPDX-License-Identifier: BSD-2-Clause
"""As much of HTTP/2 (RFC 9113) as games with names need. Header fields are literals that nothing indexes
(RFC 7541, 6.2.2), so that each can say what no library would let it say."""
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def text(value):
    data, rest = value.encode("latin-1"), len(value) - 127
    if rest < 0:
        return bytes([len(data)]) + data
    head = b"\x7f"
    while rest >= 128:
        head += bytes([128 | rest & 127])
        rest >>= 7
    return head + bytes([rest]) + data


def block(fields):
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def take_text(data, at):
    length = data[at]
    at += 1
    if length == 127:
        shift = 0
        while True:
            byte, at = data[at], at + 1
            length += (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
    return data[at:at + length].decode("latin-1"), at + length


def fields_of(data):
    """Of what block() made, and of nothing else."""
    at, fields = 0, []
    while at < len(data):
        name, at = take_text(data, at + 1)
        value, at = take_text(data, at)
        fields.append((name, value))
    return fields


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def read_frame(connection):
    head = exactly(connection, 9)
    length, (kind, flags, stream) = int.from_bytes(head[:3], "big"), struct.unpack("!BBI", head[3:])
    return kind, flags, stream & 0x7fffffff, exactly(connection, length)
