# SPDX-License-Identifier: BSD-2-Clause
"""Origins that answer as none should: the client gets a good answer or an end, never a second answer
that it did not ask for, never a credential; and the next request is served."""
import json
import os
import subprocess

import harness
from harness import MARK, PROGRAMS, BottleCase, measures
from test_http2 import H2CLIENT, pseudo
from test_volume import Peak

HOSTILE = os.path.join(PROGRAMS, "hostile.py")
ROUTES = """
  - host: h2.example.test
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
  - host: h2only.example.test
    auth: {header: x-api-key, token_env: E2E_TOKEN_1}
"""
# Each case with a good request behind it, on one connection; prints what came back.
PIPELINE = r"""
import json, socket, ssl, sys
host, cases = sys.argv[1], json.load(open(sys.argv[2]))
for name in cases:
    out = b""
    s = ssl._create_unverified_context().wrap_socket(socket.create_connection((host, 443), 5),
                                                     server_hostname=host)
    s.settimeout(15)
    try:
        for path in (name, "ok"):
            s.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while not out.endswith(b"fine") and (part := s.recv(65536)):
            out += part
            if len(out) > 1 << 24:
                break
    except TimeoutError:
        out += b"|HUNG"
    except OSError:
        pass
    print(json.dumps(out.decode("latin-1")), flush=True)
"""


class Hostile(BottleCase):
    origins = []

    @classmethod
    def setUpClass(cls):
        world = harness.world
        with world.in_origin():
            cls.origins = [world.spawn([harness.PYTHON, HOSTILE, world.directory, address, kind])
                           for address, kind in (("203.0.113.22", "h2"), ("203.0.113.23", "h1"))]
            for address in ("203.0.113.22", "203.0.113.23"):
                world.wait_port(address, 443)
        cls.bottle = harness.Bottle(harness.policy(ROUTES))

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        harness.world.end(*cls.origins)

    def cases(self, kind):
        return self.ok(subprocess.run([harness.PYTHON, HOSTILE, "list", "", kind], text=True,
                                      capture_output=True, check=False)).replace("blast", "").split()

    def judge(self, name, answer):
        with self.subTest(name):
            self.assertNotIn("HUNG", answer)
            head = json.loads(answer).get("headers") if answer[0:1] == "{" else answer.split("\r\n\r\n")[0]
            self.assertNotIn("x-poison", json.dumps(head).lower())
            self.assertNotIn("spoofed", answer)
            # In a trailer, too, only we may say why something was refused.
            self.assertNotRegex(answer.lower(), r'x-egress-reason(: |", ")[ax]["\r]')
            self.assertNotIn(MARK, answer)

    def over_http1(self, host, table):
        worker = self.bottle.worker()
        cases = self.cases(table)
        path = harness.write("hostile-cases", json.dumps(cases))
        lines = self.ok(self.bottle.python(PIPELINE, host, path, timeout=400)).splitlines()
        self.assertEqual(len(lines), len(cases))
        for name, line in zip(cases, lines):
            self.judge(name, json.loads(line))
        self.assertEqual(self.bottle.worker(), worker)

    def over_http2(self, host, table):
        worker = self.bottle.worker()
        cases = self.cases(table)
        scripts = [{"host": host, "wait": 15, "streams": 2, "frames": [
            {"headers": pseudo("/" + name, authority=host), "stream": 1},
            {"headers": pseudo("/ok", authority=host), "stream": 3}]} for name in cases]
        path = harness.write("hostile-cases", json.dumps(scripts))
        answers = json.loads(self.ok(self.bottle.run([harness.PYTHON, H2CLIENT, path], timeout=400)))
        for name, answer in zip(cases, answers):
            self.judge(name, json.dumps(answer["streams"].get("1", "HUNG")))
            self.assertNotIn(MARK, json.dumps(answer))
        self.assertEqual(self.bottle.worker(), worker)

    def test_h1_to_h1(self):
        self.over_http1("h2only.example.test", "h1")

    def test_h2_to_h1(self):
        self.over_http2("h2only.example.test", "h1")

    def test_h1_to_h2(self):
        self.over_http1("h2.example.test", "h2")

    def test_h2_to_h2(self):
        self.over_http2("h2.example.test", "h2")

    def test_what_came_before_a_reset(self):
        """Head and body as far as they came, and then the cut; also by a client that has no window."""
        h1, h2 = "h2only.example.test", "h2.example.test"
        for host in (h1, h2):
            with self.subTest(host):
                result = self.bottle.curl("--http1.1", "-i", f"https://{host}/head-rst")
                self.assertIn("x-early: 1", result.stdout.lower())
                self.assertIn(result.returncode, (18, 56), result.stderr)
                script = {"host": host, "wait": 15, "streams": 1, "settings": "000400000000", "frames": [
                    {"headers": pseudo("/head-rst", authority=host)}]}
                for settings in ("", "000400000000"):
                    path = harness.write("head-rst", json.dumps({**script, "settings": settings}))
                    answer = json.loads(self.ok(self.bottle.run([harness.PYTHON, H2CLIENT, path])))
                    stream = answer["streams"]["1"]
                    self.assertIn(["x-early", "1"], stream["headers"], stream)
                    self.assertEqual(stream["reset"], 2)
        path = harness.write("head-rst", json.dumps({"host": h2, "wait": 15, "streams": 1, "frames": [
            {"headers": pseudo("/rst-late", authority=h2)}]}))
        answer = json.loads(self.ok(self.bottle.run([harness.PYTHON, H2CLIENT, path])))
        self.assertEqual((answer["streams"]["1"]["body"], answer["streams"]["1"]["reset"]), ("part", 2))

    def test_the_record_says_who_ended_it(self):
        """Who looks for a fault is told whether the origin went away, said no, or said nonsense."""
        host = "h2.example.test"
        for name, detail in (("nothing", "the upstream closed before it answered"),
                             ("rst-1", "the upstream reset the stream: PROTOCOL_ERROR"),
                             ("rst-late", "the upstream reset the stream: INTERNAL_ERROR"),
                             ("crlf", "malformed response"), ("huge-frame", "malformed response"),
                             ("bad-trailer", "malformed response")):
            with self.subTest(name):
                self.bottle.curl(f"https://{host}/{name}")
                record = [r for r in self.bottle.log() if r.get("path") == "/" + name][-1]
                self.assertEqual((record["reason"], record["detail"]), ("upstream_protocol", detail))

    def test_given_up_before_an_origin_that_takes_nothing(self):
        """The client's reset ends its request, though more of it could be neither sent nor read."""
        code = """
import json, sys, time
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
c = Client("h2.example.test")
c.receive(0.3)  # SETTINGS, which say how much may be sent
c.socket.sendall(c.headers(json.loads(sys.argv[3]), 1, False) + frame(0, 0, 1, b"d" * 16000) * 15)
print("sent", flush=True)
time.sleep(1)
c.socket.sendall(frame(3, 0, 1, bytes(4)))
time.sleep(60)
"""
        process = self.bottle.popen([harness.PYTHON, "-c", code, H2CLIENT,
                                     json.dumps(pseudo("/silent", "POST", "h2.example.test"))],
                                    stdout=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "sent\n")
        harness.wait_for(lambda: [r for r in self.bottle.log() if r.get("path") == "/silent"], 10, "its record")
        self.assertIsNone(process.poll())

    @measures
    def test_amplified_heads(self):
        """A head of 60 KiB costs an origin thirty bytes: those that nobody waits for are not kept."""
        worker = self.bottle.worker()
        with Peak(worker) as peak:
            before = harness.memory_kib(worker)
            for _ in range(3):
                self.bottle.curl("https://h2.example.test/amplified")
        self.assertLess(peak.peak, before + harness.room_kib(8 * 1024))

    def test_z_log(self):
        with open(self.bottle.log_path, encoding="utf-8") as file:
            self.assertNotIn(MARK, file.read())
