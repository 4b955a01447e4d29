# SPDX-License-Identifier: BSD-2-Clause
"""Where attacks take place: the end-to-end tests' world with a default route that reaches any
documentation address, and a sniffer on the far end of its only wire."""
import array
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402
import world as w  # noqa: E402

PYTHON = "/usr/bin/python3"
WIRE = "to-origin"
NAIVE_PORT = 9098
BOTTLE_WIRE = "bottle0"
BOTTLE_V4, BOTTLE_V6 = "203.0.113.201", "2001:db8:e2e::c9"
BOTTLE_GATEWAY_V6 = "2001:db8:e2e::fe"
TEXT = re.compile(rb"[Ll][Kk]([0-9a-fA-F]{12})")
ADDRESS = re.compile(rb"\x5b\xad(.{6})", re.S)
TRANSPORTS = (6, 17, 33, 132, 136)


class Target:
    """What one run of one attack tries to carry out: unlike that of any other run."""
    # below the ephemeral ports: those of other connections' answers must not be taken for ours
    lock, port, last = threading.Lock(), 10000 + secrets.randbelow(5000), 32767

    def __init__(self):
        with Target.lock:
            Target.port += 1
            assert Target.port <= Target.last, "more runs than ports"
            self.port = Target.port
        self.token = secrets.token_bytes(6)
        self.mark = "LK" + self.token.hex()
        words = ":".join(self.token[i:i + 2].hex() for i in (0, 2, 4))
        self.v6 = f"2001:db8:bad::5bad:{words}"
        self.onlink6 = f"2001:db8:e2e::5bad:{words}"
        self.group6 = f"ff1e::5bad:{words}"
        self.group4 = "239." + ".".join(str(b) for b in self.token[:3])

    def environment(self):
        return {"MARK": self.mark, "PORT": str(self.port), "V4": "198.51.100.77", "V6": self.v6,
                "ONLINK6": self.onlink6, "GROUP4": self.group4, "GROUP6": self.group6,
                "ORIGIN4": "203.0.113.10", "HOST4": w.HOST_V4, "HOST6": w.HOST_V6}


class Watch(threading.Thread):
    """Every frame that arrives at the far end of a wire; remembers whose it was."""
    wires = ("wire", "wire2")

    def __init__(self, world):
        super().__init__(daemon=True)
        with world.in_origin():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.tokens, self.ports, self.groups, self.frames = {}, {}, {}, 0
        self.start()

    def run(self):
        while True:
            frame, address = self.socket.recvfrom(65535)
            if address[2] != socket.PACKET_OUTGOING and address[0] in self.wires:
                self.look(frame)

    def look(self, frame):
        self.frames += 1
        marks = TEXT.findall(frame)
        for mark in marks:
            self.tokens[bytes.fromhex(mark.decode())] = frame
        if marks:
            return  # it is known whose it is; and behind a raw header, text would pass for ports
        for match in ADDRESS.finditer(frame):
            self.tokens[match[1]] = frame
        kind = frame[12:14]
        if kind == b"\x08\x00":
            protocol, header = frame[23], 14 + (frame[14] & 15) * 4
            if protocol == 2:
                for at in range(14, len(frame) - 3):
                    if frame[at] == 239:
                        self.groups[frame[at + 1:at + 4]] = frame
        elif kind == b"\x86\xdd":
            protocol, header = frame[20], 54
        else:
            return
        if protocol in TRANSPORTS and len(frame) >= header + 4:
            self.ports[struct.unpack("!H", frame[header + 2:header + 4])[0]] = frame

    def saw(self, target):
        """The frame that gave it away, or None."""
        return (self.tokens.get(target.token) or self.ports.get(target.port)
                or self.groups.get(target.token[:3]))

    def settle(self):
        """Returns when everything that is under way has arrived: there is traffic of others all the
        time, so a frame of our own comes last."""
        time.sleep(0.3)
        end = time.monotonic() + 20
        token = secrets.token_bytes(6)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            while token not in self.tokens and time.monotonic() < end:
                try:
                    s.sendto(b"LK" + token.hex().encode(), ("203.0.113.10", 9))
                except OSError:
                    pass  # an attack of another setting may have its hands on the wire
                time.sleep(0.05)
        if token not in self.tokens:
            raise RuntimeError("the sniffer does not see the wire")


def finish_checksums(name):
    """As network cards do; a veth leaves it to whoever needs them."""
    value = array.array("I", [0x17, 0])  # ETHTOOL_STXCSUM
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8946, struct.pack("16sQ16x", name.encode(), value.buffer_info()[0]))


class Arena(w.World):
    def __init__(self, program, attack):
        super().__init__(program)
        # a copy: others may build while this runs
        self.program = shutil.copy(self.program, self.path("egress-bpf"))
        self.tag = f"attack-{secrets.token_hex(3)}"
        self.cgroup = os.path.join(w.cgroup_root(), "egress-e2e-" + self.tag)
        self.attack_source = os.path.abspath(attack)

    def make_repository(self):
        pass

    def build(self):
        super().build()
        for name in ("attack", "agent.py", "attacks.py", "games.py", "games_h2.py", "h2_frames.py",
                     "outsider.py"):
            source = self.attack_source if name == "attack" else os.path.join(HERE, name)
            w.sh(["install", "-m", "755", source, self.path(name)])
        self.outside = self.path("outside")  # what a container's own root would not show
        os.mkdir(self.outside)
        os.chmod(self.outside, 0o755)
        self.watch = Watch(self)
        self.start_outsiders()

    def start_origins(self):
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            w.die_with_parent()
            w.unshare(w.CLONE_NEWNET)
            os.write(told, b"x")
            while True:
                time.sleep(3600)
        os.read(ready, 1)
        self.holder = pid
        self.origin_ns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        w.sh(f"""set -e
        ip link add {WIRE} type veth peer name wire netns {pid}
        ip addr add {w.HOST_V4}/24 dev {WIRE}; ip addr add {w.HOST_V6}/64 dev {WIRE} nodad
        ip link set {WIRE} up
        ip route add default via {w.GATEWAY_V4}
        echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
        echo 3 >/proc/sys/net/ipv4/tcp_fastopen""")
        with self.in_origin():
            w.sh(f"""set -e
            ip link set lo up; ip link set wire up
            ip addr add {w.GATEWAY_V4}/24 dev wire; ip addr add {w.GATEWAY_V6}/64 dev wire nodad
            ip route add local 198.51.100.0/24 dev lo
            ip -6 route add local 2001:db8:bad::/48 dev lo""")
            for address in sorted(set(w.HOSTS.values()) - {w.HOSTS["dead.example.test"]}):
                w.sh(f"ip addr add {address}/{64 if ':' in address else 24} dev wire"
                     f"{' nodad' if ':' in address else ''}")
            w.sh("ip addr add 2001:db8:e2e::18/64 dev wire nodad")
            self.spawn([PYTHON, "-B", os.path.join(w.HERE, "origin.py"), self.directory])
        w.sh(f"ip -6 route add default via {w.GATEWAY_V6}")
        finish_checksums(WIRE)
        self.wait_port("203.0.113.10", 443)

    def plug_in(self, pid):
        """A wire for a bottle: by a bridge to the far end, where it is sniffed, too."""
        w.sh(f"""set -e
        ip link add attackbr type bridge mcast_snooping 0; ip link set attackbr up
        ip link add to-origin2 type veth peer name wire2 netns {self.holder}
        ip link set to-origin2 master attackbr up
        ip link add {BOTTLE_WIRE} type veth peer name eth0 netns {pid}
        ip link set {BOTTLE_WIRE} master attackbr up""")
        finish_checksums("to-origin2")
        with self.in_origin():
            w.sh(f"""set -e
            ip addr add {BOTTLE_GATEWAY_V6}/128 dev wire2 nodad; ip link set wire2 up
            ip route add {BOTTLE_V4}/32 dev wire2; ip -6 route add {BOTTLE_V6}/128 dev wire2""")
        return (f"ip link set eth0 up; ip addr add {BOTTLE_V4}/24 dev eth0;"
                f"ip addr add {BOTTLE_V6}/64 dev eth0 nodad;"
                f"ip route add default via {w.GATEWAY_V4};"
                f"ip -6 route add default via {BOTTLE_GATEWAY_V6}")

    def unplug(self):
        for name in (BOTTLE_WIRE, "to-origin2", "attackbr"):
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)

    def start_outsiders(self):
        """Accomplices in the host's namespace, in no bottle; and one outside, who knocks."""
        self.outsider = self.spawn([PYTHON, "-B", self.path("outsider.py"), "relay", self.outside],
                                   stdout=subprocess.PIPE, text=True)
        if self.outsider.stdout.readline() != "ready\n":
            raise RuntimeError("the accomplice did not start")
        self.naive = self.spawn([PYTHON, "-B", self.path("outsider.py"), "naive", self.directory,
                                 str(NAIVE_PORT)], stdout=subprocess.PIPE, text=True,
                                env={**os.environ, **harness.SECRETS})
        self.naive.stdout.readline()
        with self.in_origin():
            self.spawn([PYTHON, "-B", self.path("outsider.py"), "sink"])
            self.knocker = subprocess.Popen(
                [PYTHON, "-B", self.path("outsider.py"), "knock"], stdin=subprocess.PIPE,
                text=True, preexec_fn=w.die_with_parent)
        self.children.append(self.knocker)

    @contextlib.contextmanager
    def squatters(self, proxy_port, dns_port):
        process = subprocess.Popen([PYTHON, "-B", self.path("outsider.py"), "squat", proxy_port,
                                    dns_port], stdout=subprocess.PIPE, text=True,
                                   preexec_fn=w.die_with_parent)
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def knock(self, port, address):
        self.knocker.stdin.write(f"{port} {address}\n")
        self.knocker.stdin.flush()
