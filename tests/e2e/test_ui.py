# SPDX-License-Identifier: BSD-2-Clause
"""`ui`: who may use the page and who may not, and what it hands on."""
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import harness
import world as w
from harness import Bottle, BottleCase, Case, alive, children, cli, wait_for

STATIC = ("/", "/page.css", "/page.js", "/icon.svg")
API = ("/api/events", "/api/status", "/api/policy", "/api/pending")
POSTS = ("/api/why", "/api/allow", "/api/deny")


class Page:
    """`ui` for a bottle, and a browser that has its link."""

    def __init__(self, bottle, *options):
        self.process = subprocess.Popen(
            [harness.world.program, "ui", bottle.name, *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            preexec_fn=w.die_with_parent, env=harness.environment())
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.stderr.read())
        self.origin, self.token = self.url.split("/#")
        self.host = self.origin[len("http://"):]
        self.port = int(self.host.rpartition(":")[2])
        self.address = self.host.rpartition(":")[0].strip("[]")
        self.cookie = self.key = None

    def connect(self, timeout=20):
        return http.client.HTTPConnection(self.address, self.port, timeout=timeout)

    def raw(self, request, timeout=20):
        """What comes back until the end."""
        with socket.create_connection((self.address, self.port), timeout) as s:
            s.sendall(request)
            got = b""
            try:
                while data := s.recv(65536):
                    got += data
            except ConnectionResetError:
                pass
            return got

    def ask(self, path, method="GET", body=None, session=True, **headers):
        """Status, headers and body; `headers` replace those a browser with a session sends."""
        given = {"Host": self.host, "Sec-Fetch-Site": "same-origin"}
        if method == "POST":
            given["Origin"] = self.origin
        if session:
            given.update({"Cookie": self.cookie, "X-Egress-Key": self.key})
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection = self.connect()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            data = body.encode() if body else b""
            if method == "POST":
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def log_in(self):
        status, headers, body = self.ask("/api/session", "POST", self.token, session=False)
        if status != 200:
            raise AssertionError(body)
        self.cookie = headers["Set-Cookie"].split(";")[0]
        self.key = json.loads(body)["key"]
        return headers["Set-Cookie"]

    def json(self, path):
        status, _, body = self.ask(path)
        if status != 200:
            raise AssertionError(f"{status} {body}")
        return json.loads(body)

    def stream(self):
        """A connection whose answer to /api/events has begun."""
        connection = self.connect()
        connection.request("GET", "/api/events", headers={
            "Host": self.host, "Cookie": self.cookie, "X-Egress-Key": self.key})
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(answer.read())
        return connection, answer

    def child(self):
        return wait_for(lambda: children(self.process.pid), 5, "the process that serves")[0]

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)
        said = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        if harness.SANITIZER.search(said):
            raise AssertionError(said[-5000:])
        return said


def events_of(answer, enough):
    """Reads server-sent events until `enough` of them says so."""
    found, rest = [], b""
    while not enough(found):
        data = answer.read1(65536)
        if not data:
            raise AssertionError(f"the stream ended with {found[-3:]}")
        *parts, rest = (rest + data).split(b"\n\n")
        found += [json.loads(part[6:]) for part in parts if part.startswith(b"data: ")]
    return found


class WhoMay(BottleCase):
    def setUp(self):
        super().setUp()
        self.page = Page(self.bottle)
        self.addCleanup(self.page.end)

    def status(self, *arguments, **options):
        return self.page.ask(*arguments, **options)[0]

    def test_token_is_good_once(self):
        self.assertRegex(self.page.url, r"^http://127\.0\.0\.1:\d+/#[0-9a-f]{32}$")
        wrong = "0" * 32
        for body in ("", wrong, self.page.token[:-1], self.page.token + "0", self.page.token.upper() + " "):
            self.assertEqual(self.status("/api/session", "POST", body, session=False), 401, body)
        cookie = self.page.log_in()
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(part, cookie)
        self.assertTrue(cookie.startswith(f"egress_ui_{self.page.port}="))
        self.assertNotIn(self.page.token, cookie + self.page.key)
        self.assertEqual(self.page.json("/api/status")["name"], self.bottle.name)
        for body in (self.page.token, wrong, ""):
            self.assertEqual(self.status("/api/session", "POST", body, session=False), 401)
        # Neither is there a second way to get the key with the cookie alone.
        self.assertEqual(self.status("/api/session", "POST", "", X_Egress_Key=None), 401)

    def test_nothing_without_session(self):
        """Before the token was used, too: an empty secret equals nothing."""
        for cookie, key in ((None, None), (f"egress_ui_{self.page.port}=", "")):
            for path in API:
                self.assertEqual(self.status(path, session=False, Cookie=cookie, X_Egress_Key=key), 401)
        self.page.log_in()
        for change in ({"Cookie": None}, {"X_Egress_Key": None}, {"Cookie": "other=1"},
                       {"Cookie": self.page.cookie[:-1]}, {"Cookie": self.page.cookie + "0"},
                       {"X_Egress_Key": self.page.key[:-1]}, {"X_Egress_Key": ""},
                       {"X_Egress_Key": self.page.cookie.partition("=")[2]}):
            for path in API:
                status, headers, body = self.page.ask(path, **change)
                self.assertEqual(status, 401, (path, change))
                self.assertNotIn(self.bottle.name, body)
                self.assertNotIn("Set-Cookie", headers)
            for path in POSTS:
                self.assertEqual(self.status(path, "POST", "{}", **change), 401, (path, change))
        self.assertEqual(self.status("/api/status", Cookie="a=1; " + self.page.cookie + "; b=2"), 200)

    def test_other_names_and_sites(self):
        """DNS rebinding, and pages of other sites in the same browser, with the session's cookie."""
        self.page.log_in()
        for host in (f"localhost:{self.page.port}", f"evil.test:{self.page.port}", "127.0.0.1",
                     f"127.0.0.1:{self.page.port + 1}", f"127.0.0.1:{self.page.port}.evil.test",
                     f"127.0.0.2:{self.page.port}", "", None):
            for path in (*STATIC, *API):
                self.assertIn(self.status(path, Host=host), (400, 403), (path, host))
        twice = self.page.raw(f"GET / HTTP/1.1\r\nHost: {self.page.host}\r\nHost: evil.test\r\n"
                              "Connection: close\r\n\r\n".encode())
        self.assertIn(b"400", twice.split(b"\r\n")[0])
        for site in ("cross-site", "same-site", "none", "nonsense"):
            self.assertEqual(self.status("/api/status", Sec_Fetch_Site=site), 403, site)
            self.assertEqual(self.status("/api/allow", "POST", "{}", Sec_Fetch_Site=site), 403)
        for origin in ("http://evil.test", "null", f"http://127.0.0.1:{self.page.port + 1}",
                       f"https://127.0.0.1:{self.page.port}", self.page.origin + ".evil.test"):
            self.assertEqual(self.status("/api/status", Origin=origin), 403, origin)
            self.assertEqual(self.status("/api/allow", "POST", "{}", Origin=origin), 403, origin)
        self.assertEqual(self.status("/api/allow", "POST", "{}", Origin=None), 403)
        self.assertEqual(self.status("/api/session", "POST", self.page.token, session=False,
                                     Origin="http://evil.test"), 403)
        # No preflight is answered, and nobody else's page may read.
        for method in ("OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
            head = self.page.raw(f"{method} /api/allow HTTP/1.1\r\nHost: {self.page.host}\r\n"
                                 "Origin: http://evil.test\r\nConnection: close\r\n\r\n".encode())
            self.assertRegex(head.split(b"\r\n")[0], b" (404|405|400|501) |^$", method)
            self.assertNotIn(b"access-control", head.lower())

    def test_headers_of_every_answer(self):
        self.page.log_in()
        seen = []
        for path in (*STATIC, "/api/status", "/nothing", "/api/pending"):
            seen.append((path, *self.page.ask(path)[:2]))
        seen.append(("no session", *self.page.ask("/api/status", session=False)[:2]))
        seen.append(("bad host", *self.page.ask("/", Host="evil.test")[:2]))
        for path, _, headers in seen:
            csp = headers["Content-Security-Policy"]
            for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'",
                         "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"):
                self.assertIn(part, csp, path)
            self.assertNotIn("unsafe", csp)
            self.assertEqual((headers["X-Content-Type-Options"], headers["Referrer-Policy"],
                              headers["Cache-Control"], headers["X-Frame-Options"]),
                             ("nosniff", "no-referrer", "no-store", "DENY"), path)
            self.assertNotIn("Access-Control-Allow-Origin", headers)
        self.assertEqual([status for _, status, _ in seen[:4]], [200] * 4)
        # The page brings no script, style or address of its own beside its files.
        html = self.page.ask("/")[2]
        self.assertNotRegex(html, r"(?i)<style|<script(?![^>]*src=)|\son\w+=|\sstyle=|https?://")
        for path in STATIC[1:3]:
            self.assertNotRegex(self.page.ask(path)[2], r"innerHTML *=|insertAdjacent|document\.write|eval\(")

    def test_targets(self):
        self.page.log_in()
        for path in ("/../page.js", "/%2e%2e/etc/passwd", "/page.js/", "/page.js?x", "//page.js",
                     "/api/status/", "/api/Status", "/api/run", "/api/stop", "/" + "a" * 3000):
            self.assertEqual(self.status(path), 404, path)
        self.assertEqual(self.status(f"http://{self.page.host}/api/status"), 404)
        self.assertEqual(self.status("/api/status", "POST", "{}"), 404)
        self.assertEqual(self.status("/api/allow"), 404)
        for body in ("", "[]", "x", '{"a":1,"a":2}', '{"x":"' + "y" * 3900 + '"}'):
            status, _, text = self.page.ask("/api/why", "POST", body)
            self.assertIn("error", json.loads(text), (status, body[:20]))
        self.assertIn(self.status("/api/why", "POST", "{" + " " * 100000 + "}"), (400, 413))
        # The command is ours to say.
        body = '{"command": "events", "method": "GET", "url": "https://api.example.test/echo"}'
        status, _, text = self.page.ask("/api/why", "POST", body)
        self.assertEqual((status, json.loads(text)["reason"]), (200, "allowed"))

    def test_process_without_rights(self):
        child = self.page.child()
        with open(f"/proc/{child}/status", encoding="utf-8") as file:
            status = file.read()
        self.assertRegex(status, r"Uid:\t65534\t65534\t65534\t65534\n")
        self.assertRegex(status, r"Groups:\t ?\n")
        for kind in ("Prm", "Eff", "Bnd", "Inh", "Amb"):
            self.assertRegex(status, rf"Cap{kind}:\t0+\n")
        self.assertRegex(status, r"NoNewPrivs:\t1\n")
        if not harness.memory_kib(child, "VmSize") > 1 << 30:  # sanitizers' calls are not limited
            self.assertRegex(status, r"Seccomp:\t2\n")
        with open(f"/proc/{child}/environ", "rb") as file:
            self.assertEqual(file.read().strip(b"\0"), b"")
        links = [os.readlink(f"/proc/{child}/fd/{n}") for n in range(3)]
        self.assertEqual(links[:2], ["/dev/null"] * 2)
        os.kill(child, signal.SIGKILL)
        self.assertEqual(self.page.process.wait(10), 1)

    def test_ends(self):
        child = self.page.child()
        self.page.process.send_signal(signal.SIGINT)
        self.assertEqual(self.page.process.wait(10), 0)
        wait_for(lambda: not alive(child), 5, "the end of who spoke HTTP")
        with self.assertRaises(ConnectionRefusedError):
            self.page.connect().connect()

    def test_not_from_the_bottle(self):
        inside = self.bottle.run(["curl", "-sS", "--max-time", "5", self.page.origin])
        self.assertNotEqual(inside.returncode, 0)

    def test_wrong_uses(self):
        for bad in (["--listen", "0.0.0.0:0"], ["--listen", "[::]:0"], ["--listen", "192.0.2.1:80"],
                    ["--listen", "[::ffff:192.0.2.1]:0"]):
            result = cli("ui", self.bottle.name, *bad)
            self.assertEqual(result.returncode, 1, bad)
            self.assertIn("is no loopback address", result.stderr)
        for bad in (["--listen", "nonsense"], ["--listen", "127.0.0.1"], ["--listen", "127.0.0.1:80x"],
                    ["--listen", f"127.0.0.1:{self.page.port}"]):
            result = cli("ui", self.bottle.name, *bad)
            self.assertEqual(result.returncode, 1, bad)
            self.assertRegex(result.stderr, "is not ADDR:PORT|cannot listen at")
        for bad in (["--idle", "0s"], ["--idle", "5"], ["--idle", "x"], ["--idle", "-1s"], ["--idle", "169h"], ["--frob"], ["a", "b"], ["../x"]):
            self.assertEqual(cli("ui", *bad).returncode, 2, bad)
        result = cli("ui", "no-such-bottle")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no sidecar of this name is running", result.stderr)


class Shared(Case):
    def test_bottle_on_the_same_loopback(self):
        """The wall does not let a bottle that shares the network namespace get at the page."""
        bottle = Bottle(shared=True)
        page = None
        try:
            page = Page(bottle, "--listen", "[::1]:0")
            four = Page(bottle)
            try:
                for one in (page, four):
                    self.assertEqual(one.ask("/", session=False)[0], 200)
                    inside = bottle.run(["curl", "-sS", "--max-time", "5", "-g", one.origin])
                    self.assertNotEqual(inside.returncode, 0, inside.stdout)
            finally:
                four.end()
            self.assertRegex(page.url, r"^http://\[::1\]:\d+/#")
            page.log_in()
            self.assertEqual(page.json("/api/status")["walls"]["wall0"], "shared")
        finally:
            if page:
                page.end()
            bottle.stop()


class Content(BottleCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = Page(cls.bottle)
        cls.page.log_in()

    @classmethod
    def tearDownClass(cls):
        cls.page.end()
        super().tearDownClass()

    def test_events_as_they_happen(self):
        self.bottle.curl("https://api.example.test/echo/before")
        connection, answer = self.page.stream()
        self.assertEqual(answer.getheader("Content-Type"), "text/event-stream")
        events_of(answer, lambda e: any(x.get("path") == "/echo/before" for x in e))
        self.bottle.curl("https://api.example.test/nowhere")
        found = events_of(answer, lambda e: any(x.get("path") == "/nowhere" for x in e))
        event = [x for x in found if x.get("path") == "/nowhere"][0]
        logged = {x["id"]: x for x in self.bottle.log()}
        self.assertEqual(event, logged[event["id"]])
        connection.close()

    def test_hostile_events(self):
        """Bytes that end an event, or a line, do not: each arrives as one JSON text."""
        bad = "/evil%0A%0Adata:%20{}/<script>alert(1)</script>/%E2%80%AE"
        self.bottle.curl("--path-as-is", "-g", "https://api.example.test" + bad)
        self.bottle.curl("-g", "-A", "x\u202e", "-X", "<b>\u2028", "https://api.example.test/evil<img>")
        connection, answer = self.page.stream()
        found = events_of(answer, lambda e: any("evil%0A" in x.get("path", "") for x in e))
        self.assertTrue(all("reason" in x or "lost" in x or "ok" in x for x in found))
        connection.close()

    def test_status_and_policy(self):
        self.bottle.curl("https://second.example.test/echo")
        status = self.page.json("/api/status")
        self.assertEqual(status["walls"]["whole"], True)
        self.assertIn("second.example.test", {h["host"] for h in status["hosts"]})
        policy = self.page.json("/api/policy")
        with open(self.bottle.policy_path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual([(s["name"], s["text"], s["cut"]) for s in policy["sources"]],
                         [(self.bottle.policy_path, text, False)])
        # In force is what was loaded, and not what the file has become.
        with open(self.bottle.policy_path, "a", encoding="utf-8") as file:
            file.write("# later\n")
        self.assertEqual(self.page.json("/api/policy")["sources"][0]["text"], text)
        everything = json.dumps([status, policy])
        for secret in harness.SECRETS.values():
            self.assertNotIn(secret, everything)

    def test_slow_and_many(self):
        """One that does not read, some that say nothing, and more than there is room for: others are
        served, and nothing grows."""
        flood = ("import socket, struct\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                 "s.settimeout(5); s.connect(('192.0.2.53', 53))\n"
                 "for i in range(20000):\n"
                 "    n = b'%d' % i\n"
                 "    s.send(struct.pack('!6H', i, 256, 1, 0, 0, 0) + bytes([len(n)]) + n +"
                 " b'\\4test\\0\\0\\1\\0\\1'); s.recv(512)\n")
        child = self.page.child()
        slow, unread = self.page.stream()
        silent = [socket.create_connection((self.page.address, self.page.port)) for _ in range(40)]
        for s in silent[:20]:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x")
        before = harness.memory_kib(child)
        self.ok(self.bottle.python(flood))
        self.ok(self.bottle.python(flood))
        self.assertEqual(self.page.json("/api/status")["alive"], True)
        fast, answer = self.page.stream()
        events_of(answer, lambda e: len(e) > 1000)
        self.assertLess(harness.memory_kib(child) - before, harness.room_kib(4096))
        # Who reads again is told what was lost in between.
        found = events_of(unread, lambda e: any("lost" in x for x in e))
        self.assertGreater([x["lost"] for x in found if "lost" in x][0], 0)
        for s in silent:
            s.close()
        slow.close()
        fast.close()
        streams = []
        try:
            for _ in range(32):
                streams.append(self.page.stream()[0])
            status, _, body = self.page.ask("/api/events")
            self.assertEqual(status, 503, body)
            self.assertIn("too many", body)
        finally:
            for connection in streams:
                connection.close()
        wait_for(lambda: self.page.ask("/api/policy")[0] == 200, 10, "room again")

    def test_more_connections_than_descriptors(self):
        """Those without a session cannot keep out for long who has one, nor make it spin."""
        child, held = self.page.child(), []

        def taken():
            return len(os.listdir(f"/proc/{child}/fd"))

        def hold(count):
            for _ in range(count):
                held.append(socket.create_connection((self.page.address, self.page.port), 10))

        try:
            # Not more at a time than wait to be accepted: the kernel would make the next wait a second.
            while taken() < 256:
                hold(4)
                wait_for(lambda: taken() > min(len(held), 255), 10, "room")
            hold(4)
            self.assertLess(harness.runnable(child, 2), 0.5)
            # 503 is what it says while it has no descriptor left for the sidecar's socket.
            wait_for(lambda: tries(lambda: self.page.ask("/api/status")[0] == 200), 40, "an answer")
        finally:
            for s in held:
                s.close()

    def test_no_descriptor_for_the_sidecars_socket(self):
        path, held = f"/proc/{self.page.child()}/fd", []

        def hold():
            held.append(socket.create_connection((self.page.address, self.page.port), 10))

        def answered():
            """By who has a descriptor left for the browser's connection and none besides."""
            if len(os.listdir(path)) < 255:
                return hold()
            status, _, body = self.page.ask("/api/status")
            return body if status == 503 else None

        try:
            # Not more at a time than wait to be accepted: the kernel would make the next wait a second.
            for count in range(230):
                hold()
                if count % 10 == 0:
                    wait_for(lambda: len(os.listdir(path)) > count, 10, "room")
            body = wait_for(lambda: tries(answered), 60, "503")
            self.assertEqual(json.loads(body)["error"],
                             "no descriptor is left for the answer: close other pages")
        finally:
            for s in held:
                s.close()


def tries(function):
    try:
        return function()
    except (OSError, http.client.HTTPException):
        return None


class Life(Case):
    def test_idle(self):
        """An open page keeps it; without one it ends by itself, as does its link."""
        bottle = Bottle()
        page = None
        try:
            page = Page(bottle, "--idle", "3s")
            page.log_in()
            connection, answer = page.stream()
            begun = time.monotonic()
            while time.monotonic() < begun + 6:
                bottle.curl("https://api.example.test/echo")
                events_of(answer, len)
                time.sleep(0.5)
            self.assertIsNone(page.process.poll())
            connection.close()
            self.assertEqual(page.process.wait(40), 0)
            self.assertIn("nobody has had the page open", page.process.stderr.read())
        finally:
            if page:
                page.end()
            bottle.stop()

    def test_sidecar_ends_and_comes_back(self):
        bottle = Bottle()
        page = None
        try:
            page = Page(bottle)
            page.log_in()
            connection, answer = page.stream()
            bottle.process.terminate()
            bottle.process.wait(15)
            self.assertIsNotNone(answer.read())  # to its end
            connection.close()
            status = page.json("/api/status")
            self.assertEqual((status["alive"], status["sidecar"]), (False, None))
            self.assertEqual(page.ask("/api/events")[0], 503)
            bottle.start()
            connection, answer = page.stream()
            connection.close()
            self.assertTrue(page.json("/api/status")["alive"])
        finally:
            if page:
                page.end()
            bottle.stop()
