# SPDX-License-Identifier: BSD-2-Clause
"""Every other way out is refused at once, without a packet, and counted under its reason."""
import json
import os

import world as w
import harness
from harness import Bottle, Case, PROGRAMS, PYTHON, run_exec

V4, V6 = "203.0.113.12", "2001:db8:e2e::12"
REFUSED = {"EPERM", "ECONNREFUSED", "EACCES"}
# What the kernel may answer before our program is asked, without anything leaving.
UNMADE = {"EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENETUNREACH", "EADDRNOTAVAIL", "EADDRINUSE",
          "ENOTSUP", "EINVAL", "EAFNOSUPPORT", "no wire", "EHOSTUNREACH"}
# Of these the sandbox must hear at once that it is policy.
IMMEDIATE = ("v4 literal", "v6 literal", "v4 mapped", "udp", "udp connected", "udp v6", "udp mapped",
             "quic", "quic connected", "raw icmp", "raw udp", "ping", "v4 metadata", "ntp")


class Attacks(Case):
    def judge(self, output):
        outcomes = json.loads(output)
        for name, (outcome, milliseconds) in outcomes.items():
            with self.subTest(attack=name):
                allowed = REFUSED if name in IMMEDIATE else REFUSED | UNMADE
                self.assertIn(outcome, allowed)
                self.assertLess(milliseconds, 500)
        return outcomes

    def nothing_left(self, sniffer):
        """Nothing but what the proxy itself sends to allowed hosts was on the wire."""
        bad = [p for p in sniffer.drain()
               if p[1] in (V4, V6, "169.254.169.254", "224.0.0.251") or p[0] not in (6, 58)]
        self.assertEqual(bad, [])
        self.assertEqual(self.arrived(), [])

    def command(self):
        return [PYTHON, os.path.join(PROGRAMS, "attacks.py"), V4, V6]

    def test_exec(self):
        sniffer = w.Sniffer(harness.world)
        self.judge(self.ok(run_exec(self.command())))
        self.nothing_left(sniffer)

    def test_exec_as_root(self):
        sniffer = w.Sniffer(harness.world)
        self.judge(self.ok(run_exec(self.command(), root=True)))
        self.nothing_left(sniffer)

    def in_bottle(self, root, shared):
        bottle = Bottle(shared=shared)
        try:
            sniffer = w.Sniffer(harness.world)
            outcomes = self.judge_bottle(bottle, root, shared)
            self.nothing_left_but(sniffer, root and shared)
            return bottle.status(), outcomes
        finally:
            bottle.stop()

    def judge_bottle(self, bottle, root, shared):
        output = self.ok(bottle.run(self.command(), root=root))
        outcomes = json.loads(output)
        if root:
            # Wall 0's business: with a wire in the namespace, root's packet sockets go past us.
            outcomes.pop("packet")
            if shared:
                outcomes.pop("bind to device")
        return self.judge(json.dumps(outcomes))

    def nothing_left_but(self, sniffer, packet_socket):
        bad = [p for p in sniffer.drain() if p[1] in (V4, V6) or p[0] not in (6, 58)]
        if packet_socket:
            bad = [p for p in bad if p != (17, V4, 9)]
        self.assertEqual(bad, [])

    def test_bottle_own_namespace(self):
        status, _ = self.in_bottle(root=False, shared=False)
        self.counted(status)

    def test_bottle_root_inside(self):
        self.in_bottle(root=True, shared=False)

    def test_bottle_shared_namespace(self):
        status, _ = self.in_bottle(root=False, shared=True)
        self.counted(status)
        self.assertFalse(status["walls"]["own_network_namespace"])

    def test_bottle_shared_namespace_root(self):
        self.in_bottle(root=True, shared=True)

    def counted(self, status):
        self.assertGreaterEqual(harness.find_counter(status, "address_not_allowed"), 10)
        # Raw, ping, UDP-Lite, SCTP, MPTCP and DCCP, as far as this kernel has them.
        self.assertGreaterEqual(harness.find_counter(status, "protocol_not_allowed"), 3)
        self.assertEqual(status["counters"]["steered"], 0)
        self.assertTrue(status["walls"]["whole"])


class Reasons(harness.BottleCase):
    """Each refusal of the kernel under its own reason."""

    def delta(self, reason, code, *arguments):
        before = self.bottle.counter(reason)
        self.bottle.python(code, *arguments)
        self.assertGreater(self.bottle.counter(reason), before, reason)

    def test_address(self):
        self.delta("address_not_allowed",
                   "import socket; socket.create_connection(('203.0.113.12', 443))")

    def test_port(self):
        self.delta("port_not_allowed",
                   "import socket; socket.create_connection(('api.example.test', 25))")

    def test_host(self):
        self.delta("host_not_allowed",
                   "import socket; socket.getaddrinfo('forbidden.example.test', 443)")

    def test_protocol(self):
        # UDP-Lite: who may open ping sockets the kernel decides before it asks us.
        self.delta("protocol_not_allowed",
                   "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM, 136)")

    def test_quic_to_an_allowed_host(self):
        self.delta("protocol_not_allowed",
                   "import socket as s; u = s.socket(s.AF_INET, s.SOCK_DGRAM);"
                   "u.sendto(b'x', (s.gethostbyname('api.example.test'), 443))")

    def test_path(self):
        self.delta_log("path_not_allowed", "https://api.example.test/other")

    def test_method(self):
        self.delta_log("method_not_allowed", "-X", "POST", "https://deep.wild.example.test/")

    def test_ambiguous(self):
        for path in ("/echo/%2e%2e/x", "/echo/../x", "/echo/a%2fx", "/echo%2fx", "/echo/%5c..%5cx", "/echo//x",
                     "/echo/%00", "/echo/\\x"):
            with self.subTest(path=path):
                self.delta_log("ambiguous_path", "https://api.example.test" + path)

    def delta_log(self, reason, *arguments):
        """A refusal by the proxy: 403, the reason in header, body, and log; nothing arrives."""
        mark, before = len(harness.origin_requests()), len(self.bottle.log())
        output = self.ok(self.bottle.curl("--path-as-is", "-D", "-", *arguments))
        head, _, body = output.partition("\n\n")
        self.assertIn(" 403 ", head)
        self.assertRegex(head.lower(), f"x-egress-reason: {reason}")
        answer = json.loads(body)
        self.assertEqual((answer["error"], answer["reason"]), ("egress_denied", reason))
        for key in ("host", "method", "path", "hint"):
            self.assertIn(key, answer)
        self.assertNotIn(harness.MARK, output)
        self.assertEqual(len(harness.origin_requests()), mark)
        line = harness.wait_for(lambda: self.bottle.log()[before:], 5, "a log line")[-1]
        self.assertEqual(line["reason"], reason)

    def test_wildcard_is_not_the_apex(self):
        self.ok(self.bottle.curl("-f", "https://deep.wild.example.test/"))
        self.assertNotEqual(self.bottle.curl("-f", "https://wild.example.test/").returncode, 0)

    def test_log_names_the_process(self):
        before = len(self.bottle.log())
        self.ok(self.bottle.curl("https://api.example.test/echo?secret=1"))
        line = harness.wait_for(lambda: self.bottle.log()[before:], 5, "a log line")[-1]
        text = json.dumps(line)
        self.assertIn('"curl"', text)
        self.assertIn("api.example.test", text)
        self.assertNotIn("secret=1", text)
        self.assertEqual((line["reason"], line["status"]), ("allowed", 200))


class ToldByExec(Case):
    """The last lines of exec name what was refused: what programs say of it is often less."""
    CURE = "; what is neither HTTP nor TLS needs protocol: tcp on its route"
    COMMAND = """curl -s https://api.example.test/nowhere
        for i in 1 2; do curl -s https://forbidden.example.test/; done
        curl -s https://api.example.test:8443/; curl -s https://203.0.113.12/
        curl -s 'https://[2001:db8:e2e::12]/'; true"""

    def told(self, command, *options):
        result = run_exec(["sh", "-c", command], *options)
        self.ok(result)
        return result.stderr.splitlines()

    def test_names_and_reasons(self):
        said = self.told(self.COMMAND)
        self.assertIn("egress-bpf: refused GET https://api.example.test/nowhere: path_not_allowed (1)", said)
        self.assertIn("egress-bpf: refused api.example.test:8443: port_not_allowed (1)", said)
        self.assertIn("egress-bpf: refused 203.0.113.12:443: address_not_allowed (1)", said)
        self.assertIn("egress-bpf: refused [2001:db8:e2e::12]:443: address_not_allowed (1)", said)
        # glibc asks for A and AAAA, some also for the name with a search domain.
        self.assertRegex("\n".join(said),
                         r"(?m)^egress-bpf: refused forbidden\.example\.test: host_not_allowed \(\d+\)$")
        self.assertIn(" allowed, ", said[-1])

    def test_bounded(self):
        said = self.told("for i in 1 2 3 4 5 6 7; do curl -s https://203.0.113.$((100 + i))/; done; true")
        self.assertEqual(sum(": address_not_allowed (1)" in line for line in said[:-1]), 5, said)
        self.assertIn("egress-bpf: refused 2 more; --log FILE has each, --report FILE the list", said)

    def test_not_http(self):
        """Answered at once: its client waits for an answer, as we would for the rest of a head."""
        code = """
import socket, ssl
def answer(host, port, data, tls=False):
    s = socket.create_connection((host, port))
    s.settimeout(15)
    if tls:
        s = ssl.create_default_context().wrap_socket(s, server_hostname=host)
    s.sendall(data)
    assert b"protocol: tcp" in s.recv(4096), (data, tls)
answer("api.example.test", 443, b"SSH-2.0-x" + bytes([13, 10]))
answer("api.example.test", 443, bytes([5, 1, 0]), tls=True)
answer("egress", 9099, bytes([5, 1, 0]))"""
        said = self.told(f"{harness.PYTHON} -c '{code}'")
        self.assertIn(f"egress-bpf: refused api.example.test:443: protocol_not_allowed (2){self.CURE}", said)
        self.assertIn("protocol_not_allowed (3)", said[-1])

    def test_server_that_speaks_first(self):
        """Its client waits, as we do: that is said while it waits, and again when it gives up."""
        code = ("import socket, time; s = socket.create_connection(('api.example.test', 587));"
                "time.sleep(4)")
        log = harness.world.path("speaks-first.log")
        said = self.told(f'{PYTHON} -c "{code}"', "--allow", "api.example.test:587", "--log", log)
        self.assertIn(f"egress-bpf: refused api.example.test:587: protocol_not_allowed (1){self.CURE}", said)
        with open(log, encoding="utf-8") as lines:
            records = [r for r in map(json.loads, lines) if r.get("port") == 587]
        self.assertEqual([r["reason"] for r in records], ["allowed", "protocol_not_allowed"])
        self.assertTrue(all("protocol: tcp" in r["detail"] for r in records), records)

    def test_udp_has_no_such_cure(self):
        code = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('api.example.test', 443))"
        self.assertIn("egress-bpf: refused api.example.test: protocol_not_allowed (1)",
                      self.told(f'{PYTHON} -c "{code}"; true'))

    def test_what_apt_asks_first(self):
        """The SRV of a web server's host is about that host, and no refusal where it is allowed."""
        dig = "dig +short -t SRV"
        said = self.told(f"{dig} _https._tcp.api.example.test; {dig} _http._tcp.forbidden.example.test")
        self.assertEqual(said[0], "egress-bpf: refused forbidden.example.test: host_not_allowed (1)")
        self.assertEqual(len(said), 2, said)

    def test_quiet(self):
        self.assertEqual(self.told(self.COMMAND, "-q"), [])

    def test_nothing_refused(self):
        said = self.told("curl -sf https://api.example.test/echo")
        self.assertEqual(len(said), 1, said)
