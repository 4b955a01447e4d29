# SPDX-License-Identifier: BSD-2-Clause
"""What a bottle may say to reach another path, another host or another route's credential: refused,
or exactly what was judged arrives, once, with the one credential that belongs to it."""
import json

import harness
from harness import MARK, SECRETS, BottleCase

END = "\r\n\r\n"
HIDDEN = "GET /hidden?smuggled HTTP/1.1\r\nHost: api.example.test" + END
GOOD = "GET /echo?smuggled HTTP/1.1\r\nHost: api.example.test" + END
SEND = r"""
import json, socket, ssl, sys, threading
cases = json.load(open(sys.argv[1]))
answers = [None] * len(cases)

def one(number):
    name, first, data = cases[number]
    out = b""
    try:
        s = socket.create_connection(("egress", 9099) if first else ("api.example.test", 443), 5)
        s.settimeout(max(3, float(sys.argv[2])))
        if first:
            s.sendall(first.encode("latin-1"))
            while b"\r\n\r\n" not in out and (part := s.recv(1)):
                out += part
        s = ssl._create_unverified_context().wrap_socket(s, server_hostname=name)
        s.settimeout(float(sys.argv[2]))
        s.sendall(data.encode("latin-1"))
        while part := s.recv(65536):
            out += part
    except OSError:
        pass
    answers[number] = out.decode("latin-1")
    s.close()

for start in range(0, len(cases), 32):
    threads = [threading.Thread(target=one, args=(n,)) for n in range(start, min(start + 32, len(cases)))]
    [t.start() for t in threads]
    [t.join() for t in threads]
print(json.dumps(answers))
"""


def line(first, *fields, host="api.example.test", body=""):
    return "\r\n".join([first, *([f"Host: {host}"] if host is not None else []), *fields]) + END + body


def get(target="/echo", *fields, **options):
    return line(f"GET {target} HTTP/1.1", *fields, **options)


def post(target, *fields, body=""):
    return line(f"POST {target} HTTP/1.1", *fields, body=body)


def chunked(text):
    return f"{len(text):x}\r\n{text}\r\n0\r\n\r\n"


class Framing(BottleCase):
    def send(self, cases, sni="api.example.test", connect=None, patience=0.6):
        """An answer is what came until the end, or until nothing came for `patience` seconds."""
        path = harness.write("framing", json.dumps([[sni, connect, c] for c in cases]))
        answers = json.loads(self.ok(self.bottle.python(SEND, path, str(patience), timeout=200)))
        self.assertNotIn(MARK, json.dumps(answers))
        for seen in self.arrived():
            with self.subTest(seen["head"]):
                self.assertEqual((seen["address"], seen["tls"], seen["sni"]),
                                 ("203.0.113.10", True, "api.example.test"))
                self.assertRegex(seen["target"], r"^/(echo|status/)")
                self.assertNotIn("smuggled", seen["target"])
                self.assertEqual(self.header(seen, "authorization"), [f"Bearer {SECRETS['E2E_TOKEN_0']}"])
                self.assertEqual(len(self.header(seen, "host")), 1)
                self.assertRegex(self.header(seen, "host")[0], r"(?i)^api\.example\.test(:443)?$")
                self.assertNotIn(SECRETS["E2E_TOKEN_1"], seen["head"])
                self.assertRegex(seen["head"], r"\A([!-~]+ [!-~]+ HTTP/1.1\r\n)([!-9;-~]+: [^\r\n\0]*\r\n)*\r\n\Z")
                for field in ("proxy-authorization", "http2-settings", "upgrade"):
                    self.assertEqual(self.header(seen, field), [])
        return answers

    def none(self, cases, **options):
        """All of them are refused."""
        for case, answer in zip(cases, self.send(cases, **options)):
            with self.subTest(case[:120]):
                self.assertNotRegex(answer[answer.find(END) + 4 if options.get("connect") and
                                           answer.startswith("HTTP/1.1 200") else 0:],
                                    r"\AHTTP/1.1 (200|101|502|504)")
        self.assertEqual([a["head"] for a in self.arrived()], [])

    def once(self, cases, **options):
        """Each arrives once, whatever hangs on it. Each asks for the end, which is waited for."""
        answers = self.send(cases, patience=20, **options)
        for case, answer in zip(cases, answers):
            with self.subTest(case[:120]):
                self.assertRegex(answer, r"(?s)\A(HTTP/1.1 100 .*?)?HTTP/1.1 200")
        self.assertEqual(len(self.arrived()), len(cases))

    def test_behind_a_refused_request(self):
        self.none([post("/hidden", f"Content-Length: {len(GOOD)}", body=GOOD),
                   post("/hidden", "Transfer-Encoding: chunked", body=chunked(GOOD)),
                   post("/hidden", "Transfer-Encoding: chunked", "Expect: 100-continue", body=chunked(GOOD)),
                   post("/hidden", f"Content-Length: {len(GOOD) + 9}", body=GOOD),
                   post("/hidden", "Content-Length: 0", "Content-Length: 9", body=GOOD),
                   get("/hidden", f"Content-Length: {len(GOOD)}", body=GOOD),
                   line("TRACE /echo HTTP/1.1", body=""), line("TRACE /echo HTTP/1.1", "Content-Length: 3"),
                   line("CONNECT api.example.test:443 HTTP/1.1", body=""),
                   line("CONNECT api.example.test:443 HTTP/1.1", f"Content-Length: {len(GOOD)}", body=GOOD),
                   line("CONNECT second.example.test:443 HTTP/1.1", host="second.example.test:443")])

    def test_bodies_stay_bodies(self):
        self.once([get("/echo", f"Content-Length: {len(GOOD)}", "Connection: close", body=GOOD),
                   get("/echo", "Transfer-Encoding: chunked", "Connection: close", body=chunked(GOOD)),
                   line("OPTIONS /echo HTTP/1.1", f"Content-Length: {len(GOOD)}", "Connection: close", body=GOOD),
                   line("DELETE /echo HTTP/1.1", f"Content-Length: {len(GOOD)}", "Connection: close", body=GOOD),
                   post("/echo", f"Content-Length: {len(GOOD)}", "Expect: 100-continue", "Connection: close", body=GOOD),
                   post("/echo", f"Content-Length: {len(GOOD)}", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
                        "Connection: Upgrade, HTTP2-Settings, close", body=GOOD),
                   get("/echo", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
                       "Connection: Upgrade, HTTP2-Settings, close", body="PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                   get("/echo", "Upgrade: TLS/1.0", "Connection: Upgrade, close"),
                   get("/echo", "Connection: close, authorization, host, content-length, x-api-key"),
                   get("/echo", "Authorization: Bearer a", "authorization: Bearer b", "Connection: close"),
                   get("/echo", "Authorization_: a", "Proxy-Authorization: b", "Connection: close"),
                   post("/echo", "Transfer-Encoding: chunked", "Connection: close",
                        body="1\r\nx\r\n0\r\nAuthorization: Bearer x\r\nHost: x\r\nContent-Length: 4\r\n\r\n"),
                   line("GET /echo HTTP/1.0", f"Content-Length: {len(GOOD)}", body=GOOD)])

    def test_pipelines(self):
        pipe = "".join(get(f"/{'echo' if n % 2 else 'hidden'}?{n}", *(["Connection: close"] if n == 59 else []))
                       for n in range(60))
        (answer,) = self.send([pipe], patience=20)
        self.assertEqual([a["target"] for a in self.arrived()], [f"/echo?{n}" for n in range(1, 60, 2)])
        self.assertEqual(answer.count("HTTP/1.1 403"), 30)

    def test_start_lines(self):
        self.none([text for bad in (
            "GET /echo", "GET /echo HTTP/0.9", "GET /echo HTTP/1.10", "GET /echo HTTP/2.0", "GET /echo HTTP/3",
            "GET /echo http/1.1", "GET /echo HTTP/1.1 ", "GET  /echo HTTP/1.1", "GET\t/echo HTTP/1.1",
            "GET /echo\tHTTP/1.1", " GET /echo HTTP/1.1", "get /echo HTTP/1.1", "GE\0T /echo HTTP/1.1",
            "GET /echo HTTP/1.1\nX: y", "GET /echo\n HTTP/1.1", "GET /echo\0 HTTP/1.1", "GET /echo#x HTTP/1.1",
            "GET /e\x7fcho HTTP/1.1", "GET /\xffecho HTTP/1.1", "GET echo HTTP/1.1", "GET * HTTP/1.1",
            "GET ?/echo HTTP/1.1", "GET :443/echo HTTP/1.1", "GET /echo HTTP/1.1\r", "PRI * HTTP/2.0",
            "GET /echo HTTP/1.1, HTTP/1.1", "FOO: bar\r\nGET /echo HTTP/1.1")
            for text in [line(bad)]] + ["\x16" + get(), "\0" + get(), get().replace("\r\n", "\n"),
                                        get().replace("\r\n", "\r"), "HTTP/1.1 200 OK\r\n" + get()])

    def test_paths(self):
        self.none([get(path) for path in (
            "/echo/../hidden", "/echo/%2e%2e/hidden", "/echo/..%2fhidden", "/echo/%2e%2e%2fhidden", "/echo/.%2e/hidden",
            "/echo\\..\\hidden", "/echo/%5c..%5chidden", "/repos/acme/../../hidden", "/repos/acme/..;/hidden/../..",
            "//hidden", "/echo//../hidden", "/%2fhidden", "/echo%00/hidden", "/echo%0d%0aX", "/repos/acme/%252e%252e/../x",
            "/./hidden", "/hidden", "/ECHO", "/ech%6f/../hidden", "/echo%2f", "/echohidden", "/repos/acme", "/repos/acme%2f")])

    def test_targets(self):
        second = "second.example.test"
        self.none([get("https://second.example.test/echo"), get("https://second.example.test/echo", host=second),
                   get("/echo", host=second), get("https://api.example.test/echo", host=second),
                   get("https://api.example.test@second.example.test/echo"),
                   get("https://second.example.test@api.example.test/echo"),
                   get("https://api.example.test:444/echo"), get("http://api.example.test/echo"),
                   get("https://api.example.test"), get("https://api.example.test?/echo"),
                   get("https:///echo"), get("https:/echo"), get("https://api.example.test\\@second.example.test/echo"),
                   get("ftp://api.example.test/echo"), get("https://api.example.test:443:443/echo"),
                   get("https://203.0.113.11/echo"), get("https://[::1]/echo"), get("https://api.example.test/hidden"),
                   get("https://egress/echo"), get("https://_egress.local/echo"), get("api.example.test:443")])

    def test_hosts(self):
        self.none([get(host=host) for host in (
            "second.example.test", "api.example.test:444", "api.example.test:", "api.example.test:443:443",
            "api.example.test, second.example.test", "api.example.test second.example.test", "", "api.example.test/x",
            "u@api.example.test", "api.example.test@second.example.test", "api.example.test\0", "api.example.test#",
            "203.0.113.10", "203.0.113.11", "[::ffff:203.0.113.10]", "api.example.test\\second", "*.example.test",
            "xapi.example.test", "api.example.testx", "api.example.test:443x", "api.example.test:+443", None)] + [
            get("/echo", "Host: second.example.test"), get("/echo", "Host: api.example.test"),
            get("/echo", "host: second.example.test"), get("/echo", "Host : second.example.test"),
            get("/echo", " Host: second.example.test"), get("/echo", "X: y\r\n Host: second.example.test"),
            "GET /echo HTTP/1.1\r\n Host: api.example.test" + END])

    def test_hosts_that_are_right(self):
        self.once([get(host=host).replace(END, "\r\nConnection: close" + END) for host in (
            "api.example.test:443", "API.Example.TEST", "api.example.test.", "api.example.test:0443",
            "\tapi.example.test ")] + [
            get("https://api.example.test/echo", "Connection: close"),
            get("HTTPS://API.example.test:443/echo", "Connection: close"),
            get("/echo", "X-Forwarded-Host: second.example.test", "X-Original-URL: /x", "Connection: close"),
            get("/echo", "Forwarded: for=x;host=second.example.test", "X_Forwarded_Host: second.example.test",
                "X-Host: second.example.test", "X-Original-Host: second.example.test", "Connection: close"),
            post("/echo", "Transfer-Encoding: chunked", "Connection: close",
                 body="0\r\nX-Forwarded-Host: second.example.test\r\n\r\n")])
        for seen in self.arrived():
            self.assertNotIn("second.example.test", json.dumps(seen))

    def test_field_names(self):
        self.none([get("/echo", bad) for bad in (
            "X Y: z", "X\tY: z", ": z", "X", "X\0: z", "X\x7f: z", "X\xe9: z", "X(: z", "X: a\0b", "X: a\rb", "X: a\nb",
            "X: a\x0bb", "X: a\x7fb", "X: a\r\n b", "X: a\r\n\tb", "\r", "X: a\r\r\nb: c", "Content-Length: 1\r\n ,1",
            "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length : 0", "Content-Length: 1e1",
            "Transfer-Encoding:\x0cchunked", "Transfer-Encoding: chunked;q=1", "Content-Length: 9223372036854775808")])

    def test_second_paths(self):
        """WebDAV's Destination, in whatever way MOVE or COPY is asked for."""
        self.none([line(f"{method} /echo HTTP/1.1", f"Destination: {to}", *more, "Connection: close")
                   for method, *more in (["MOVE"], ["COPY"], ["POST", "X-HTTP-Method-Override: MOVE"])
                   for to in ("/hidden", "https://api.example.test/hidden", "https://second.example.test/echo",
                              "https://api.example.test/echo/%2e%2e/hidden")])

    def test_explicit_proxy(self):
        """CONNECT names one host, what is inside another."""
        def connect(host, *fields):
            return "\r\n".join([f"CONNECT {host} HTTP/1.1", f"Host: {host}", *fields]) + END
        self.none([get()], connect=connect("second.example.test:443"))
        self.none([get()], connect=connect("api.example.test:443"), sni="second.example.test")
        self.none([get(host="second.example.test")], connect=connect("api.example.test:443"))
        self.none([get()], connect=connect("api.example.test:443", "Content-Length: 5"))
        self.none([get()], connect=connect("api.example.test:443", "Transfer-Encoding: chunked"))
        self.none([get()], connect=connect("u@api.example.test:443"))
        self.none([get()], connect=connect("https://api.example.test:443"))
        self.none([get()], connect=connect("203.0.113.10:443"))
        self.none([get("http://second.example.test/x")], connect=connect("api.example.test:443"))

    def test_z_log(self):
        with open(self.bottle.log_path, encoding="utf-8") as file:
            self.assertNotIn(MARK, file.read())
