# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/2 across the proxy: from clients that speak it to origins that do or do not."""
import hashlib
import json
import os
import re
import subprocess

import harness
from harness import BottleCase, PROGRAMS, PYTHON, SECRETS, measures, run_exec
from test_programs import go_program, java_class
from test_volume import Peak

H2CLIENT = os.path.join(PROGRAMS, "h2client.py")
TOKEN_HASH = "sha256:" + hashlib.sha256(b"Bearer " + SECRETS["E2E_TOKEN_0"].encode()).hexdigest()


def pseudo(path="/echo", method="GET", authority="api.example.test", scheme="https"):
    return [[":method", method], [":scheme", scheme], [":authority", authority], [":path", path]]


class Http2Case(BottleCase):
    """The client says frame by frame what it is told to."""

    def frames(self, *frames, host="api.example.test", wait=15, streams=1):
        return self.play({"host": host, "frames": frames, "wait": wait, "streams": streams})

    def play(self, script):
        path = harness.write("h2-script", json.dumps(script))
        return json.loads(self.ok(self.bottle.run([PYTHON, H2CLIENT, path])))

    def one(self, fields, *more, host="api.example.test", **options):
        answer = self.frames({"headers": fields, "end": not more}, *more, host=host, **options)
        stream = answer["streams"].get("1", {"headers": [], "reset": None, "body": ""})
        stream["goaway"] = answer["goaway"]
        stream["status"] = dict(stream["headers"]).get(":status")
        return stream

    def many(self, cases, host="api.example.test"):
        """Each case, a list of frames, on a connection of its own; stream 1's answers by name."""
        scripts = [{"host": host, "frames": frames} for frames in cases.values()]
        result = {}
        for name, answer in zip(cases, self.play(scripts)):
            stream = answer["streams"].get("1", {"headers": [], "reset": None, "body": ""})
            result[name] = {**stream, "goaway": answer["goaway"],
                            "status": dict(stream["headers"]).get(":status")}
        return result

    def nghttp(self, *arguments, **options):
        return self.bottle.run(["nghttp", "--no-verify-peer", "-t", "10", *arguments], **options)


class ToHttp1(Http2Case):
    """The origin speaks HTTP/1.1 only."""

    def test_a_body_that_is_cut(self):
        """The end of a connection without close_notify is no end of a body."""
        self.assertEqual(self.one(pseudo("/until-close"))["reset"], None)
        for page in ("unended", "unended-chunks"):
            answer = self.one(pseudo("/bad/" + page))
            self.assertEqual((answer["status"], answer["body"]), ("200", "hello"))
            self.assertNotEqual(answer["reset"], None)

    def test_a_request(self):
        answer = self.one(pseudo("/echo?a=1") + [["authorization", "Bearer stolen"], ["x-a", "b"],
                                                 ["cookie", "a=1"], ["cookie", "b=2"]])
        self.assertEqual(answer["status"], "200")
        body = json.loads(answer["body"])
        self.assertEqual(body["target"], "/echo?a=1")
        headers = {k.lower(): v for k, v in body["headers"]}
        self.assertEqual(headers, {"host": "api.example.test", "x-a": "b", "cookie": "a=1; b=2",
                                   "authorization": TOKEN_HASH})
        record = [r for r in self.bottle.log() if r.get("path") == "/echo"][-1]
        self.assertEqual((record["protocol"], record["status"], record["verdict"]),
                         ("h2", 200, "allowed"))

    def test_a_body_without_length_and_trailers_both_ways(self):
        answer = self.one(pseudo("/echo", "POST"), {"data": "hello ", "end": False},
                          {"data": "world", "end": False},
                          {"headers": [["x-sum", "12"], ["authorization", "x"]], "end": True})
        request = self.arrived()[-1]
        self.assertEqual(self.header(request, "transfer-encoding"), ["chunked"])
        self.assertEqual((request["length"], request["trailers"]), (11, ["x-sum: 12"]))
        self.assertEqual(answer["status"], "200")
        answer = self.one(pseudo("/chunked/50"))
        self.assertEqual(len(answer["body"]), sum(len(f"chunk {n}\n") * (1 + n % 7)
                                                  for n in range(50)))
        self.assertEqual(answer["trailers"], [["x-sum", "done"]])

    def test_the_end_waits_for_what_is_under_way(self):
        """SIGTERM: no new streams, and those that are there come to their end."""
        bottle = harness.Bottle()
        self.addCleanup(bottle.stop)
        code = """
const s = require('http2').connect('https://api.example.test', {ca: require('fs').readFileSync(process.argv[1]), ALPNProtocols: ['h2']});
s.on('goaway', () => console.log('goaway'));
const r = s.request({':path': '/drip/15'});
let n = 0;
r.on('data', d => { n += d.length; if (n == 2) console.log('under way'); });
r.on('close', () => { console.log('bytes', n, r.rstCode); });"""
        process = bottle.popen(["node", "-e", code, bottle.certificate], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "under way\n")
        bottle.process.terminate()
        self.assertEqual(process.communicate(timeout=30)[0], "goaway\nbytes 15 0\n")

    def test_prior_knowledge_without_tls_is_refused(self):
        result = self.bottle.curl("--http2-prior-knowledge", "http://second.example.test/")
        self.assertEqual(result.returncode, 16, result.stderr)
        output = self.nghttp("-v", "http://second.example.test/").stdout
        self.assertIn("error_code=HTTP_1_1_REQUIRED", output)
        self.assertEqual(self.arrived(), [])
        self.assertIn("HTTP/2 without TLS", self.bottle.log()[-1]["detail"])
        # As an upgrade it is asked for by a request, which is answered as one.
        self.assertEqual(self.ok(self.bottle.curl(
            "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
            "http://both.example.test/x")), "1.1 200")

    def test_refusals_are_json(self):
        answer = self.one(pseudo("/other"))
        self.assertEqual(answer["status"], "403")
        self.assertIn(["x-egress-reason", "path_not_allowed"], answer["headers"])
        self.assertEqual(json.loads(answer["body"])["reason"], "path_not_allowed")

    def test_streams_are_judged_one_by_one(self):
        answer = self.frames({"headers": pseudo("/slow/0.3"), "stream": 1},
                             {"headers": pseudo("/other"), "stream": 3},
                             {"headers": pseudo("/echo"), "stream": 5}, streams=3)
        status = {n: dict(s["headers"])[":status"] for n, s in answer["streams"].items()}
        self.assertEqual(status, {"1": "200", "3": "403", "5": "200"})

    def test_another_authority_is_misdirected(self):
        """421 (RFC 9110, 15.5.20): a client that coalesces opens a connection of its own."""
        for fields in (pseudo(authority="second.example.test"), pseudo(authority="api.example.test:444"),
                       pseudo() + [["host", "second.example.test"]]):
            with self.subTest(fields=fields):
                answer = self.one(fields)
                self.assertEqual(answer["status"], "421", answer)
                self.assertIn(["x-egress-reason", "name_mismatch"], answer["headers"])
        self.assertEqual(self.arrived(), [])

    def test_no_tunnels(self):
        answer = self.one([[":method", "CONNECT"], [":authority", "api.example.test:443"]])
        self.assertEqual(answer["status"], "403", answer)
        self.assertEqual(self.arrived(), [])

    def test_large_bodies_keep_their_bytes(self):
        path = harness.write("h2-upload", "0123456789abcdef" * 40000)
        output = self.ok(self.nghttp("-d", path, "https://api.example.test/echo"))
        answer = json.loads(re.search(r"\{.*\}", output, re.S)[0])
        self.assertEqual(answer["length"], 640000)
        self.assertEqual(answer["sha256"],
                         hashlib.sha256(b"0123456789abcdef" * 40000).hexdigest())
        output = self.ok(self.nghttp("-n", "-s", "https://api.example.test/bytes/20000000"))
        self.assertRegex(output, r" 200 +(19M|20000000) /bytes/20000000")

    def test_many_streams_at_once(self):
        output = self.ok(self.bottle.run(["h2load", "--npn-list=h2", "-n", "2000", "-c", "4", "-m", "50",
                                          "https://bulk.example.test/small"]))
        self.assertIn("2000 succeeded, 0 failed, 0 errored", output)
        self.assertIn("Application protocol: h2", output)


ROUTES = """
  - host: h2.example.test
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
    path_allowlist: [/]
  - host: h2only.example.test
  - host: h2ws.example.test
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
    path_allowlist: [/]
  - host: grpc.example.test
    path_allowlist: [/e2e.Test/]
  - host: api.example.test
    path_allowlist: [/echo, /chunked/]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
"""


WEBSOCKET = r"""
import socket, ssl, sys
s = ssl._create_unverified_context().wrap_socket(socket.create_connection((sys.argv[1], 443), 5),
                                                 server_hostname=sys.argv[1])
s.sendall(b"GET /ws HTTP/1.1\r\nHost: " + sys.argv[1].encode() + b"\r\nConnection: Upgrade\r\n"
          b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
out = b""
while not out.endswith(b"hello"):
    out += s.recv(1000)
s.sendall(b"|ping")
while not out.endswith(b"|ping"):
    out += s.recv(1000)
print(out.decode(), end="")
"""


def h2_requests(since=0):
    return harness.json_lines(harness.world.path("h2origin.log"), since)


class WithOrigins(Http2Case):
    """Origins that speak HTTP/2."""
    origins = []
    policy_extra = ""

    @classmethod
    def setUpClass(cls):
        world = harness.world
        script = os.path.join(PROGRAMS, "h2origin.js")
        with world.in_origin():
            cls.origins = [world.spawn(["node", script, world.directory, "203.0.113.22", "h1"]),
                           world.spawn(["node", script, world.directory, "203.0.113.23"]),
                           world.spawn(["node", script, world.directory, "203.0.113.26", "connect"])]
        cls.bottle = harness.Bottle(harness.policy(ROUTES, cls.policy_extra))
        world.wait_port("203.0.113.22", 443)
        world.wait_port("203.0.113.23", 443)
        world.wait_port("203.0.113.26", 443)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        harness.world.end(*cls.origins)

    def setUp(self):
        super().setUp()
        self.h2_mark = len(h2_requests())

    def h2_arrived(self):
        return h2_requests(self.h2_mark)


class Mirror(WithOrigins):
    """ALPN: the client gets what the origin speaks, if it offers that."""

    def version(self, host, *options):
        output = self.ok(self.bottle.curl("-o", "/dev/null", "-w", "%{http_version}\n", *options,
                                          f"https://{host}/echo"))
        return output.split()

    def test_alpn(self):
        self.assertEqual(self.version("h2.example.test"), ["2"])
        self.assertEqual(self.version("h2.example.test", "--http1.1"), ["1.1"])
        self.assertEqual(self.version("h2only.example.test"), ["2"])
        self.assertEqual(self.version("h2only.example.test", "--http1.1"), ["1.1"])
        self.assertEqual(self.version("api.example.test"), ["1.1"])
        self.assertEqual([r["version"] for r in self.h2_arrived()], ["2.0"] * 4)

    def test_requests_share_a_connection(self):
        urls = [f"https://h2only.example.test/echo?{n}" for n in range(20)]
        self.ok(self.bottle.curl("-Z", *urls))
        self.ok(self.bottle.curl("--http1.1", *urls))
        arrived = self.h2_arrived()
        self.assertEqual(len(arrived), 40)
        self.assertEqual(len({r["connection"] for r in arrived}), 1)

    def test_injected_and_stripped(self):
        for option in ("--http2", "--http1.1"):
            answer = json.loads(self.ok(self.bottle.curl(
                option, "-H", "Authorization: Bearer stolen", "-H", "Connection: x-hop",
                "-H", "X-Hop: 1", "-H", "X-Keep: 2", "https://h2.example.test/echo?q=1")))
            headers = answer["headers"]
            self.assertEqual(headers["authorization"], TOKEN_HASH)
            self.assertEqual(headers[":authority"], "h2.example.test")
            self.assertEqual((headers[":path"], headers["x-keep"]), ("/echo?q=1", "2"))
            for name in ("host", "connection", "transfer-encoding", "upgrade"):
                self.assertNotIn(name, headers)

    def test_bodies_both_ways(self):
        data = "0123456789abcdef" * 200000
        path = harness.write("h2-body", data)
        digest = hashlib.sha256(data.encode()).hexdigest()
        for option in ("--http2", "--http1.1"):
            for how in (["-T", path], ["-T", path, "-H", "Transfer-Encoding: chunked"],
                        ["--data-binary", "@" + path]):
                if option == "--http2" and len(how) > 2:
                    continue
                answer = json.loads(self.ok(self.bottle.curl(
                    option, *how, "https://h2.example.test/echo")))
                self.assertEqual((answer["length"], answer["sha256"]), (len(data), digest))
            output = self.ok(self.bottle.curl(option, "-o", "/dev/null", "-w", "%{size_download}",
                                              "https://h2.example.test/bytes/30000001"))
            self.assertEqual(output, "30000001")

    def test_trailers(self):
        output = self.ok(self.bottle.curl("--http1.1", "-i", "--raw",
                                          "https://h2.example.test/trailers"))
        self.assertIn("x-sum: done", output)
        answer = self.one(pseudo("/trailers", authority="h2.example.test"), host="h2.example.test")
        self.assertEqual(answer["trailers"], [["x-sum", "done"], ["x-more", "yes"]])
        answer = self.one(pseudo("/echo", "POST", authority="h2.example.test"),
                          {"data": "x", "end": False},
                          {"headers": [["host", "second.example.test"], ["content-length", "1"], ["cookie", "a=b"],
                                       ["x-t", "1"]], "end": True}, host="h2.example.test")
        self.assertEqual(json.loads(answer["body"])["trailers"], {"x-t": "1"})

    def test_end_with_the_head(self):
        """gRPC's "trailers only": nothing may come between the head and its end."""
        answer = self.one(pseudo("/bare", authority="h2.example.test"), host="h2.example.test")
        self.assertEqual((answer["status"], answer["end"], answer["body"], answer["frames"]),
                         ("200", True, "", ["HEADERS"]))

    def test_interim(self):
        output = self.ok(self.bottle.curl("-i", "https://h2.example.test/hints"))
        self.assertRegex(output, r"(?s)HTTP/2 103.*link: </a>.*HTTP/2 200.*hinted")
        output = self.ok(self.bottle.curl("-i", "--http1.1", "https://h2.example.test/hints"))
        self.assertRegex(output, r"(?s)HTTP/1.1 103.*link: </a>.*HTTP/1.1 200.*hinted")

    def test_resets_are_passed_on(self):
        answer = self.one(pseudo("/reset/8", authority="h2.example.test"), host="h2.example.test")
        self.assertEqual((answer["body"], answer["reset"]), ("part", 8))
        result = self.bottle.curl("--http1.1", "https://h2.example.test/reset/8")
        self.assertEqual(result.returncode, 18, result.stderr)  # the transfer was cut

    def test_refused_stream_is_tried_again(self):
        """Also of a method that is not idempotent: the origin says that it did nothing."""
        answer = self.one(pseudo("/refuseonce", "POST", authority="h2.example.test"),
                          host="h2.example.test")
        self.assertEqual((answer["status"], answer["body"]), ("200", "second time\n"))
        self.assertEqual(len(self.h2_arrived()), 2)
        answer = self.one(pseudo("/refuse", authority="h2.example.test"), host="h2.example.test")
        self.assertEqual(answer["status"], "502", answer)

    def test_goaway_and_a_dead_session(self):
        for path in ("goaway", "echo", "drop", "echo"):
            result = self.bottle.curl("-w", "%{http_code}", f"https://h2.example.test/{path}")
            self.assertIn("502" if path == "drop" else "200", self.ok(result))

    def test_websocket_by_extended_connect(self):
        """RFC 8441 on the client's side, an upgrade of HTTP/1.1 on the origin's."""
        fields = pseudo("/ws", "CONNECT", authority="h2.example.test") + [
            [":protocol", "websocket"], ["sec-websocket-version", "13"],
            ["sec-websocket-protocol", "chat"], ["sec-websocket-key", "b3VycyBpcyB0aGUgb25lIQ=="]]
        answer = self.one(fields, {"data": "abc", "end": False}, {"data": "def", "end": True},
                          host="h2.example.test")
        headers = dict(answer["headers"])
        self.assertEqual((answer["status"], answer["body"], answer["end"]),
                         ("200", "helloabcdef", True))
        self.assertEqual(headers["sec-websocket-protocol"], "chat")
        self.assertNotIn("sec-websocket-accept", headers)
        request = self.h2_arrived()[-1]
        self.assertEqual((request["version"], request["headers"]["upgrade"]), ("1.1", "websocket"))
        # One key, and that is the proxy's.
        self.assertRegex(request["headers"]["sec-websocket-key"], "^[A-Za-z0-9+/]{22}==$")
        self.assertNotEqual(request["headers"]["sec-websocket-key"], dict(fields)["sec-websocket-key"])
        self.assertEqual(request["headers"]["authorization"], "Bearer " + SECRETS["E2E_TOKEN_0"])
        answer = self.one([f if f[0] != ":path" else [":path", "/no"] for f in fields],
                          {"data": "abc", "end": False}, host="h2.example.test")
        self.assertEqual(answer["status"], "403", answer)
        # 200 from an origin that did not switch must not look like an open WebSocket.
        answer = self.one([f if f[0] != ":path" else [":path", "/unswitched"] for f in fields],
                          {"data": "abc", "end": False}, host="h2.example.test")
        self.assertEqual(answer["status"], "502", answer)
        # Any other protocol is no tunnel of ours.
        answer = self.one([f if f[0] != ":protocol" else [":protocol", "connect-udp"] for f in fields],
                          {"data": "abc", "end": False}, host="h2.example.test")
        self.assertTrue(answer["reset"], answer)

    def test_resets_of_the_origin(self):
        """They are not the client's: more than it may make itself, and its session goes on."""
        head = bytes.fromhex("82870113") + b"h2only.example.test" + bytes.fromhex("0408") + b"/reset/2"
        code = """
import sys
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
c = Client("h2only.example.test")
for first in range(1, 1400, 100):
    last = range(first, first + 100, 2)
    c.socket.sendall(b"".join(frame(1, 5, n, bytes.fromhex(sys.argv[3])) for n in last))
    c.receive(15, lambda: all(n in c.streams and c.streams[n]["reset"] is not None for n in last))
print({s["reset"] for s in c.streams.values()}, len(c.streams), c.goaway, c.closed)
"""
        said = self.ok(self.bottle.python(code, H2CLIENT, head.hex()))
        self.assertEqual(said, "{2} 700 None False\n")

    def test_websocket_by_upgrade(self):
        """The origin speaks HTTP/2, but an upgrade needs a connection of HTTP/1.1."""
        output = self.ok(self.bottle.python(WEBSOCKET, "h2.example.test"))
        self.assertIn("101 Switching Protocols", output)
        self.assertTrue(output.endswith("hello|ping"), output)

    def test_websocket_to_an_origin_of_http2_alone(self):
        """RFC 8441 upwards: from an upgrade and from an extended CONNECT."""
        for _ in range(2):  # the second time it is known that HTTP/1.1 is not to be had
            output = self.ok(self.bottle.python(WEBSOCKET, "h2ws.example.test"))
            self.assertIn("101 Switching Protocols", output)
            # Of the key in RFC 6455, 1.3; and only the one.
            self.assertEqual(re.findall("(?i)sec-websocket-accept: (.*)", output),
                             ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
            self.assertTrue(output.endswith("hello|ping"), output)
        fields = pseudo("/ws", "CONNECT", authority="h2ws.example.test") + [
            [":protocol", "websocket"], ["sec-websocket-version", "13"],
            ["sec-websocket-protocol", "chat"]]
        answer = self.one(fields, {"data": "abc", "end": False}, {"data": "def", "end": True},
                          host="h2ws.example.test")
        headers = dict(answer["headers"])
        self.assertEqual((answer["status"], answer["body"], answer["end"]),
                         ("200", "helloabcdef", True))
        self.assertNotIn("sec-websocket-accept", headers)
        self.assertEqual(headers["sec-websocket-protocol"], "chat")
        for request in self.h2_arrived():
            self.assertEqual((request["version"], request["method"], request["protocol"]),
                             ("2.0", "CONNECT", "websocket"))
            self.assertEqual(request["headers"]["authorization"], "Bearer " + SECRETS["E2E_TOKEN_0"])
            for name in ("upgrade", "connection", "sec-websocket-key"):
                self.assertNotIn(name, request["headers"])
        self.assertEqual(len(self.h2_arrived()), 3)
        self.assertEqual(len({r["connection"] for r in self.h2_arrived()}), 1)
        # A refusal stays one, a reset cuts, and an ordinary request is none of this.
        answer = self.one([f if f[0] != ":path" else [":path", "/no"] for f in fields],
                          {"data": "abc", "end": False}, host="h2ws.example.test")
        self.assertEqual((answer["status"], answer["body"]), ("403", "no"))
        answer = self.one([f if f[0] != ":path" else [":path", "/cut"] for f in fields],
                          {"data": "abc", "end": False}, host="h2ws.example.test")
        self.assertEqual((answer["status"], answer["body"], answer["reset"]), ("200", "hello", 2))
        # nghttp2 holds no answer to CONNECT to its length.
        answer = self.one([f if f[0] != ":path" else [":path", "/long"] for f in fields],
                          {"data": "abc", "end": False}, host="h2ws.example.test")
        self.assertEqual((answer["status"], answer["body"], answer["end"]), ("403", "n", True))
        answer = self.one([f if f[0] != ":path" else [":path", "/short"] for f in fields],
                          {"data": "abc", "end": False}, host="h2ws.example.test")
        self.assertEqual((answer["body"], answer["end"]), ("no", False), answer)
        self.assertIsNotNone(answer["reset"])
        self.assertEqual(self.version("h2ws.example.test"), ["2"])

    def test_websocket_where_nobody_offers_it(self):
        """HTTP/2 alone, without extended CONNECT: a 502 that says so."""
        for _ in range(2):
            output = self.ok(self.bottle.curl(
                "--http1.1", "-i", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
                "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "https://h2only.example.test/ws"))
            self.assertIn(" 502 ", output)
            self.assertIn("speaks HTTP/2 alone, and offers no WebSocket", output)
        self.assertEqual(self.h2_arrived(), [])

    def reload(self, text):
        before = self.bottle.errors().count("policy reloaded")
        self.bottle.reload(text)
        harness.wait_for(lambda: self.bottle.errors().count("policy reloaded") > before, 10, "reload")

    def test_reload_resets_what_is_no_longer_allowed(self):
        code = """
const s = require('http2').connect('https://h2.example.test', {ca: require('fs').readFileSync(process.argv[1])});
const out = {};
let open = 0;
for (const path of ['/drip/300', '/drip/12?kept']) {
  const r = s.request({':path': path}); open++;
  out[path] = {bytes: 0};
  r.on('data', d => { out[path].bytes += d.length; if (path === '/drip/300' && out[path].bytes == 2) console.log('under way'); });
  r.on('error', () => {});
  r.on('close', () => { out[path].code = r.rstCode; if (--open == 0) { console.log(JSON.stringify(out)); s.close(); } });
}"""
        process = self.bottle.popen(["node", "-e", code, self.bottle.certificate],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "under way\n")
        narrowed = ROUTES.replace("path_allowlist: [/]", "path_allowlist: [/drip/12, /echo]", 1)
        self.reload(harness.policy(narrowed))
        self.addCleanup(self.reload, harness.policy(ROUTES))
        result = json.loads(process.stdout.readline())
        self.assertNotEqual(result["/drip/300"]["code"], 0)
        self.assertLess(result["/drip/300"]["bytes"], 300)
        self.assertEqual(result["/drip/12?kept"], {"bytes": 12, "code": 0})
        self.assertIn(("/drip/300", "route_removed"),
                      {(r.get("path"), r.get("reason")) for r in self.bottle.log()})

    def test_both_ways_at_once(self):
        code = """
const s = require('http2').connect('https://h2.example.test', {ca: require('fs').readFileSync(process.argv[1])});
const r = s.request({':path': '/mirror', ':method': 'POST'});
let n = 0; const t = Date.now();
r.on('data', d => { if (++n == 20) { r.end(); } else r.write('x' + n); });
r.on('end', () => { console.log('turns', n, Date.now() - t); s.close(); });
r.write('x0');"""
        output = self.ok(self.bottle.run(["node", "-e", code, self.bottle.certificate]))
        self.assertIn("turns 20", output)


UNDICI = """
const url = process.argv[1];
async function main() {
  let n = 0;
  const body = new ReadableStream({pull(c) {
    let text = '';
    for (let i = 0; i < 1000; i++) text += String(n++).padStart(7, '0') + '\\n';
    c.enqueue(new TextEncoder().encode(text));
    if (n == 100000) c.close();
  }});
  const up = await fetch(url + '/echo', {method: 'POST', body, duplex: 'half'});
  const seen = await up.json();
  console.log(up.status, seen.length, seen.sha256);
  const down = await fetch(url + '/bytes/5000001');
  let size = 0;
  for await (const part of down.body) size += part.length;
  console.log(down.status, size);
}
main();
"""


class Programs(WithOrigins):
    """Ordinary programs under `exec`, with no proxy variable: each speaks HTTP/2 to the origin."""
    URL = "https://h2.example.test/echo/one?q=1"
    NODE = """
const s = require('http2').connect('https://h2.example.test');
const r = s.request({':path': '/echo/one?q=1'});
let text = '';
r.on('data', d => text += d); r.on('end', () => { console.log(text); s.close(); });"""

    def fetched(self, command):
        output = self.ok(run_exec(command, policy_text=harness.policy(ROUTES)))
        answer = json.loads(re.search(r"\{.*\}", output, re.S)[0])
        self.assertEqual((answer["version"], answer["path"]), ("2.0", "/echo/one?q=1"))
        self.assertEqual(answer["headers"]["authorization"], TOKEN_HASH)
        self.assertNotIn(SECRETS["E2E_TOKEN_0"], output)
        return output

    def test_curl(self):
        self.assertIn("HTTP/2 200", self.fetched(["curl", "-sSi", self.URL]))

    def test_nghttp(self):
        self.fetched(["nghttp", self.URL])

    def test_node(self):
        self.fetched(["node", "-e", self.NODE])
        self.fetched(["node", "-e", "fetch(process.argv[1]).then(r => r.text()).then(console.log)",
                      self.URL])

    def test_undici_streams(self):
        """A request's body as it is made, and an answer's as it comes."""
        output = self.ok(run_exec(["node", "-e", UNDICI, "https://h2.example.test"],
                                  policy_text=harness.policy(ROUTES)))
        digest = hashlib.sha256(b"".join(b"%07d\n" % n for n in range(100000))).hexdigest()
        self.assertEqual(output.split(), ["200", "800000", digest, "200", "5000001"])

    def test_go(self):
        self.fetched([go_program(), self.URL])

    def test_java(self):
        self.fetched(["java", "-cp", java_class(), "Fetch", self.URL])

    def test_h2load(self):
        output = self.ok(run_exec(["h2load", "-n", "3000", "-c", "5", "-m", "20",
                                   "https://h2.example.test/bytes/100"],
                                  policy_text=harness.policy(ROUTES)))
        self.assertIn("3000 succeeded, 0 failed, 0 errored", output)
        self.assertIn("Application protocol: h2", output)

    def test_every_protocol_is_in_the_log(self):
        log = harness.world.path("h2-log")
        self.ok(run_exec(["sh", "-c", f"curl -sSo /dev/null {self.URL}; "
                          f"curl -sSo /dev/null --http1.1 {self.URL}"], "--log", log,
                         policy_text=harness.policy(ROUTES)))
        with open(log, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        self.assertEqual([r["protocol"] for r in records if r["source"] == "proxy"],
                         ["h2", "https"])


class Grpc(Http2Case):
    @classmethod
    def setUpClass(cls):
        world = harness.world
        with world.in_origin():
            cls.origin = world.spawn([PYTHON, os.path.join(PROGRAMS, "grpc_server.py"),
                                      world.directory, "203.0.113.24"])
        cls.bottle = harness.Bottle(harness.policy(ROUTES))
        world.wait_port("203.0.113.24", 443)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        harness.world.end(cls.origin)

    def test_every_kind_of_call(self):
        output = self.ok(self.bottle.run([PYTHON, os.path.join(PROGRAMS, "grpc_client.py"),
                                          self.bottle.certificate, "grpc.example.test"]))
        result = json.loads(output)
        self.assertEqual(result["unary"], "unary:hello:b")
        self.assertEqual(result["trailer"], "sent")
        self.assertEqual(result["large"], 3000007)
        self.assertEqual(result["stream"], list(range(100)))
        self.assertEqual(result["both"], [f"echo:{n}" for n in range(50)])
        self.assertEqual(result["fail"], "NOT_FOUND: nothing here")
        self.assertTrue(result["unknown"].startswith("UNIMPLEMENTED"), result)
        self.assertTrue(result["refused"].startswith("PERMISSION_DENIED"), result)
        self.assertEqual(result["deadline"], "DEADLINE_EXCEEDED")

    def test_roots_of_its_own(self):
        """gRPC brings roots along; `exec` names those with the CA in the variable that it reads."""
        code = ("import grpc\nchannel = grpc.secure_channel('grpc.example.test:443', "
                "grpc.ssl_channel_credentials())\n"
                "print(channel.unary_unary('/e2e.Test/Unary')(b'x', timeout=20))")
        self.assertIn("unary:x:", self.ok(harness.run_exec(
            [PYTHON, "-c", code], policy_text=harness.policy(ROUTES))))


class Floods(Http2Case):
    """What costs a client little and us much: ended with GOAWAY ENHANCE_YOUR_CALM, or bounded."""

    def flooded(self, *frames, codes=(11,), wait=5):
        before = harness.memory_kib(self.bottle.worker())
        answer = self.frames(*frames, streams=1 << 20, wait=wait)
        self.assertTrue(answer["goaway"] in codes or answer["closed"], answer["goaway"])
        self.assertLess(harness.memory_kib(self.bottle.worker()), before + harness.room_kib(16 * 1024))
        # And nobody else noticed.
        self.assertEqual(self.one(pseudo())["status"], "200")

    def test_pings(self):
        self.flooded({"raw": "000008060000000000" + "00" * 8, "times": 5000})

    def test_settings(self):
        self.flooded({"raw": "000000040000000000", "times": 5000})

    def test_priorities(self):
        self.flooded({"raw": "00000502000000000d" + "0000000010", "times": 5000})

    def test_empty_data(self):
        self.flooded({"headers": pseudo("/echo", "POST"), "end": False},
                     {"raw": "000000000000000001", "times": 5000})

    def test_window_updates(self):
        self.flooded({"headers": pseudo("/echo", "POST"), "end": False},
                     {"raw": "000004080000000001" + "00000001", "times": 5000})

    def test_rapid_reset(self):
        frames = []
        for number in range(1, 4000, 2):
            frames += [{"headers": pseudo("/slow/1"), "stream": number},
                       {"raw": "0000040300" + f"{number:08x}" + "00000008"}]
        self.flooded(*frames, codes=(2, 11))
        self.assertLess(len(self.arrived()), 800)

    def test_made_to_reset(self):
        """CVE-2025-8671: the same, by frames that leave us nothing but to reset their streams."""
        def ends(path, *raw):
            return [f for n in range(1, 4000, 2)
                    for f in ({"headers": pseudo(path, "POST") + [["content-length", "1"]], "stream": n,
                               "end": False}, {"raw": "".join(raw).replace("STREAM", f"{n:08x}")})]
        for name, frames in (("window", ends("/slow/1", "0000040800STREAM7fffffff")),
                             ("length", ends("/slow/1", "0000020000STREAM7878")),
                             ("trailer", ends("/slow/1", "0000010105STREAM84"))):
            with self.subTest(name):
                self.flooded(*frames)

    def test_continuations(self):
        """CVE-2024-28182: a header block without end."""
        self.flooded({"raw": "000000010000000001"},
                     {"raw": "000400090000000001" + "0000" * 512, "times": 2000},
                     codes=(1, 9, 11))

    def test_header_bomb(self):
        """A table entry of 4000 bytes, named 5000 times."""
        entry = "40" + "0178" + "7f" + "a11e" + "61" * 4000
        parts = bytes.fromhex("8287844110" + "api.example.test".encode().hex() + entry)
        frames = [{"raw": f"{len(parts):06x}010400000001" + parts.hex()}]
        bomb = bytes.fromhex("8287844110" + "api.example.test".encode().hex()) + b"\xbe" * 12000
        frames += [{"raw": f"{len(bomb):06x}0105{n:08x}" + bomb.hex()} for n in range(3, 43, 2)]
        before = harness.memory_kib(self.bottle.worker())
        answer = self.frames(*frames, streams=20, wait=5)
        self.assertLess(harness.memory_kib(self.bottle.worker()), before + harness.room_kib(16 * 1024))
        for number in range(3, 43, 2):
            stream = answer["streams"].get(str(number))
            if stream and not answer["goaway"]:
                self.assertTrue(stream["reset"] or dict(stream["headers"])[":status"] == "431", stream)
        self.assertEqual(self.one(pseudo())["status"], "200")

    @measures
    def test_header_bomb_costs_little(self):
        """The same entry in 16 frames, 262,000 times each: a GB to look at for 256 KiB to send."""
        start = bytes.fromhex("8287840110") + b"api.example.test"
        entry = start + bytes.fromhex("4001787fa11e") + b"a" * 4000
        frames = [{"raw": f"{len(entry):06x}010500000001" + entry.hex()}]
        for n in range(3, 13, 2):
            frames.append({"raw": f"0040000101{n:08x}" + (start + b"\xbe" * (16384 - len(start))).hex()})
            frames += [{"raw": f"00400009{4 if k == 14 else 0:02x}{n:08x}" + "be" * 16384} for k in range(15)]
        before = harness.processor_time(self.bottle.worker())
        answer = self.frames(*frames, streams=6, wait=30)
        used = harness.processor_time(self.bottle.worker()) - before
        for n in range(3, 13, 2):
            stream = answer["streams"][str(n)]
            self.assertTrue(stream["reset"] or dict(stream["headers"])[":status"] == "431", stream)
        self.assertLess(used, 1)

    @measures
    def test_trailer_bomb_costs_little(self):
        """The same behind requests that are answered already: nobody waits for what follows."""
        start = bytes.fromhex("8387840110") + b"api.example.test"
        entry = start + bytes.fromhex("4001787fa11e") + b"a" * 4000
        code = """
import sys
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
c = Client("api.example.test")
start, entry, BOMB = (bytes.fromhex(x) for x in (*sys.argv[3:], "be" * 16384))
for n in range(1, 11, 2):
    c.socket.sendall(frame(1, 4, n, entry if n == 1 else start))
    c.receive(15, lambda: n in c.streams and c.streams[n]["end"])
for n in range(1, 11, 2):
    c.socket.sendall(frame(1, 1, n, BOMB) + b"".join(
        frame(9, 4 * (k == 14), n, BOMB) for k in range(15)))
c.socket.sendall(frame(1, 5, 11, start))
c.receive(15, lambda: 11 in c.streams and c.streams[11]["end"])
print([[s["reset"], s["end"]] for s in c.streams.values()], c.goaway, c.closed)
"""
        before = harness.processor_time(self.bottle.worker())
        said = self.ok(self.bottle.python(code, H2CLIENT, start.hex(), entry.hex()))
        used = harness.processor_time(self.bottle.worker()) - before
        self.assertEqual(said, f"{[[2, True]] * 5 + [[None, True]]} None False\n")
        self.assertLess(used, 1)

    def test_streams_are_limited(self):
        frames = [{"headers": pseudo("/slow/1"), "stream": n} for n in range(1, 321, 2)]
        answer = self.frames(*frames, streams=160, wait=10)
        refused = [s for s in answer["streams"].values() if s["reset"] == 7]
        self.assertGreaterEqual(len(refused), 50)
        self.assertLessEqual(len(self.arrived()), 100)

    def test_nonsense(self):
        for raw in ("00000400000000000100000000", "000001060000000000" + "00",
                    "ffffff000000000001", "000004080000000000" + "00000000",
                    "000004080000000000" + "7fffffff", "000008060000000001" + "00" * 8,
                    "000001010500000001ff", "00000101050000000282", "505249202a20485454502f322e30"):
            with self.subTest(raw):
                answer = self.frames({"raw": raw, "times": 2}, wait=15)
                self.assertTrue(answer["goaway"] or answer["closed"], answer)

    @measures
    def test_readers_that_stall(self):
        """A hundred streams of one connection, none of them read, none of them held up whole."""
        code = """
import json, sys, time
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
c = Client(sys.argv[3], settings=bytes.fromhex("00047fffffff"))
c.socket.sendall(frame(8, 0, 0, bytes.fromhex("7fff0000")))
for n in range(100):
    c.socket.sendall(c.headers(json.loads(sys.argv[4]), 2 * n + 1, True))
time.sleep(3)
print("stalled")
"""
        with Peak(self.bottle.worker()) as peak:
            before = harness.memory_kib(self.bottle.worker())
            self.ok(self.bottle.python(code, H2CLIENT, "bulk.example.test",
                                       json.dumps(pseudo("/gib", authority="bulk.example.test"))))
        self.assertLess(peak.peak, before + harness.room_kib(24 * 1024))


class Attacks(Http2Case):
    """What HTTP/2 can say and HTTP/1 would misread: refused, or exactly one request arrives."""

    def refused(self, answer):
        self.assertTrue(answer["reset"] or answer["goaway"] or
                        answer.get("status") in ("400", "403", "421", "431"), answer)

    def test_downgrade_smuggling(self):
        cases = {
            "CRLF in a value": pseudo() + [["x", "a\r\nHost: second.example.test\r\n\r\nGET /"]],
            "LF in a value": pseudo() + [["x", "a\nx: y"]],
            "NUL in a value": pseudo() + [["x", "a\0b"]],
            "CRLF in a name": pseudo() + [["x: y\r\ntransfer-encoding", "chunked"]],
            "colon in a name": pseudo() + [["x:y", "z"]],
            "space in a name": pseudo() + [["x y", "z"]],
            "upper case": pseudo() + [["X-Upper", "z"]],
            "empty name": pseudo() + [["", "z"]],
            "CRLF in the path": pseudo("/echo HTTP/1.1\r\nHost: x\r\n\r\nGET /echo"),
            "space in the path": pseudo("/echo HTTP/1.1"),
            "path not absolute": pseudo("echo"),
            "empty path": pseudo(""),
            "absolute path": pseudo("https://api.example.test/echo"),
            "CRLF in the method": pseudo(method="GET /echo HTTP/1.1\r\nX: "),
            "space in the method": pseudo(method="GET /echo"),
            "CRLF in the authority": pseudo(authority="api.example.test\r\nX: y"),
            "user in the authority": pseudo(authority="u@api.example.test"),
            "another scheme": pseudo(scheme="http"),
            "CRLF in the scheme": pseudo(scheme="https://x\r\n"),
            "scheme with a path": pseudo(scheme="https://api.example.test/echo?"),
            "transfer-encoding": pseudo() + [["transfer-encoding", "chunked"]],
            "connection": pseudo() + [["connection", "keep-alive"]],
            "proxy-connection": pseudo() + [["proxy-connection", "keep-alive"]],
            "upgrade": pseudo() + [["upgrade", "h2c"]],
            "te": pseudo() + [["te", "gzip, trailers"]],
            "two lengths": pseudo() + [["content-length", "0"], ["content-length", "5"]],
            "no number": pseudo() + [["content-length", "+5"]],
            "two paths": pseudo() + [[":path", "/chunked/1"]],
            "two methods": pseudo() + [[":method", "POST"]],
            "two authorities": pseudo() + [[":authority", "second.example.test"]],
            "late pseudo-header": pseudo()[:3] + [["x", "y"], [":path", "/echo"]],
            "unknown pseudo-header": pseudo() + [[":evil", "y"]],
            "response pseudo-header": pseudo() + [[":status", "200"]],
            "no path": pseudo()[:3], "no method": pseudo()[1:],
            "no scheme": [f for f in pseudo() if f[0] != ":scheme"],
            "no authority": [f for f in pseudo() if f[0] != ":authority"],
            "protocol without CONNECT": pseudo() + [[":protocol", "websocket"]],
            "two hosts": pseudo() + [["host", "api.example.test"], ["host", "api.example.test"]],
        }
        answers = self.many({name: [{"headers": fields}] for name, fields in cases.items()})
        for name, answer in answers.items():
            with self.subTest(name):
                self.refused(answer)
        self.assertEqual(self.arrived(), [])

    def test_lengths_that_lie(self):
        fields = pseudo("/echo", "POST")
        for length, data in (("5", "hello world"), ("50", "hello"), ("0", "x")):
            with self.subTest(length=length):
                answer = self.one(fields + [["content-length", length]], {"data": data, "end": True})
                self.assertTrue(answer["reset"] or length == "0", answer)
                for request in self.arrived():
                    self.assertLessEqual(request["length"], int(length))
        self.assertLessEqual(len(self.arrived()), 3)

    def test_trailers_that_lie(self):
        for fields in ([[":path", "/x"]], [["x", "a\r\nb: c"]], [["transfer-encoding", "chunked"]],
                       [["Upper", "c"]]):
            with self.subTest(fields=fields):
                answer = self.one(pseudo("/echo", "POST"), {"data": "x", "end": False},
                                  {"headers": fields, "end": True})
                self.assertTrue(answer["reset"], answer)
        self.assertEqual(self.arrived(), [])

    def test_too_much_head(self):
        answer = self.one(pseudo() + [[f"x-{n}", "y"] for n in range(300)])
        self.assertEqual(answer["status"], "431", answer)
        answer = self.one(pseudo("/" + "a" * 15000))
        self.assertEqual(answer["status"], "403", answer)
        self.assertEqual(self.arrived(), [])
