# SPDX-License-Identifier: BSD-2-Clause
"""The proxies that bench compares, each started with the configuration beside this file, and how much
CPU each has had. All do the same work: TLS in, rules on host and path, one header set, TLS to the same
nginx with the same cipher suite, one line of log for a request; sslsplit knows no HTTP. One thread each
where they can be told."""
import contextlib
import glob
import os
import resource
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import harness  # noqa: E402
import world as w  # noqa: E402

HOST, ORIGIN, ORIGIN2 = "bulk.example.test", "203.0.113.20", "203.0.113.25"  # the second: HTTP/2
NOBODY = 65534
PACKAGES = {"haproxy": "haproxy", "nginx": "nginx-light", "squid": "squid-openssl",
            "sslsplit": "sslsplit", "mitmproxy": "mitmproxy"}
COMMANDS = {"squid": "security_file_certgen", "mitmproxy": "mitmdump"}
PATH = "/usr/bin:/usr/sbin:/usr/lib/squid"
ROUTE = """
  - host: bulk.example.test
    path_allowlist: [/kib, /gib]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
  - host: bulk2.example.test
    path_allowlist: [/kib]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
"""
OTHERS = "".join(f"""
  - host: h{i}.example.com
    path_allowlist: [/a/{i}, /b]""" for i in range(99))
SPLICED = """
  - host: bulk.example.test
    tls: passthrough
"""


def many_routes(count):
    return ROUTE + "".join(f"\n  - host: x{i}.example.net\n    path_allowlist: [/a/]"
                           for i in range(count - 2)) + "\n"


def family(pid):
    """A process with all that descend from it."""
    return [pid, *(p for child in harness.children(pid) for p in family(child))]


def cpu_of(pids):
    """By process, in ns: what its threads had of a CPU, the kernel's work in their name and the
    soft interrupts that it raised included."""
    total = {}
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
                total[path] = int(file.read().split()[0])
    return total


def surroundings():
    return {**os.environ, "OPENSSL_CONF": os.path.join(HERE, "openssl.cnf")}


class Proxy:
    """port: where a client that does not go through a bottle reaches it."""
    name, address, port = "", "localhost", 443

    @property
    def url(self):
        return f"https://{self.address}" + ("" if self.port == 443 else f":{self.port}")

    def pids(self):
        return []

    def cpu(self):
        return cpu_of(self.pids())

    def used(self, before):
        """ns since `before`. A thread that ended took what it had in between with it: a peer looks
        cheaper then than it is, and ours may not."""
        after = self.cpu()
        gone = set(before) - set(after)
        if gone and isinstance(self, Ours):
            sys.exit(f"bench: threads ended while they were measured: {gone}")
        return sum(after.values()) - sum(before[path] for path in before if path not in gone)

    def popen(self, command, **options):
        return subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, env=surroundings(),
                                **options)

    def run(self, command, timeout=300):
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate(timeout=timeout)
        if process.returncode != 0:
            sys.exit(f"bench: {self.name}: {command}: {output} {errors}")
        return output

    @contextlib.contextmanager
    def reachable(self):
        yield


class Direct(Proxy):
    """No proxy at all."""
    name, address = "direct", HOST


class Peer(Proxy):
    """A proxy in the harness's own network namespace."""
    def __init__(self, world, name, port, command, ready_port=None):
        self.name, self.port = name, port
        self.log = open(world.path(name + ".log"), "wb")
        # Peers keep to the soft limit, and a thousand clients take two thousand descriptors.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = f"--nofile={min(most, 20000)}"
        self.process = world.spawn(["prlimit", limit, *command], stdout=self.log,
                                   stderr=subprocess.STDOUT, env=surroundings())
        world.wait_port("127.0.0.1", ready_port or port, 30)

    def pids(self):
        return family(self.process.pid)


class Squid(Peer):
    """Takes only connections that netfilter redirected to it: those of a user of their own, and only
    while it is its turn, since the tracking of connections costs everybody."""
    address = HOST

    @property
    def url(self):
        return f"https://{HOST}"

    @contextlib.contextmanager
    def reachable(self):
        w.sh(f"""nft -f - <<E
            table ip bench {{
                chain out {{
                    type nat hook output priority -100
                    ip daddr {ORIGIN} tcp dport 443 meta skuid {NOBODY} redirect to :8445
                }}
            }}
E""")
        listening, self.port = self.port, 443
        try:
            yield
        finally:
            self.port = listening
            w.sh("nft delete table ip bench")

    def popen(self, command, **options):
        return super().popen(command, user=NOBODY, group=NOBODY, extra_groups=[], **options)


class Ours(Proxy):
    name, address = "egress-bpf", HOST

    def __init__(self, routes, workers=1):
        self.bottle = harness.Bottle(harness.policy(routes), options=["--workers", str(workers)])

    def pids(self):
        return family(self.bottle.process.pid)

    def popen(self, command, **options):
        return self.bottle.popen(command, **options)

    def stop(self):
        self.bottle.stop()


def configuration(world, name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        text = file.read()
    for word, value in (("DIRECTORY", world.directory), ("ORIGIN", ORIGIN), ("ORIGIN2", ORIGIN2)):
        text = text.replace(f"@{word}@", value)
    return harness.write("peer-" + name, text)


def start_squid(world):
    home = world.path("squid")
    os.mkdir(home)
    w.sh(f"cat {world.path('test-ca.pem')} {world.path('test-ca.key')} >{home}/ca.pem\n"
         f"/usr/lib/squid/security_file_certgen -c -s {home}/certificates -M 16MB\n"
         f"chown -R proxy {home}; chmod 700 {home}")
    # A connection that was not redirected, and it takes no more of them: another port tells.
    return Squid(world, "squid", 8445, ["squid", "-N", "-f", configuration(world, "squid.conf")],
                 8455)


def start_sslsplit(world):
    return Peer(world, "sslsplit", 8446, [
        "sslsplit", "-u", "root", "-k", world.path("test-ca.key"), "-c", world.path("test-ca.pem"),
        "-K", world.path("origin.key"), "-l", world.path("sslsplit-connections.log"),
        "ssl", "127.0.0.1", "8446", ORIGIN, "443"])


def start_mitmproxy(world):
    return Peer(world, "mitmproxy", 8447, [
        "mitmdump", "-q", "--mode", f"reverse:https://{HOST}", "--listen-host", "127.0.0.1",
        "--listen-port", "8447", "--set", "confdir=" + world.path("mitmproxy"), "--set",
        "ssl_verify_upstream_trusted_ca=" + world.path("test-ca.pem"), "-s",
        os.path.join(HERE, "mitm_rules.py"), "--set", "rules_log=" + world.path("mitm-rules.log")])


def start_haproxy(world):
    return Peer(world, "haproxy", 8443, ["haproxy", "-db", "-f",
                                         configuration(world, "haproxy.cfg")])


def start_nginx(world):
    return Peer(world, "nginx", 8444, ["nginx", "-c", configuration(world, "nginx.conf"), "-p",
                                       world.directory])


START = {"haproxy": start_haproxy, "nginx": start_nginx, "squid": start_squid,
         "sslsplit": start_sslsplit, "mitmproxy": start_mitmproxy}


def missing():
    return [name for name in START if not shutil.which(COMMANDS.get(name, name), path=PATH)]


class Peers:
    """Those of `names` that are installed, each started when it is wanted first."""
    def __init__(self, world, names):
        self.world, self.running = world, {}
        self.names = [name for name in START if name in names and name not in missing()]
        os.environ["PATH"] += ":" + PATH
        with open(world.path("origin.key"), encoding="utf-8") as key, \
             open(world.path("origin.pem"), encoding="utf-8") as pem:
            harness.write("peer.pem", pem.read() + key.read(), 0o600)

    def get(self, name):
        """None: it is not there, or nobody wants it."""
        if name in self.names and name not in self.running:
            self.running[name] = START[name](self.world)
        return self.running.get(name)
