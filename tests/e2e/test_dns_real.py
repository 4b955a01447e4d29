# SPDX-License-Identifier: BSD-2-Clause
"""dns.mode real: true addresses for programs that refuse reserved ranges. Which host is meant, SNI
and Host alone say then; the kernel still lets nobody to an address that no allowed name has."""
import json
import subprocess

import world as w
import harness
from harness import Bottle, Case, PYTHON, SECRETS, policy, run_exec, wait_for
from test_identity import CLIENT

REAL = "dns: {mode: real}\n"
RESOLVE = r"""
import json, socket, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = sorted({x[4][0] for x in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        found[name] = [str(error.errno)]
print(json.dumps(found))
"""
BY_ADDRESS = r"""
import errno, socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    print("connected")
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
"""
HOLD = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7000), 5)
s.sendall(b"ping")
print(s.recv(4).decode(), flush=True)
s.settimeout(15)
try:
    print("end" if s.recv(1) == b"" else "bytes", flush=True)
except ConnectionResetError:
    print("end", flush=True)
"""


class RealCase(Case):
    def names(self, output):
        found = json.loads(output)
        self.assertEqual(found["api.example.test"], [w.HOSTS["api.example.test"]])
        self.assertEqual(found["six.example.test"], [w.HOSTS["six.example.test"]])
        self.assertEqual(found["both.example.test"],
                         sorted([w.HOSTS["both.example.test"], "2001:db8:e2e::18"]))
        self.assertEqual(found["localhost"], sorted(["127.0.0.1", "::1"]))
        for name in ("forbidden.example.test", "wild.example.test"):
            self.assertRegex(found[name][0], "^-")

    NAMES = ("api.example.test", "six.example.test", "both.example.test", "localhost",
             "forbidden.example.test", "wild.example.test")


class Exec(RealCase):
    def run_real(self, *command, **options):
        return self.ok(run_exec([*command], policy_text=policy(extra=REAL), **options))

    def test_names(self):
        self.names(self.run_real(PYTHON, "-c", RESOLVE, *self.NAMES))

    def test_request_and_credential(self):
        output = self.run_real("curl", "-sS", "https://api.example.test/echo")
        self.assertNotIn(harness.MARK, output)
        self.assertEqual([self.header(r, "authorization") for r in self.arrived()],
                         [["Bearer " + SECRETS["E2E_TOKEN_0"]]])

    def test_ipv6(self):
        self.run_real("curl", "-sSf", "https://six.example.test/echo")
        self.assertEqual([r["address"] for r in self.arrived()], [w.HOSTS["six.example.test"]])

    def test_address_without_its_name(self):
        self.assertIn(self.run_real(PYTHON, "-c", BY_ADDRESS, w.HOSTS["api.example.test"], "443")
                      .strip(), ("EPERM", "ECONNREFUSED"))


class Run(RealCase):
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(policy(extra=REAL))
        self.addCleanup(self.bottle.stop)

    def ask(self, dial, sni, host, port=443):
        return self.bottle.python(CLIENT, dial, sni, host, "", str(port)).stdout

    def reload(self, text):
        before = self.bottle.errors().count("policy reloaded")
        self.bottle.reload(text)
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > before, 10, "the reload")

    def test_names_and_requests(self):
        before = self.bottle.counter("address_not_allowed")
        self.names(self.ok(self.bottle.python(RESOLVE, *self.NAMES)))
        self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))
        self.ok(self.bottle.curl("-f", "http://both.example.test/echo"))
        self.ok(self.bottle.curl("-f", "https://pinned.example.test/echo", "-k"))
        self.assertEqual([r["sni"] for r in self.arrived()],
                         ["api.example.test", None, "pinned.example.test"])
        self.assertEqual(self.bottle.counter("address_not_allowed"), before)

    def test_own_pages(self):
        """The one name that has no true address."""
        self.assertIn("ok", self.ok(self.bottle.curl("http://_egress.local/health")))
        self.assertNotEqual(self.bottle.curl("-k", "--max-time", "5",
                                             "https://_egress.local/health").returncode, 0)

    def test_other_names_of_the_address(self):
        """wild.example.test is where deep.wild.example.test is, and no route names it."""
        self.ok(self.bottle.curl("-f", "https://deep.wild.example.test/"))
        self.mark = len(harness.origin_requests())
        address = w.HOSTS["wild.example.test"]
        for sni, host, port in (("wild.example.test",) * 2 + (443,),
                                ("deep.wild.example.test", "wild.example.test", 443),
                                ("forbidden.example.test", "deep.wild.example.test", 443),
                                ("", "deep.wild.example.test", 443),
                                (address, address, 443),
                                ("-", "wild.example.test", 80), ("-", address, 80)):
            with self.subTest(sni=sni, host=host, port=port):
                output = self.ask(address, sni, host, port)
                self.assertNotIn("HTTP/1.1 200 OK", output)
                self.assertTrue("closed:" in output or "_not_allowed" in output
                                or "name_mismatch" in output, output)
        self.assertEqual(self.arrived(), [])

    def test_credential_goes_to_its_own_host(self):
        """At another allowed host's address the SNI decides, and the proxy dials that name itself."""
        self.ok(self.bottle.python(RESOLVE, "both.example.test"))
        output = self.ask(w.HOSTS["both.example.test"], "api.example.test", "api.example.test")
        self.assertIn("HTTP/1.1 200 OK", output)
        request, = self.arrived()
        self.assertEqual(request["address"], w.HOSTS["api.example.test"])
        output = self.ask(w.HOSTS["both.example.test"], "both.example.test", "api.example.test")
        self.assertIn("name_mismatch", output)
        self.assertEqual(len(self.arrived()), 1)

    def test_addresses_and_ports(self):
        self.ok(self.bottle.python(RESOLVE, "api.example.test"))
        for address, port in ((w.HOSTS["forbidden.example.test"], 443),
                              (w.HOSTS["second.example.test"], 443),
                              (w.HOSTS["api.example.test"], 25)):
            outcome = self.bottle.python(BY_ADDRESS, address, str(port)).stdout.strip()
            self.assertIn(outcome, ("EPERM", "ECONNREFUSED"), (address, port))

    def test_raw_tcp(self):
        """No name in it: such a host keeps a synthetic address, or nobody could tell it."""
        found = json.loads(self.ok(self.bottle.python(RESOLVE, "tcp.example.test")))
        self.assertRegex(found["tcp.example.test"][0], r"^198\.1[89]\.")
        process = self.bottle.popen([PYTHON, "-c", HOLD, "tcp.example.test"],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "ping\n")

    def test_reload(self):
        self.ok(self.bottle.curl("-f", "https://second.example.test/echo"))
        less = harness.ROUTES.replace("""  - host: second.example.test
    auth: {header: x-api-key, token_env: E2E_TOKEN_1}
""", "")
        self.assertNotEqual(less, harness.ROUTES)
        self.reload(policy(less, extra=REAL))
        self.mark = len(harness.origin_requests())
        address = w.HOSTS["second.example.test"]
        self.assertIn(self.bottle.python(BY_ADDRESS, address, "443").stdout.strip(),
                      ("EPERM", "ECONNREFUSED"))
        self.assertNotEqual(self.bottle.curl("https://second.example.test/echo").returncode, 0)
        # Nor by the address of a host that stays.
        output = self.ask("both.example.test", "second.example.test", "second.example.test")
        self.assertNotIn("200 OK", output)
        self.assertEqual(self.arrived(), [])
        self.reload(policy(extra=REAL))
        self.ok(self.bottle.curl("-f", "https://second.example.test/echo"))

    def test_reload_keeps_what_was_given_out(self):
        """A program that asked before the reload connects after it without asking again."""
        self.ok(self.bottle.curl("-f", "https://second.example.test/echo"))
        self.reload(policy(extra=REAL))
        output = self.bottle.python(BY_ADDRESS, w.HOSTS["second.example.test"], "443").stdout
        self.assertEqual(output, "connected\n")

    def test_mode_changes_on_reload(self):
        self.reload(policy())
        found = json.loads(self.ok(self.bottle.python(RESOLVE, "api.example.test")))
        self.assertRegex(found["api.example.test"][0], r"^198\.1[89]\.")
        self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))
        self.reload(policy(extra=REAL))
        found = json.loads(self.ok(self.bottle.python(RESOLVE, "api.example.test")))
        self.assertEqual(found["api.example.test"], [w.HOSTS["api.example.test"]])
        self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))
