# SPDX-License-Identifier: BSD-2-Clause
"""upstream.proxy: the way out leads through another proxy, by CONNECT."""
import hashlib
import json
import os

import harness
import world as w
from harness import Case, MARK, PROGRAMS, PYTHON, ROUTES, SECRETS, run_exec

PLAIN, TLS = 3128, 3129
PASSWORD = "px-" + MARK
AUTH = "proxy_auth: {username: egress, token_env: E2E_PROXY_PASSWORD}"
URL = "https://api.example.test/echo/one"
MORE_ROUTES = ROUTES + "  - host: outside-only.example.test\n"
ECHO = r"""
import hashlib, os, socket, sys, threading
s = socket.create_connection((sys.argv[1], 7000))
data, got = os.urandom(int(sys.argv[2])), hashlib.sha256()
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while part := s.recv(1 << 16):
    got.update(part)
print(got.hexdigest() == hashlib.sha256(data).hexdigest())
"""


class Chain(Case):
    log = None

    @classmethod
    def setUpClass(cls):
        world = harness.world
        cls.log = world.path("connect-proxy.log")
        open(cls.log, "w", encoding="utf-8").close()
        w.sh(f"""set -e; cd {world.directory}
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=proxy CA' -addext 'subjectAltName=IP:{w.GATEWAY_V4}' \
            -keyout proxy.key -out proxy.pem""")
        program = [PYTHON, "-B", os.path.join(PROGRAMS, "connect_proxy.py"), w.GATEWAY_V4]
        env = {**os.environ, "PROXY_CREDENTIAL": "egress:" + PASSWORD}
        with world.in_origin():
            cls.proxies = [
                world.spawn([*program, str(PLAIN), cls.log], env=env),
                world.spawn([*program, str(TLS), cls.log, world.path("proxy.pem"),
                             world.path("proxy.key")], env=env)]
        world.wait_port(w.GATEWAY_V4, PLAIN)
        world.wait_port(w.GATEWAY_V4, TLS)

    @classmethod
    def tearDownClass(cls):
        for process in cls.proxies:
            process.terminate()

    def setUp(self):
        super().setUp()
        self.seen = len(self.asked(0))

    def asked(self, since=None):
        return harness.json_lines(self.log, self.seen if since is None else since)

    def through(self, command, tls=False, more=AUTH, password=PASSWORD, routes=MORE_ROUTES, **options):
        log = harness.world.path("chain.log")
        if os.path.exists(log):
            os.unlink(log)
        proxy = (f"proxy: 'https://{w.GATEWAY_V4}:{TLS}', proxy_ca_file: "
                 f"{harness.world.path('proxy.pem')}" if tls
                 else f"proxy: 'http://{w.GATEWAY_V4}:{PLAIN}'")
        text = (f"upstream: {{ca_file: {harness.world.path('test-ca.pem')}, {proxy}"
                f"{', ' + more if more else ''}}}\nroutes:{routes}")
        result = run_exec(command, "--log", log, policy_text=text,
                          env={"E2E_PROXY_PASSWORD": password}, **options)
        with open(log, encoding="utf-8") as file:
            said = file.read()
        self.assertNotIn(MARK, said + result.stdout + result.stderr)
        self.records = [json.loads(line) for line in said.splitlines()]
        return result

    def last(self, host):
        return [r for r in self.records if r.get("host") == host and r["source"] == "proxy"][-1]

    def refused(self, result, reason):
        status, _, body = self.ok(result).partition("\n")
        self.assertEqual(status, "502")
        answer = json.loads(body)
        self.assertEqual(answer["reason"], reason)
        self.assertEqual(self.last(answer["host"])["reason"], reason)
        return answer["detail"]

    curl = ["curl", "-sS", "--max-time", "20"]
    status = [*curl, "-D", "/dev/null", "-o", "answer", "-w", "%{http_code}\n"]

    def fetch(self, url):
        return ["sh", "-c", f"{' '.join(self.status[:-1])} '%{{http_code}}\\n' {url} && cat answer"]

    def test_https_and_its_credential(self):
        output = self.ok(self.through([*self.curl, URL, URL]))
        self.assertEqual(output.count('"target": "/echo/one"'), 2)
        request = self.arrived()[-1]
        self.assertEqual(self.header(request, "authorization"), ["Bearer " + SECRETS["E2E_TOKEN_0"]])
        self.assertEqual(self.header(request, "proxy-authorization"), [])
        asked = self.asked()
        self.assertEqual([a["authority"] for a in asked], ["api.example.test:443"])  # and reused
        self.assertIn("Proxy-Authorization", asked[0]["fields"])
        self.assertEqual(set(asked[0]["fields"]), {"Host", "Proxy-Authorization"})

    def test_plain_http_and_a_name_only_the_proxy_knows(self):
        self.ok(self.through([*self.curl, "http://outside-only.example.test/x"]))
        self.assertEqual(self.asked()[0]["authority"], "outside-only.example.test:80")
        self.assertEqual(self.header(self.arrived()[-1], "host"), ["outside-only.example.test"])

    def test_tcp_and_passthrough(self):
        self.assertIn("True", self.ok(self.through(
            [PYTHON, "-c", ECHO, "tcp.example.test", "3000000"])))
        self.assertIn("True", self.ok(self.through([PYTHON, "-c", ECHO, "203.0.113.16", "10"])))
        self.assertEqual([a["authority"] for a in self.asked()],
                         ["tcp.example.test:7000", "203.0.113.16:7000"])
        output = self.ok(self.through([*self.curl, "https://pinned.example.test/p"]))
        self.assertIn('"target": "/p"', output)
        self.assertEqual(self.arrived()[-1]["sni"], "pinned.example.test")

    def test_tls_in_tls(self):
        script = ("head -c 8000000 /dev/urandom >up; sha256sum <up; "
                  f"{' '.join(self.curl)} -T up https://both.example.test/echo; "
                  "curl -sS https://bulk.example.test/gib -r 0-19999999 | sha256sum;"
                  "curl -sS http://both.example.test/plain")
        output = self.ok(self.through(["sh", "-c", script], tls=True))
        self.assertIn(hashlib.sha256(bytes(20000000)).hexdigest(), output)
        self.assertIn(f'"sha256": "{output.split()[0]}"', output)
        self.assertTrue(all(a["tls"] for a in self.asked()))
        self.assertIn('"target": "/plain"', output)
        self.assertIn("True", self.ok(self.through(
            [PYTHON, "-c", ECHO.replace("s.shutdown(socket.SHUT_WR)", "pass").replace(
                "while part := s.recv(1 << 16):\n    got.update(part)",
                "left = len(data)\nwhile left:\n    part = s.recv(1 << 16); left -= len(part);"
                " got.update(part)"), "tcp.example.test", "2000000"], tls=True)))

    def test_refusal_has_the_proxys_words(self):
        detail = self.refused(self.through(self.fetch("https://dead.example.test/")),
                              "upstream_refused")
        self.assertIn("the upstream proxy refused: 403 Forbidden: blocked by pipelock: "
                      "dead.example.test [31m", detail)

    def test_refusal_of_a_tunnel(self):
        routes = ROUTES.replace("tcp.example.test", "dead.example.test", 1).replace(
            "  - host: dead.example.test\n  - cidr", "  - cidr")
        result = self.through([*self.curl, "-p", "-x", f"http://egress:{harness.PROXY_PORT}",
                               "http://dead.example.test:7000/"], routes=routes)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("502", result.stderr)
        self.assertEqual(self.last("dead.example.test")["reason"], "upstream_refused")

    def test_wrong_password(self):
        detail = self.refused(self.through(self.fetch(URL), password="wrong-" + MARK),
                              "upstream_refused")
        self.assertIn("407", detail)
        self.assertIn("does not take the credential of upstream.proxy_auth", detail)
        detail = self.refused(self.through(self.fetch(URL), more=""), "upstream_refused")
        self.assertIn("it wants a credential: upstream.proxy_auth", detail)

    def test_no_password(self):
        result = run_exec(["true"], policy_text="routes: []\nupstream: {proxy: 'http://a:1', "
                          "proxy_auth: {username: me, token_env: E2E_UNSET}}\n")
        self.assertEqual(result.returncode, 2)
        self.assertIn(":2: token_env: the variable E2E_UNSET is not set", result.stderr)

    def test_password_is_not_the_commands(self):
        self.assertEqual(self.ok(self.through(["sh", "-c", "echo ${E2E_PROXY_PASSWORD-unset}"])),
                         "egress-bpf-placeholder\n")

    def test_proxy_not_trusted(self):
        test_ca = harness.world.path("test-ca.pem")
        text = (f"upstream: {{ca_file: {test_ca}, proxy: 'https://{w.GATEWAY_V4}:{TLS}', "
                f"proxy_ca_file: {test_ca}}}\nroutes:{ROUTES}")
        result = run_exec(self.fetch(URL), policy_text=text)
        self.assertIn("502\n", self.ok(result))
        self.assertIn('"reason":"upstream_certificate"', result.stdout)
        self.assertIn("the upstream proxy", result.stdout)
        self.assertEqual(self.asked() + self.arrived(), [])

    def test_proxy_away(self):
        text = (f"upstream: {{proxy: 'http://{w.GATEWAY_V4}:9'}}\nroutes:{ROUTES}")
        result = run_exec(self.fetch(URL), policy_text=text)
        self.assertIn('"reason":"upstream_unreachable"', self.ok(result))
        self.assertIn("the upstream proxy (203.0.113.2) port 9: Connection refused", result.stdout)

    def test_no_proxy(self):
        more = AUTH + ", no_proxy: [api.example.test, '203.0.113.16/32']"
        self.assertIn('"target"', self.ok(self.through([*self.curl, URL], more=more)))
        self.assertIn("True", self.ok(self.through(
            [PYTHON, "-c", ECHO, "203.0.113.16", "10"], more=more)))
        self.assertEqual(self.asked(), [])
        self.ok(self.through([*self.curl, "https://second.example.test/"], more=more))
        self.assertEqual(len(self.asked()), 1)

    def test_origin_is_verified_all_the_same(self):
        detail = self.refused(self.through(self.fetch("https://badcert.example.test/")),
                              "upstream_certificate")
        self.assertIn("hostname mismatch", detail)
