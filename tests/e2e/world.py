# SPDX-License-Identifier: BSD-2-Clause
"""A private world for the end-to-end tests: mount and network namespaces of our own, a fresh bpffs,
a network namespace with the origins, and a wire between the two that is watched.

Nothing of the machine is touched but cgroupfs, and there only below CGROUP. Everything else is gone
with the last process."""
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWNET, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x40000000, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

HOST_V4, HOST_V6 = "203.0.113.1", "2001:db8:e2e::1"
GATEWAY_V4, GATEWAY_V6 = "203.0.113.2", "2001:db8:e2e::2"
# Names of the world; all but bulk and peer are served by origin.py.
HOSTS = {
    "api.example.test": "203.0.113.10", "second.example.test": "203.0.113.11",
    "forbidden.example.test": "203.0.113.12", "pinned.example.test": "203.0.113.13",
    "git.example.test": "203.0.113.14", "deep.wild.example.test": "203.0.113.15",
    "wild.example.test": "203.0.113.15", "tcp.example.test": "203.0.113.16",
    "six.example.test": "2001:db8:e2e::17", "both.example.test": "203.0.113.18",
    "bulk.example.test": "203.0.113.20", "badcert.example.test": "203.0.113.21",
    # By test_http2.py: HTTP/2 and HTTP/1.1; HTTP/2 only; gRPC; HTTP/2 only, with extended CONNECT.
    "h2.example.test": "203.0.113.22", "h2only.example.test": "203.0.113.23",
    "grpc.example.test": "203.0.113.24", "h2ws.example.test": "203.0.113.26",
    "bulk2.example.test": "203.0.113.25",  # as bulk, with HTTP/2
    "dead.example.test": "203.0.113.99",
}


def check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    check(LIBC.unshare(flags), "unshare")


def setns(fd):
    check(LIBC.setns(fd, 0), "setns")


def mount(source, target, kind, flags=0):
    check(LIBC.mount(source.encode(), target.encode(), kind and kind.encode(), flags, None),
          f"mount {target}")


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def sh(command, **options):
    return subprocess.run(command, shell=isinstance(command, str), check=True, text=True,
                          capture_output=True, **options).stdout


def cgroup_root():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            if " - cgroup2 " in line:
                return line.split()[4]
    raise RuntimeError("cgroup v2 is not mounted")


def bind_file(directory, name, target, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
    mount(path, os.path.realpath(target), None, MS_BIND)


class Sniffer:
    """Every packet that arrives at the origins' end of the wire."""

    def __init__(self, world):
        with world.in_origin():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.socket.bind(("wire", 3))
        self.socket.setblocking(False)

    def drain(self):
        """A list of (protocol number, destination address, destination port)."""
        seen = []
        while True:
            try:
                frame, address = self.socket.recvfrom(65535)
            except BlockingIOError:
                return seen
            if address[2] == socket.PACKET_OUTGOING:
                continue
            kind = struct.unpack("!H", frame[12:14])[0]
            if kind == 0x0800:
                protocol, header = frame[23], 14 + (frame[14] & 15) * 4
                destination = socket.inet_ntop(socket.AF_INET, frame[30:34])
            elif kind == 0x86DD:
                protocol, header = frame[20], 54
                destination = socket.inet_ntop(socket.AF_INET6, frame[38:54])
                if protocol == 58 and frame[54] >= 130 or destination.startswith("ff02::"):
                    continue  # neighbour discovery of the wire itself
            else:
                continue
            port = struct.unpack("!H", frame[header + 2:header + 4])[0] if protocol in (6, 17) else 0
            seen.append((protocol, destination, port))

    def close(self):
        self.socket.close()


class InNamespace:
    def __init__(self, target, home):
        self.target, self.home = target, home

    def __enter__(self):
        setns(self.target)

    def __exit__(self, *_):
        setns(self.home)


class World:
    def __init__(self, program):
        self.program = os.path.abspath(program)
        self.children = []
        self.holder = None
        self.directory = tempfile.mkdtemp(prefix="egress-e2e-")
        os.chmod(self.directory, 0o755)
        self.cgroup = os.path.join(cgroup_root(), f"egress-e2e-{os.getpid()}")
        self.origin_log = self.path("origin.log")

    def path(self, name):
        return os.path.join(self.directory, name)

    def build(self):
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        unshare(CLONE_NEWNS | CLONE_NEWNET)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("bpf", "/sys/fs/bpf", "bpf")
        os.makedirs("/run/egress-bpf", 0o700, exist_ok=True)
        mount("none", "/run/egress-bpf", "tmpfs")
        os.mkdir(self.cgroup)
        os.mkdir(self.path("home"))
        os.chmod(self.path("home"), 0o777)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        sh("ip link set lo up")
        names = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
        names += "2001:db8:e2e::18 both.example.test\n"
        bind_file(self.directory, "hosts", "/etc/hosts",
                  "127.0.0.1 localhost\n::1 localhost\n" + names)
        bind_file(self.directory, "resolv.conf", "/etc/resolv.conf",
                  f"nameserver {GATEWAY_V4}\noptions timeout:1 attempts:1\n")
        self.make_certificates()
        self.trust_certificates()
        self.make_repository()
        self.start_origins()

    def in_origin(self):
        return InNamespace(self.origin_ns, self.home)

    def make_certificates(self):
        names = ",".join(f"DNS:{name}" for name in HOSTS if name != "badcert.example.test")
        sh(f"""set -e; cd {self.directory}
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=e2e test CA' -keyout test-ca.key -out test-ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=origin' \
            -keyout origin.key -out origin.csr
        printf 'subjectAltName={names},IP:203.0.113.10\\nextendedKeyUsage=serverAuth\\n' >ext
        openssl x509 -req -in origin.csr -CA test-ca.pem -CAkey test-ca.key -days 30 \
            -CAcreateserial -extfile ext -out origin.pem
        chmod 600 *.key""")

    def trust_certificates(self):
        """The test CA is a root of this machine, as far as this mount namespace goes."""
        certs = self.path("certs")
        shutil.copytree("/etc/ssl/certs", certs, symlinks=True)
        name = sh(f"openssl x509 -hash -noout -in {self.path('test-ca.pem')}").strip()
        shutil.copy(self.path("test-ca.pem"), os.path.join(certs, name + ".0"))
        bundle = os.path.join(certs, "ca-certificates.crt")
        with open(bundle, "a", encoding="utf-8") as file, \
             open(self.path("test-ca.pem"), encoding="utf-8") as added:
            file.write(added.read())
        sh(f"chmod -R a+rX {certs}")
        mount(certs, "/etc/ssl/certs", None, MS_BIND)

    def make_repository(self):
        sh(f"""set -e; cd {self.directory}; mkdir work; cd work
        export HOME={self.directory} GIT_CONFIG_NOSYSTEM=1
        git init -q -b main .; echo 'hello from the origin' >README
        head -c 3000000 /dev/urandom >blob; git add .
        git -c user.name=e2e -c user.email=e2e@example.test commit -qm first
        git clone -q --bare . ../repositories/private.git
        git -C ../repositories/private.git config http.receivepack true""")

    def start_origins(self):
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            unshare(CLONE_NEWNET)
            os.write(told, b"x")
            while True:
                time.sleep(3600)
        os.read(ready, 1)
        self.holder = pid
        self.origin_ns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        sh(f"ip link add to-origin type veth peer name wire netns {pid}")
        sh(f"""set -e
        ip addr add {HOST_V4}/24 dev to-origin; ip addr add {HOST_V6}/64 dev to-origin nodad
        ip link set to-origin up
        # Everything that leaves goes down the wire, so that whatever leaks is seen.
        ip route add default via {GATEWAY_V4}""")
        with self.in_origin():
            sh("ip link set lo up; ip link set wire up")
            sh(f"ip addr add {GATEWAY_V4}/24 dev wire; ip -6 addr add {GATEWAY_V6}/64 dev wire nodad")
            for address in sorted(set(HOSTS.values()) - {HOSTS["dead.example.test"]}):
                sh(f"ip addr add {address}/{64 if ':' in address else 24} dev wire"
                   f"{' nodad' if ':' in address else ''}")
            sh("ip addr add 2001:db8:e2e::18/64 dev wire nodad")
            self.spawn(["/usr/bin/python3", "-B", os.path.join(HERE, "origin.py"), self.directory])
            self.start_nginx()
        sh(f"ip -6 route add default via {GATEWAY_V6}")
        self.wait_port("203.0.113.10", 443)
        self.wait_port("203.0.113.20", 443)

    def start_nginx(self):
        root = self.path("www")
        os.mkdir(root)
        with open(os.path.join(root, "gib"), "wb") as file:
            file.truncate(1 << 30)
        with open(os.path.join(root, "small"), "wb") as file:
            file.write(b"small\n")
        with open(os.path.join(root, "kib"), "wb") as file:
            file.write(b"k" * 1024)
        sh(f"chmod -R a+rX {root}")
        with open(self.path("nginx.conf"), "w", encoding="utf-8") as file:
            file.write(f"""
                daemon off; user root; worker_processes 1; pid {self.path('nginx.pid')};
                error_log {self.path('nginx.err')} crit; worker_rlimit_nofile 8192;
                events {{ worker_connections 4096; }}
                http {{
                    access_log off; root {root}; keepalive_requests 100000; sendfile on;
                    client_body_temp_path {self.path('ngx-body')};
                    proxy_temp_path {self.path('ngx-proxy')};
                    fastcgi_temp_path {self.path('ngx-f')}; uwsgi_temp_path {self.path('ngx-u')};
                    scgi_temp_path {self.path('ngx-s')};
                    ssl_certificate {self.path('origin.pem')};
                    ssl_certificate_key {self.path('origin.key')};
                    ssl_protocols TLSv1.2 TLSv1.3;
                    log_format look '$ssl_protocol $ssl_cipher $server_protocol $connection '
                                    '$http_host|$http_authorization';
                    server {{ listen 203.0.113.20:443 ssl; listen 203.0.113.20:80;
                              server_name bulk.example.test;
                              location = /kib/look {{ access_log {self.path('look.log')} look;
                                                      return 200 look; }} }}
                    server {{ listen 203.0.113.25:443 ssl http2; server_name bulk2.example.test;
                              keepalive_requests 100000000;
                              location = /kib/look {{ access_log {self.path('look.log')} look;
                                                      return 200 look; }} }}
                    server {{ listen 203.0.113.21:443 ssl; server_name badcert.example.test; }}
                }}""")
        self.spawn([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-c",
                    self.path("nginx.conf"), "-p", self.directory])

    def spawn(self, command, **options):
        """A helper that dies with us."""
        process = subprocess.Popen(command, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL,
                                   **options)
        self.children.append(process)
        return process

    def end(self, *processes):
        """What spawn() gave ends before us."""
        for process in processes:
            process.kill()
            process.wait()
            self.children.remove(process)

    @staticmethod
    def wait_port(address, port, seconds=40):
        end = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((address, port), 1).close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise RuntimeError(f"{address}:{port} never answered: {error}") from error
                time.sleep(0.05)

    def destroy(self):
        for process in self.children:
            process.terminate()
        for process in self.children:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.holder:
            os.kill(self.holder, signal.SIGKILL)
            os.waitpid(self.holder, 0)
        remove_cgroup(self.cgroup)
        shutil.rmtree(self.directory, ignore_errors=True)


def end_in_order():
    """SIGTERM, and the end of the terminal, end the program as an exception does: what it made is taken
    away. Not where whoever started it wants it to go on (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(1))


def cgroup_pids(path):
    pids = []
    for directory, _, _ in os.walk(path):
        try:
            with open(os.path.join(directory, "cgroup.procs"), encoding="utf-8") as file:
                pids += [int(line) for line in file]
        except OSError:
            pass
    return pids


def remove_cgroup(path):
    """Kills what is in it and removes it with its children."""
    end = time.monotonic() + 5
    while os.path.isdir(path) and time.monotonic() < end:
        for pid in cgroup_pids(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for directory, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                time.sleep(0.02)


if __name__ == "__main__":
    sys.exit("run tests/e2e/run.py")
