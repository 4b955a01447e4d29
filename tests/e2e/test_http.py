# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/1.1 across the proxy: framing, order, bodies, and what it must refuse."""
import json

import harness
from harness import BottleCase, SECRETS

# raw.py HOST PORT: sends standard input's bytes (escaped) in TLS and prints all that comes back.
RAW = r"""
import socket, ssl, sys
host, data = sys.argv[1], sys.argv[2].encode("latin-1").decode("unicode_escape").encode("latin-1")
s = ssl._create_unverified_context().wrap_socket(socket.create_connection((host, 443), 5),
                                                 server_hostname=host)
s.settimeout(float(sys.argv[3]) if len(sys.argv) > 3 else 3)
try:
    s.sendall(data)
    out = b""
    while chunk := s.recv(65536):
        out += chunk
    print(out.decode("latin-1") + "<closed>")
except TimeoutError:
    print(out.decode("latin-1") + "<open>")
except OSError as error:
    print(out.decode("latin-1") + f"<closed> {error}")
"""


class Http(BottleCase):
    def raw(self, data, host="api.example.test", wait=10):
        escaped = data.encode("unicode_escape").decode("ascii")
        return self.ok(self.bottle.python(RAW, host, escaped, str(wait)))

    def request(self, *lines, method="GET", path="/echo", version="HTTP/1.1",
                host="Host: api.example.test", body=""):
        head = [f"{method} {path} {version}", *([host] if host else []), *lines]
        return "\r\n".join(head) + "\r\n\r\n" + body

    def test_methods_and_bodies(self):
        for method, body in (("GET", ""), ("POST", "hello"), ("PUT", "x" * 100000),
                             ("DELETE", ""), ("PATCH", "p"), ("OPTIONS", "")):
            with self.subTest(method=method):
                command = ["-X", method] + (["--data-binary", body] if body else [])
                answer = json.loads(self.ok(self.bottle.curl(
                    *command, "https://api.example.test/echo")))
                self.assertEqual((answer["method"], answer["length"]), (method, len(body)))

    def test_head_204_304(self):
        """Answers without a body, and the connection goes on after each."""
        output = self.ok(self.bottle.curl(
            "-I", "https://api.example.test/bytes/12345", "--next", "-sS", "-D", "-", "-k",
            "https://api.example.test/status/204", "--next", "-sS", "-D", "-", "-k",
            "https://api.example.test/status/304", "--next", "-sS", "-k", "-w", "%{num_connects}",
            "https://api.example.test/echo"))
        self.assertIn("Content-Length: 12345", output)
        self.assertIn("204", output)
        self.assertIn("304", output)
        self.assertTrue(output.endswith("}\n0"), output[-100:])

    def test_keep_alive(self):
        output = self.ok(self.bottle.curl(
            "-w", "%{num_connects}\n", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null",
            *["https://api.example.test/echo"] * 3))
        self.assertEqual(output.split(), ["1", "0", "0"])
        self.assertEqual(len({r["peer"] for r in self.arrived()}), 1, "upstream is kept alive too")

    def test_pipelined_requests_are_answered_in_order(self):
        paths = ["/slow/0.3", "/echo?n=1", "/bytes/100000", "/status/404", "/other", "/echo?n=2"]
        data = "".join(self.request(path=p) for p in paths[:-1])
        data += self.request("Connection: close", path=paths[-1])
        output = self.raw(data, wait=5)
        marks = ["slow\n", "/echo?n=1", "0123456789abcdef", "status\n", "path_not_allowed",
                 "/echo?n=2"]
        places = [output.find(mark) for mark in marks]
        self.assertNotIn(-1, places, output[:3000])
        self.assertEqual(places, sorted(places))

    def test_expect_continue(self):
        answer = json.loads(self.ok(self.bottle.curl(
            "-H", "Expect: 100-continue", "--data-binary", "y" * 5000,
            "https://api.example.test/echo")))
        self.assertEqual(answer["length"], 5000)

    def test_expect_continue_refused_before_the_body(self):
        output = self.raw(self.request("Expect: 100-continue", "Content-Length: 100000",
                                       method="POST", path="/forbidden"))
        self.assertIn("path_not_allowed", output)
        self.assertNotIn("100 Continue", output)

    def test_chunked_request_and_trailers(self):
        body = "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: seen\r\n\r\n"
        output = self.raw(self.request("Transfer-Encoding: chunked", "Trailer: X-Trailer",
                                       "Connection: close", method="POST", body=body))
        self.assertIn('"length": 11', output)
        self.assertIn("X-Trailer: seen", output)

    def test_trailers_in_the_answer(self):
        output = self.raw(self.request("TE: trailers", "Connection: close", path="/chunked/20"))
        self.assertIn("X-Sum: done", output)
        self.assertTrue(output.split("<closed>")[0].endswith("0\r\nX-Sum: done\r\n\r\n".replace(
            "\r\n", "\n")) or "X-Sum: done" in output)

    def test_until_close(self):
        output = self.ok(self.bottle.curl("https://api.example.test/until-close"))
        self.assertEqual(output, "until the end")

    def test_http_1_0(self):
        output = self.raw(self.request(version="HTTP/1.0"))
        self.assertIn(" 200 ", output.split("\n")[0])
        self.assertIn("<closed>", output)

    def test_hop_by_hop(self):
        output = self.ok(self.bottle.curl("-D", "-", "-H", "Connection: X-Mine, keep-alive",
                                          "-H", "X-Mine: hop", "-H", "Proxy-Connection: x",
                                          "-H", "Keep-Alive: x", "https://api.example.test/echo"))
        sent = self.arrived()[0]
        for name in ("x-mine", "proxy-connection", "keep-alive"):
            self.assertEqual(self.header(sent, name), [], name)
        output = self.ok(self.bottle.curl("-D", "-", "https://api.example.test/headers"))
        self.assertEqual(output.lower().count("set-cookie:"), 2)
        self.assertNotIn("x-hop", output.lower())

    def test_bytes_of_the_target_go_as_they_came(self):
        target = "/echo/a%20b;p=1/%E2%82%AC/~x?q=%2F..%2f&&z=%zz#"
        target = target.rstrip("#")
        self.ok(self.bottle.curl("--path-as-is", "-g", "https://api.example.test" + target))
        self.assertEqual([r["target"] for r in self.arrived()], [target])

    def test_injected_once(self):
        for _ in range(3):
            self.ok(self.bottle.curl("https://api.example.test/echo"))
        for request in self.arrived():
            self.assertEqual(self.header(request, "authorization"),
                             ["Bearer " + SECRETS["E2E_TOKEN_0"]])

    BROKEN = {
        "length and chunked": ("POST", ["Content-Length: 5", "Transfer-Encoding: chunked"],
                               "0\r\n\r\n"),
        "two lengths": ("POST", ["Content-Length: 5", "Content-Length: 6"], "hello!"),
        "same length twice": ("POST", ["Content-Length: 5", "Content-Length: 5"], "hello"),
        "length list": ("POST", ["Content-Length: 5, 5"], "hello"),
        "length with a sign": ("POST", ["Content-Length: +5"], "hello"),
        "negative length": ("POST", ["Content-Length: -1"], ""),
        "length that overflows": ("POST", ["Content-Length: 99999999999999999999999"], ""),
        "not chunked last": ("POST", ["Transfer-Encoding: chunked, gzip"], "0\r\n\r\n"),
        "chunked twice": ("POST", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
                          "0\r\n\r\n"),
        "chunked in disguise": ("POST", ["Transfer-Encoding: \x0bchunked"], "0\r\n\r\n"),
        "unknown coding": ("POST", ["Transfer-Encoding: cow"], "0\r\n\r\n"),
        "space before the colon": ("GET", ["X-A : b"], ""),
        "folded line": ("GET", ["X-A: b\r\n folded"], ""),
        "two hosts": ("GET", ["Host: api.example.test"], ""),
        "two different hosts": ("GET", ["Host: second.example.test"], ""),
        "NUL in a value": ("GET", ["X-A: a\0b"], ""),
        "control in a name": ("GET", ["X\x01A: b"], ""),
        "no colon": ("GET", ["nonsense"], ""),
        "bad chunk size": ("POST", ["Transfer-Encoding: chunked"], "zz\r\nhello\r\n0\r\n\r\n"),
        "chunk longer than said": ("POST", ["Transfer-Encoding: chunked"],
                                   "3\r\nhello\r\n0\r\n\r\n"),
    }

    def test_broken_framing(self):
        for name, (method, lines, body) in self.BROKEN.items():
            with self.subTest(what=name):
                self.mark = len(harness.origin_requests())
                follow = self.request(path="/echo?smuggled")
                output = self.raw(self.request(*lines, method=method, body=body) + follow)
                self.assertIn("<closed>", output)
                self.assertIn(" 400 ", output.split("\n")[0] or "(nothing)")
                self.assertNotIn("200 OK", output)
                self.assertNotIn("smuggled", json.dumps(self.arrived()))

    def test_bare_line_feed(self):
        for data in ("GET /echo HTTP/1.1\nHost: api.example.test\n\n",
                     "GET /echo HTTP/1.1\r\nHost: api.example.test\nX-A: b\r\n\r\n",
                     "POST /echo HTTP/1.1\r\nHost: api.example.test\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"):
            with self.subTest(data=data):
                output = self.raw(data)
                self.assertIn(" 400 ", output.split("\n")[0] or "(nothing)")
                self.assertIn("<closed>", output)
                self.assertNotIn("200 OK", output)

    def test_no_host(self):
        self.assertIn(" 400 ", self.raw(self.request(host=None)).split("\n")[0])

    def test_header_limits(self):
        output = self.raw(self.request(*[f"X-{n}: {'a' * 1000}" for n in range(80)]), wait=4)
        self.assertRegex(output.split("\n")[0], " (431|400|413) ")
        self.assertIn("<closed>", output)
        self.assertEqual(self.arrived(), [])

    def test_bad_answers_of_the_origin(self):
        for page in ("both", "two", "cut", "unended", "unended-chunks"):
            with self.subTest(page=page):
                result = self.bottle.curl("-D", "-", f"https://api.example.test/bad/{page}")
                if page not in ("both", "two"):
                    self.assertNotEqual(result.returncode, 0, "a cut body must be seen as cut")
                    self.assertIn(" 200 OK", result.stdout)
                else:
                    self.assertRegex(result.stdout, "upstream_protocol")

    def test_dropped_keep_alive_connection(self):
        """A pooled connection that died is replaced, for requests that may be repeated."""
        for _ in range(5):
            self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))
            self.ok(self.bottle.curl("https://api.example.test/until-close"))

    def test_origin_drops(self):
        output = self.ok(self.bottle.curl("-D", "-", "https://api.example.test/drop"))
        self.assertIn(" 502 ", output)

    def test_client_goes_away(self):
        for _ in range(5):
            self.bottle.curl("--max-time", "0.3", "https://api.example.test/drip/50")
        self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))

    def test_garbage(self):
        code = r"""
import os, socket
for n in range(60):
    s = socket.create_connection(("api.example.test", 443 if n % 2 else 80), 5)
    s.settimeout(3)
    try:
        s.sendall((b"\x16\x03\x01\xff\xff" if n % 3 == 0 else b"") + os.urandom(n * 50))
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    except OSError:
        pass
    s.close()
"""
        worker = self.bottle.worker()
        self.ok(self.bottle.python(code))
        self.assertEqual(self.bottle.worker(), worker, "the worker died of garbage")
        self.ok(self.bottle.curl("-f", "https://api.example.test/echo"))
