# SPDX-License-Identifier: BSD-2-Clause
"""`check` and `why`: broken policies get their line and their cure; reload keeps what works."""
import json
import os
import re

import harness
from harness import Bottle, Case, cli, policy, wait_for, write

# Of a value 80 bytes are shown: here the last is half a character.
CUT = "routes:\n  - host: a.test\n    methods: [a" + 60 * "\u00e9" + "]\n"
# Routes on which nothing but waiting would happen; and some that are right on ports that look the same.
WAITING = """routes:
  - host: mail.test
    ports: [25, 587]
  - host: files.test
    ports: [443, 21]
  - host: "*.db.test"
    port: 3306
    tls: passthrough
  - {host: raw.test, ports: [25, 143, 110, 3306], protocol: tcp}
  - {host: web.test, ports: [465, 993, 995, 8025], tls: passthrough}
  - {cidr: 192.0.2.0/24, ports: [25], protocol: tcp}
  - {host: git.test, port: 22}
"""
# What is wrong, the file, the line that must be named, and a word that must be in the message.
BROKEN = [
    ("not YAML", "routes: [\n", 1, ""),
    ("a tab", "routes:\n\t- host: a.test\n", 2, ""),
    ("a list", "- host: a.test\n", 1, "mapping"),
    ("no routes", "dns: {mode: synthetic}\n", 0, "routes"),
    ("routes is a map", "routes:\n  host: a.test\n", 2, "list"),
    ("unknown key", "routes:\n  - host: a.test\n    pathes: [/]\n", 3, "pathes"),
    ("unknown top key", "routes: []\nrules: []\n", 2, "rules"),
    ("no host", "routes:\n  - path_allowlist: [/]\n", 2, "host"),
    ("host and cidr", "routes:\n  - host: a.test\n    cidr: 192.0.2.0/24\n", 3, "cidr"),
    ("host is a URL", "routes:\n  - host: https://a.test/\n", 2, "host"),
    ("host with a port", "routes:\n  - host: a.test:443\n", 2, "ports"),
    ("empty host", "routes:\n  - host: ''\n", 2, "host"),
    ("wildcard inside", "routes:\n  - host: a.*.test\n", 2, r"\*"),
    ("bare wildcard", "routes:\n  - host: '*'\n", 2, r"\*"),
    ("path without slash", "routes:\n  - host: a.test\n    path_allowlist: [repos]\n", 3, "/"),
    ("both kinds of paths",
     "routes:\n  - host: a.test\n    path_allowlist: [/a]\n    matches: [{methods: [GET]}]\n", 3,
     "matches"),
    ("half an auth pair", "routes:\n  - host: a.test\n    auth_scheme: Bearer\n", 3, "token_env"),
    ("other half", "routes:\n  - host: a.test\n    token_env: T\n", 3, "auth_scheme"),
    ("empty auth", "routes:\n  - host: a.test\n    auth: {}\n", 3, "auth"),
    ("unknown scheme",
     "routes:\n  - host: a.test\n    auth_scheme: Digest\n    token_env: T\n", 3, "Bearer"),
    ("both forms of auth",
     "routes:\n  - host: a.test\n    token_env: T\n    auth_scheme: Bearer\n"
     "    auth: {header: x-a, token_env: T}\n", 5, "auth"),
    ("username without Basic",
     "routes:\n  - host: a.test\n    auth: {scheme: Bearer, username: u, token_env: T}\n", 3,
     "username"),
    ("env and file",
     "routes:\n  - host: a.test\n    auth: {header: x-a, token_env: T, token_file: /f}\n", 3,
     "token_"),
    ("header with a space",
     "routes:\n  - host: a.test\n    auth: {header: 'x a', token_env: T}\n", 3, "header"),
    ("auth on passthrough",
     "routes:\n  - host: a.test\n    tls: passthrough\n    auth: {header: x-a, token_env: T}\n", 4,
     "passthrough"),
    ("paths on tcp",
     "routes:\n  - host: a.test\n    protocol: tcp\n    ports: [1]\n    path_allowlist: [/]\n", 5,
     "tcp"),
    ("port zero", "routes:\n  - host: a.test\n    ports: [0]\n", 3, "port"),
    ("port too big", "routes:\n  - host: a.test\n    ports: [65536]\n", 3, "port"),
    ("bad cidr", "routes:\n  - cidr: 10.0.0.0/33\n    protocol: tcp\n    ports: [1]\n", 2, "cidr"),
    ("host bits", "routes:\n  - cidr: 10.1.2.3/8\n    protocol: tcp\n    ports: [1]\n", 2, "10"),
    ("bad regex",
     "routes:\n  - host: a.test\n    matches:\n      - paths: [{type: regex, value: '/('}]\n", 4,
     "regex|regular"),
    ("bad path type",
     "routes:\n  - host: a.test\n    matches:\n      - paths: [{type: glob, value: /}]\n", 4,
     "prefix"),
    ("bad boolean", "routes:\n  - host: a.test\n    allow_private: maybe\n", 3, "true"),
    ("key twice", "routes:\n  - host: a.test\n    host: b.test\n", 3, "host"),
    ("alias", "x: &a {host: a.test}\nroutes: [*a]\n", 1, ""),
    ("bad dns mode", "routes: []\ndns: {mode: fake}\n", 2, "synthetic"),
    ("bad pool", "routes: []\ndns: {pool: 198.18.0.0}\n", 2, "pool"),
    ("bad proxy", "routes: []\nupstream: {proxy: 'ftp://x'}\n", 2, "proxy"),
    ("bad method", "routes:\n  - host: a.test\n    methods: ['GE T']\n", 3, "method"),
]


class Check(Case):
    def test_broken_policies(self):
        for what, text, line, word in BROKEN:
            with self.subTest(what=what):
                path = write("broken.yaml", text)
                result = cli("check", path)
                self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
                # What is missing from the whole file has no line.
                lines = [int(n or 0) for n in re.findall(r"broken\.yaml:(?:(\d+):)? ",
                                                         result.stderr)]
                self.assertTrue(line in lines or line + 1 in lines and what == "not YAML",
                                f"line {line} expected: {result.stderr}")
                self.assertRegex(result.stderr, word or "would be right|expected|YAML|alias")

    def test_all_errors_at_once(self):
        path = write("many.yaml", "routes:\n  - host: a.test\n    nope: 1\n  - hots: b.test\n"
                     "  - host: c.test\n    ports: [99999]\n")
        result = cli("check", path)
        lines = {int(n) for n in re.findall(r"many\.yaml:(\d+)", result.stderr)}
        self.assertEqual(result.returncode, 2)
        self.assertLessEqual({3, 4, 6}, lines)

    def test_seed_forms_and_json(self):
        seed = "routes:\n  - {host: api.github.com, path_allowlist: [/repos/acme/], " \
               "auth_scheme: Bearer, token_env: EGRESS_TOKEN_0}\n  - {host: pypi.org}\n"
        as_json = json.dumps({"routes": [{"host": "api.github.com", "path_allowlist": ["/x/"],
                                          "auth_scheme": "token", "token_env": "T"}]})
        for text in (seed, as_json, policy(), "routes: []\n"):
            result = cli("check", write("good.yaml", text))
            self.assertEqual((result.returncode, result.stderr), (0, ""), text)

    def test_json_of_what_is_cut(self):
        """A value is shown up to 80 bytes, which may end within a character; a file's name is any bytes."""
        path = write("cut.yaml", CUT)
        odd = os.path.join(os.path.dirname(os.fsencode(path)), b"\xff.yaml")
        os.rename(path, odd)
        self.addCleanup(os.unlink, odd)
        result = cli("check", "--json", odd)
        self.assertEqual(result.returncode, 2)
        said = json.loads(result.stdout)
        self.assertTrue(said["file"].endswith("/?.yaml"), said)
        self.assertEqual([e["line"] for e in said["errors"]], [3])
        self.assertIn('"a\u00e9', said["errors"][0]["message"])

    def test_where_the_server_speaks_first(self):
        """The proxy waits there for a client that waits for a greeting: said before, and no error."""
        path = write("waiting.yaml", WAITING)
        expected = [(2, "mail.test", "25", "SMTP", "HTTP"), (2, "mail.test", "587", "SMTP", "HTTP"),
                    (4, "files.test", "21", "FTP", "HTTP"), (6, "*.db.test", "3306", "MySQL", "TLS"),
                    (12, "git.test", "22", "SSH", "HTTP")]
        result = cli("check", path)
        self.assertEqual((result.returncode, result.stdout), (0, f"{path}: ok, 7 routes, 6 hosts\n"))
        said = re.findall(r"egress-bpf: warning: (.*):(\d+): (\S+): port (\d+) is for (\S+), where the "
                          r"server speaks first, and this route waits for (\w+); would be right: "
                          r"protocol: tcp.*\n", result.stderr)
        self.assertEqual(said, [(path, str(line), *rest) for line, *rest in expected], result.stderr)
        self.assertEqual(result.stderr.count("\n"), len(expected), result.stderr)
        # A route for the web and for such a port is two.
        self.assertEqual([":4: " in line for line in result.stderr.splitlines()],
                         ["of its own" in line for line in result.stderr.splitlines()], result.stderr)
        as_json = json.loads(self.ok(cli("check", "--json", path)))
        self.assertEqual((as_json["ok"], as_json["errors"]), (True, []))
        self.assertEqual([w["line"] for w in as_json["warnings"]], [line for line, *_ in expected])
        self.assertIn("protocol: tcp", as_json["warnings"][0]["message"])
        effective = cli("check", "--effective", path)
        self.assertEqual(effective.stderr, result.stderr)
        good = json.loads(self.ok(cli("check", "--json", write("good.yaml", policy()))))
        self.assertEqual(good["warnings"], [])

    def test_where_the_server_speaks_first_within_tls(self):
        """An intercepted route waits for HTTP there, too; what passes TLS through does not wait."""
        path = write("within.yaml", "routes:\n  - {host: mail.test, ports: [465, 443]}\n"
                     "  - {host: in.test, ports: [993, 995]}\n"
                     "  - {host: both.test, ports: [993, 143]}\n"
                     "  - {host: fine.test, ports: [993, 995], tls: passthrough}\n"
                     "  - {host: raw.test, ports: [990], protocol: tcp}\n")
        result = cli("check", path)
        self.assertEqual((result.returncode, result.stdout), (0, f"{path}: ok, 5 routes, 5 hosts\n"))
        own = " in a route of its own"
        self.assertEqual(re.findall(r"warning: .*:(\d+): (\S+): port (\d+) is for (\S+), where the server speaks "
                                    r"first( within TLS|), and this route waits for HTTP; would be right: "
                                    r"(\w+: \w+)(.*)", result.stderr),
                         [("2", "mail.test", "465", "SMTPS", " within TLS", "tls: passthrough", own),
                          ("3", "in.test", "993", "IMAPS", " within TLS", "tls: passthrough", ""),
                          ("3", "in.test", "995", "POP3S", " within TLS", "tls: passthrough", ""),
                          ("4", "both.test", "993", "IMAPS", " within TLS", "tls: passthrough", own),
                          ("4", "both.test", "143", "IMAP", "", "protocol: tcp", own)])

    def test_missing_file(self):
        result = cli("check", "/nonexistent.yaml")
        self.assertEqual(result.returncode, 2)
        self.assertIn("/nonexistent.yaml", result.stderr)

    def test_several_files(self):
        good, bad = write("good.yaml", "routes: []\n"), write("bad.yaml", "routes: 1\n")
        self.assertEqual(cli("check", good, bad).returncode, 2)

    def test_help_everywhere(self):
        for command in ("exec", "run", "status", "check", "why", "diff", "test", "allow", "deny", "hook",
                        "start", "prepare", "provision-ca", "ca", "detach"):
            result = cli(command, "--help")
            self.assertEqual(result.returncode, 0, command)
            self.assertIn("usage", result.stdout.lower())
            self.assertEqual(cli(command, "-h").stdout, result.stdout)
            self.assertEqual(cli(command, "--no-such-option").returncode,
                             2 if command != "exec" else cli(command, "--nope").returncode)
        self.assertEqual(cli("nonsense").returncode, 2)
        self.assertEqual(cli("--version").returncode, 0)


class Why(Case):
    CASES = [
        ("GET", "https://api.example.test/repos/acme/x", "allowed"),
        ("GET", "https://api.example.test/repos/acme-evil/x", "path_not_allowed"),
        ("GET", "https://nowhere.example.test/", "host_not_allowed"),
        ("POST", "https://deep.wild.example.test/", "method_not_allowed"),
        ("GET", "https://wild.example.test/", "host_not_allowed"),
        ("GET", "https://api.example.test:8443/echo", "port_not_allowed"),
        ("GET", "http://api.example.test/echo", "plaintext_auth"),
        ("GET", "https://api.example.test/echo/%2e%2e/x", "ambiguous_path"),
    ]

    def test_verdicts(self):
        path = write("why.yaml", policy())
        for method, url, reason in self.CASES:
            with self.subTest(url=url):
                result = cli("why", "--policy", path, method, url)
                self.assertIn(reason, result.stdout)
                self.assertEqual(result.returncode, 0 if reason == "allowed" else 1)
                self.assertNotIn(harness.MARK, result.stdout + result.stderr)

    def test_names_the_line(self):
        path = write("why.yaml", policy())
        self.assertIn("why.yaml:3", cli("why", "--policy", path, "GET",
                                        "https://api.example.test/echo").stdout)


class Reload(Case):
    def setUp(self):
        super().setUp()
        self.bottle = Bottle()
        self.addCleanup(self.bottle.stop)

    def code(self, url):
        return self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}", url).stdout

    def reloaded(self, text, word="reload"):
        seen = len(self.bottle.errors())
        self.bottle.reload(text)
        return wait_for(lambda: self.bottle.errors()[seen:] if word in
                        self.bottle.errors()[seen:] else None, 10, "a word about the reload")

    def test_broken_file_keeps_the_old_policy(self):
        said = self.reloaded("routes:\n  - hots: x\n", "old policy")
        self.assertIn(":2", said)
        # Cut within a character, which JSON does not take: `status` and `metrics` took the sidecar for dead.
        self.reloaded(CUT, "old policy")
        self.assertIn('"a\u00e9', self.bottle.status()["sidecar"]["reload"]["error"])
        self.assertEqual(self.code("https://api.example.test/echo"), "200")
        self.assertEqual(self.code("https://both.example.test/"), "200")

    def test_added_and_removed(self):
        self.assertEqual(self.code("https://both.example.test/"), "200")
        self.reloaded(policy("\n  - host: both.example.test\n    path_allowlist: [/only/]\n"
                             "  - host: forbidden.example.test\n"))
        self.assertEqual(self.code("https://both.example.test/only/x"), "200")
        self.assertEqual(self.code("https://both.example.test/"), "403")
        self.assertEqual(self.code("https://forbidden.example.test/"), "200")
        self.assertEqual(self.code("https://second.example.test/"), "000")

    def test_removed_host_loses_its_connections(self):
        under_way = self.bottle.popen(
            ["curl", "-sSk", "https://both.example.test/drip/300"], stdout=-1, stderr=-1)
        kept = self.bottle.popen(
            ["curl", "-sSk", "https://second.example.test/drip/30"], stdout=-1, stderr=-1)
        wait_for(lambda: len(self.arrived()) >= 2, 10, "both requests at the origin")
        self.reloaded(policy(harness.ROUTES.replace("  - host: both.example.test\n", "")))
        under_way.communicate(timeout=25)
        self.assertNotEqual(under_way.returncode, 0)
        output, _ = kept.communicate(timeout=20)
        self.assertEqual((len(output), kept.returncode), (30, 0))
        self.assertIn("route_removed", json.dumps(self.bottle.log()))

    def test_address_of_a_removed_host(self):
        address = self.bottle.python("import socket; print(socket.gethostbyname("
                                     "'both.example.test'))").stdout.strip()
        self.reloaded(policy(harness.ROUTES.replace("  - host: both.example.test\n", "")))
        result = self.bottle.curl(f"http://{address}/")
        self.assertNotEqual(result.returncode, 0)
        self.reloaded(policy())
        again = self.bottle.python("import socket; print(socket.gethostbyname("
                                   "'both.example.test'))").stdout.strip()
        self.assertEqual(again, address, "a name keeps its address for the life of the bottle")
        self.assertEqual(self.code("https://both.example.test/"), "200")

    def test_many_reloads_under_load(self):
        load = self.bottle.popen(["h2load", "--h1", "-c", "5", "-D", "4",
                                  "https://bulk.example.test/small"], stdout=-1, stderr=-1)
        for n in range(10):
            self.reloaded(policy() + f"# {n}\n")
        output, _ = load.communicate(timeout=30)
        self.assertRegex(output, r" 0 failed, 0 errored")
