# SPDX-License-Identifier: BSD-2-Clause
"""Origins that answer before they have read the body: the client gets the answer whole, whatever it
still sends, and its connection serves the next request."""
import json
import os
import time

import harness
from harness import PROGRAMS, BottleCase
from test_http2 import H2CLIENT

ORIGIN = os.path.join(PROGRAMS, "early_origin.py")
ROUTES = """
  - host: h2only.example.test
    path_allowlist: [/200/, /401/, /403/empty, /407/, /413/, /417/, /500/]
  - host: h2.example.test
"""
SIZE = 8 << 20
H2, H1 = "h2only.example.test", "h2.example.test"

# A client that reads nothing before it has sent all; then another request on its connection. Each case is
# [host, path, "length" | "chunked", fields]; prints what came.
HTTP1 = r"""
import json, socket, ssl, sys
SIZE = 8 << 20

def answer(f):
    status, fields = f.readline().decode().split(" ")[1], {}
    while (line := f.readline().decode().strip()):
        name, value = line.lower().split(": ", 1)
        fields[name] = value
    if status[0] == "1":
        return answer(f)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while (size := int(f.readline(), 16)):
            body += f.read(size)
            f.readline()
        while f.readline().strip():
            pass
    else:
        body = f.read(int(fields.get("content-length", 0)))
    return [int(status), len(body)]

for host, path, framing, fields in json.load(open(sys.argv[1])):
    out = []
    try:
        s = socket.create_connection((host, 443), 30)
        s = ssl._create_unverified_context().wrap_socket(s, server_hostname=host)
        length = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {SIZE}"
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n{fields}\r\n".encode())
        block = b"x" * 65536
        for _ in range(SIZE // len(block)):
            s.sendall(b"10000\r\n" + block + b"\r\n" if framing == "chunked" else block)
        if framing == "chunked":
            s.sendall(b"0\r\nX-Sum: 1\r\n\r\n")
        f = s.makefile("rb")
        out += answer(f)
        s.sendall(f"POST /200/end HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        out += answer(f)
    except (OSError, ValueError, IndexError) as error:
        out.append(repr(error))
    print(json.dumps(out), flush=True)
"""
# Asks for what never comes; ends TLS and then TCP in order when it is told to.
GIVES_UP = r"""
import signal, socket, ssl, sys
def end(*_):
    s.setblocking(False)
    try:
        s.unwrap()
    except ssl.SSLWantReadError:
        sys.exit()
s = ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(
    socket.create_connection((sys.argv[2], 443)), server_hostname=sys.argv[2])
signal.signal(signal.SIGTERM, end)
s.sendall(f"GET /200/freeze HTTP/1.1\r\nHost: {sys.argv[2]}\r\n\r\n".encode())
s.recv(1)
"""

# A client of HTTP/2 that sends each body, as its windows allow, unless it is told to stop, and goes on with
# another stream in between. Prints the uploads' answers, then what became of the other stream.
HTTP2 = r"""
import json, struct, sys
exec(open(sys.argv[2]).read().split("def run")[0])
HOST, CASES, SIZE = *json.load(open(sys.argv[1])), 1 << 20

class Uploader(Client):
    def __init__(self, host):
        super().__init__(host)
        self.windows, self.initial, self.next = {0: 65535}, 65535, 1

    def take(self, kind, flags, number, payload):
        if kind == 8:
            self.windows[number] = self.windows.get(number, self.initial) + struct.unpack("!I", payload)[0]
        elif kind == 4 and not flags & 1:
            for i in range(0, len(payload), 6):
                if payload[i + 1] == 4:
                    self.initial = struct.unpack("!I", payload[i + 2:i + 6])[0]
        elif kind == 0 and payload:
            self.socket.sendall(frame(8, 0, 0, struct.pack("!I", len(payload))))
        super().take(kind, flags, number, payload)

    def begin(self, path, *fields):
        n, self.next = self.next, self.next + 2
        self.socket.sendall(self.headers([(":method", "POST"), (":scheme", "https"), (":authority", HOST),
                                          (":path", path), *fields], n, False))
        return self.stream(n), n

    def part(self, stream, n, length, end):
        while True:
            window = min(self.windows[0], self.windows.setdefault(n, self.initial))
            if window > 0 or stream["reset"] is not None:
                break
            before = dict(self.windows)
            self.receive(20, lambda: self.windows != before or stream["reset"] is not None)
            if self.windows == before and stream["reset"] is None:
                raise OSError("no window")
        if stream["reset"] is not None:
            return None
        length = min(length, window, 16000)
        self.socket.sendall(frame(0, 1 if end(length) else 0, n, b"x" * length))
        self.windows[0] -= length
        self.windows[n] -= length
        return length

    def upload(self, path, *fields):
        stream, n = self.begin(path, *fields)
        left = SIZE
        while left and (sent := self.part(stream, n, left, lambda length: length == left)):
            left -= sent
            self.receive(0.001, lambda: False)
        self.receive(20, lambda: stream["end"] and (left == 0 or stream["reset"] is not None)
                     or stream["reset"] is not None)
        status = dict(stream["headers"]).get(":status")
        return [status and int(status), stream["body"], stream["reset"], left > 0, stream["trailers"]]

client = Uploader(HOST)
client.receive(5, lambda: client.initial != 65535)
other, n = client.begin("/200/echo", ("content-type", "application/grpc"), ("te", "trailers"))
try:
    for path in CASES:
        print(json.dumps(client.upload(path, ("content-length", str(SIZE)))), flush=True)
        before = len(other["body"])
        if not other["end"]:
            client.part(other, n, 10, lambda _: False)
        client.receive(20, lambda: len(other["body"]) == before + 10 or other["end"])
except OSError as error:
    print(json.dumps(repr(error)))
print(json.dumps([other["end"], other["reset"], len(other["body"]), client.goaway]))
if not other["end"]:
    client.socket.sendall(frame(0, 1, n))
client.receive(20, lambda: other["end"])
print(json.dumps([other["end"], other["reset"], other["trailers"]]))
"""


class Early(BottleCase):
    origins = []

    @classmethod
    def setUpClass(cls):
        world = harness.world
        with world.in_origin():
            cls.origins = [world.spawn([harness.PYTHON, ORIGIN, world.directory, address, kind])
                           for address, kind in (("203.0.113.23", "h2"), ("203.0.113.22", "h1"))]
            for address in ("203.0.113.22", "203.0.113.23"):
                world.wait_port(address, 443)
        cls.bottle = harness.Bottle(harness.policy(ROUTES))

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        harness.world.end(*cls.origins)

    def test_curl(self):
        """As it sends a body of its own accord (it waits for 100 a second), and what it keeps."""
        path = harness.write("early-body", "x" * SIZE)
        for how, fields in (("end", ["-T", path]), ("reset", ["--data-binary", "@" + path]),
                            ("late", ["-T", path, "-H", "Transfer-Encoding: chunked"]),
                            ("reset", ["-T", path, "-H", "Expect: 100-continue"])):
            for status in (200, 413):
                url = f"https://{H2}/{status}/{how}"
                output = self.ok(self.bottle.curl("--http1.1", *fields, "-w", " %{http_code}\n", url))
                self.assertEqual(output, f"no {status}\n", (how, fields))

    def test_curl_http2(self):
        """curl 7.88 drops an answer that it reads together with its stream's reset, although no error is
        in it: neither an origin's answer comes that way, nor ours."""
        for size in (100 << 10, SIZE):
            path = harness.write("early-body", "x" * size)
            for host, status, how in ((H2, 413, "end"), (H2, 413, "reset"), (H2, 413, "cancel"), (H2, 401, "bare"),
                                      (H2, 413, "on"), (H1, 413, "close"), (H2, 403, "denied")):
                url = f"https://{host}/{status}/{how}"
                for fields in (["--data-binary", "@" + path], ["-T", path]):
                    result = self.bottle.curl("--http2", *fields, "-w", " %{http_code}\n", url)
                    self.assertEqual(result.stdout[-5:], f" {status}\n", (size, url, fields, result))
                    self.assertEqual(result.returncode, 0, (size, url, fields, result))

    def played(self, code, cases):
        """What the client prints of each case, and that each request has one record."""
        before = len(self.bottle.log())
        output = self.ok(self.bottle.python(code, harness.write("early-cases", json.dumps(cases)), H2CLIENT))
        return [json.loads(line) for line in output.splitlines()], self.bottle.log()[before:]

    def test_http1_to_http2(self):
        cases = [[H2, f"/{status}/{how}", framing, ""]
                 for framing in ("length", "chunked")
                 for status, how in ((200, "end"), (413, "reset"), (401, "bare"), (407, "cancel"),
                                     (417, "hints"), (200, "trailers"), (200, "late"), (403, "empty"),
                                     (200, "large"))]
        # Who does not wait for what it asked for, and whose body came before the answer.
        cases.append([H2, "/200/late", "length", "Expect: 100-continue\r\n"])
        answers, log = self.played(HTTP1, cases)
        self.assertEqual(len(answers), len(cases), answers)
        for case, answer in zip(cases, answers):
            _, status, how = case[1].split("/")
            length = {"large": 240000, "empty": 0}.get(how, 2)
            self.assertEqual(answer, [int(status), length, 200, 2], case)
        self.assertEqual([(r["path"], r["status"], r["verdict"]) for r in log],
                         [(path, status, "allowed") for case, answer in zip(cases, answers)
                          for path, status in ((case[1], answer[0]), ("/200/end", 200))])

    def test_http1_writes_before_a_long_answer(self):
        """An answer that the client's sockets do not hold is read when all is written: what is left of its
        body goes nowhere by then, since the origin takes none."""
        cases = [[H2, f"/200/huge{mib}{how}", framing, ""] for mib in (1, 4) for how in ("", "-reset")
                 for framing in ("length", "chunked")]
        answers, log = self.played(HTTP1, cases)
        for case, answer in zip(cases, answers):
            mib = int(case[1].removeprefix("/200/huge").partition("-")[0])
            self.assertEqual(answer, [200, mib << 20, 200, 2], case)
        self.assertEqual([(r["path"], r["status"], r["verdict"]) for r in log],
                         [(path, 200, "allowed") for case in cases for path in (case[1], "/200/end")])

    def test_http1_closes(self):
        """Where the connection ends with the answer, too: who writes all before it reads gets that answer."""
        cases = [[host, path, framing, fields] for framing in ("length", "chunked")
                 for host, path, fields in ((H2, "/403/denied", ""), (H2, "/413/reset", "Connection: close\r\n"),
                                            (H1, "/413/close", ""))]
        answers, _ = self.played(HTTP1, cases)
        for case, answer in zip(cases, answers):
            self.assertEqual(answer[0], int(case[1][1:4]), (case, answer))

    def test_http1_is_cut(self):
        """What is not whole is not taken for whole, and who sends no more is not waited for."""
        cases = [[H2, f"/200/{how}", "length", ""] for how in ("cut", "unended")]
        answers, log = self.played(HTTP1, cases)
        self.assertEqual([len(a) for a in answers], [1, 1], answers)
        for record in log:
            self.assertEqual((record["reason"], record["status"]), ("upstream_protocol", 200))
        self.assertEqual(len(log), 2)
        answers, log = self.played(HTTP1.replace("SIZE // len(block)", "1"), [[H2, "/200/reset", "length", ""]])
        self.assertEqual(answers[0][:2], [200, 2])
        self.assertEqual(len(answers[0]), 3, answers)
        self.assertEqual([(r["path"], r["reason"], r["status"]) for r in log], [("/200/reset", "allowed", 200)])

    def test_http2_to_http1(self):
        cases = [f"/{status}/end" for status in (200, 401, 407, 413, 417)] * 2
        answers, log = self.played(HTTP2.replace("/200/echo", "/200/end"), [H1, cases])
        self.assertEqual(answers[:-2], [[int(c[1:4]), "no", None, False, []] for c in cases])
        self.assertEqual(len(log), len(cases) + 1)

    def test_http2_is_silent(self):
        """Who neither goes on nor ends is told that nobody waits, without an error."""
        silent = HTTP2.split("client = Uploader")[0] + """
client = Uploader(HOST)
for path in CASES:
    stream, n = client.begin(path)
    client.part(stream, n, 100, lambda _: False)
    client.receive(5, lambda: stream["end"])
    early = stream["reset"]
    client.receive(20, lambda: stream["reset"] is not None)
    print(json.dumps([dict(stream["headers"])[":status"], early, stream["reset"], client.goaway]))
"""
        answers, _ = self.played(silent, [H2, ["/413/reset", "/200/end", "/403/denied"]])
        self.assertEqual(answers, [[status, None, 0, None] for status in ("413", "200", "403")])

    def when_told(self):
        """By the origin, from now on."""
        def size():
            return os.path.getsize(path) if os.path.exists(path) else 0
        path = harness.world.path("early-told")
        before = size()
        return lambda: harness.wait_for(lambda: size() > before)

    def test_a_window_that_stays_shut(self):
        """An upload that is not read takes the connection's window: requests that come later go elsewhere."""
        code = HTTP2.split("client = Uploader")[0] + """
client = Uploader(HOST)
client.receive(5, lambda: client.initial != 65535)
stream, n = client.begin(CASES[0])
for _ in range(5):
    client.part(stream, n, 16000, lambda _: False)
client.receive(60)
"""
        path = harness.write("early", json.dumps([H2, ["/200/keep"]]))
        told = self.when_told()
        process = self.bottle.popen([harness.PYTHON, "-c", code, path, H2CLIENT])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        told()
        time.sleep(2)  # a second of it, from when the proxy has noticed
        for option in ("--http2", "--http1.1"):
            self.assertEqual(self.ok(self.bottle.curl(option, "-d", "body", f"https://{H2}/200/read")), "4")
        self.assertIsNone(process.poll())

    def test_a_connection_that_fell_silent(self):
        """The origin hangs, and its kernel goes on: who gave up waiting does not meet it again. A client of
        HTTP/1.1 may have ended its own side alone: whether it gave up is known later, and a doubt is enough."""
        for command in ([harness.PYTHON, "-c", GIVES_UP, self.bottle.certificate, H2],
                        ["curl", "-sS", "--cacert", self.bottle.certificate, f"https://{H2}/200/freeze"]):
            told = self.when_told()
            client = self.bottle.popen(command)
            self.addCleanup(client.kill)
            told()
            time.sleep(2)  # who gives up within a second of the last frame says nothing of the session
            client.terminate()
            client.wait()
            self.assertEqual(self.ok(self.bottle.curl("-d", "body", f"https://{H2}/200/read")), "4")

    def test_http2_to_http2(self):
        cases = [f"/{status}/{how}" for status, how in
                 ((200, "end"), (413, "reset"), (401, "bare"), (407, "cancel"), (417, "hints"),
                  (200, "trailers"), (200, "late"), (403, "empty"), (500, "cut"), (200, "unended"))] * 3
        answers, log = self.played(HTTP2, [H2, cases])
        expected = [[int(case.split("/")[1]), "no", None, False, []] for case in cases]
        for i in range(0, len(cases), 10):
            expected[i + 5][4] = [["x-sum", "1"]]
            expected[i + 7][1] = ""
            expected[i + 8][2:4] = expected[i + 9][2:4] = 2, True  # not whole
        self.assertEqual(answers[:-2], expected)
        # Both ways at once, and it never ended early.
        self.assertEqual(answers[-2:], [[False, None, 10 * len(cases), None],
                                        [True, None, [["grpc-status", "0"]]]])
        self.assertEqual(sorted((r["path"], r["status"]) for r in log),
                         sorted([(c, int(c.split("/")[1])) for c in cases] + [("/200/echo", 200)]))


if __name__ == "__main__":
    raise SystemExit("by run.py")
