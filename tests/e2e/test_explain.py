# SPDX-License-Identifier: BSD-2-Clause
"""`check --effective`, `diff`, `test` and `--version`, as one calls them."""
import json
import os
import re
import subprocess

import harness
from harness import Case, cli, policy, write

EXPECT = """policy: explained.yaml
expect:
  - GET https://api.example.test/repos/acme/x: {verdict: allow, credential: E2E_TOKEN_0}
  - GET https://api.example.test/repos/acme-evil: path_not_allowed
  - POST https://deep.wild.example.test/: method_not_allowed
  - GET https://nowhere.example.test/: refuse
  - GET http://203.0.113.16:7000/: allow
"""


class Explain(Case):
    def test_effective_means_the_same(self):
        path = write("explained.yaml", policy())
        effective = self.ok(cli("check", "--effective", path))
        self.assertIn("ports: [443, 80]", effective)
        self.assertIn(f"# {path}:3", effective)
        again = write("again.yaml", effective)
        same = cli("diff", path, again)
        self.assertEqual((same.returncode, same.stdout, same.stderr), (0, "", ""))
        self.assertEqual(cli("check", "--effective", path, again).returncode, 2)

    def test_what_is_counted(self):
        for routes, counts in ((("a", "b"), "2 routes, 2 hosts"), (("a",), "1 route, 1 host"),
                               ((), "0 routes, 0 hosts")):
            path = write("counted.yaml", "routes: [" + ", ".join(
                f"{{host: {name}.example.test}}" for name in routes) + "]\n")
            self.assertEqual(self.ok(cli("check", path)), f"{path}: ok, {counts}\n")

    def test_diff_as_a_review_sees_it(self):
        old = write("old.yaml", policy())
        new = write("new.yaml", policy().replace("[GET]", "[GET, POST]").replace(
            "/status/, ", "").replace("token_env: E2E_TOKEN_1", "token_env: E2E_TOKEN_0"))
        result = cli("diff", old, new)
        self.assertEqual(result.returncode, 1, result.stderr)
        lines = result.stdout.splitlines()
        self.assertEqual(len(lines), 3, result.stdout)
        self.assertRegex(result.stdout, r"(?m)^\+ \*\.wild\.example\.test: POST of any path, "
                         r"refused -> allowed \(\S*new\.yaml:\d+\)$")
        self.assertRegex(result.stdout, r"(?m)^- api\.example\.test: any method of /status/ and "
                         r"below, by https, allowed, .* -> refused \(\S*old\.yaml:3\)$")
        self.assertRegex(result.stdout, r"(?m)^! second\.example\.test: .*E2E_TOKEN_1 -> .*"
                         r"E2E_TOKEN_0 ")
        found = [json.loads(line) for line in cli("diff", "--json", old, new).stdout.splitlines()]
        self.assertEqual(sorted(x["change"] for x in found), ["allowed", "changed", "refused"])
        settings = cli("diff", write("a.yaml", "routes: []"), write("b.yaml", "routes: []\n"
                       "hints: false\nlimits: {buffered_mib: 64}\n"
                       "dns: {pool: 198.18.0.0/16, name_limit: 9}\n"))
        self.assertEqual(settings.stdout.splitlines(), [
            "! dns.pool: 198.18.0.0/15 -> 198.18.0.0/16", "! dns.name_limit: 4096 -> 9",
            "! limits.buffered_mib: 512 -> 64", "! hints: true -> false"])
        self.assertEqual(cli("diff", old, "/nonexistent").returncode, 2)
        self.assertEqual(cli("diff", old).returncode, 2)

    def test_expectations(self):
        path = write("explained.yaml", policy())
        good = write("expect.yaml", EXPECT)
        result = cli("test", good)
        self.assertEqual((result.returncode, result.stdout), (0, f"{good}: 5 as expected, 0 not\n"))
        self.assertEqual(cli("test", "-q", good).stdout, "")
        missed = write("missed.yaml", EXPECT.replace("acme-evil: path_not", "acme/: path_not"))
        result = cli("test", "-q", good, missed)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"^\S*missed\.yaml:4: GET https://api\S*: expected "
                         r"path_not_allowed, is allowed by api\.example\.test \(\S*:3\)\n$")
        bare = write("bare.yaml", EXPECT.partition("\n")[2])
        self.assertEqual(cli("test", bare).returncode, 2)
        self.assertEqual(cli("test", "--policy", path, bare).returncode, 0)
        self.assertEqual(cli("test", "--policy", "/nonexistent", bare).returncode, 2)
        self.assertEqual(cli("test", write("url.yaml", EXPECT.replace("https", "ftp"))).returncode, 2)

    def test_what_no_rule_decides(self):
        """The proxy refuses some methods whatever the rules, and leaves some headers out."""
        path = write("why.yaml", policy("\n  - host: a.example.test\n  - {host: p.example.test, tls: passthrough}\n"))
        for method, url, status in (("TRACE", "https://a.example.test/", 1), ("CONNECT", "http://a.example.test/", 1),
                                    ("GET", "https://a.example.test/", 0), ("TRACE", "https://p.example.test/", 0)):
            told = cli("why", "--policy", path, method, url)
            self.assertEqual(told.returncode, status, told.stdout + told.stderr)
            if status:
                self.assertRegex(told.stdout, rf"(?s)^refused: method_not_allowed\n.*would allow it: nothing: .*{method}")
        headers = [x for name in ("Accept", "X-Forwarded-Host", "authorization") for x in ("--header", f"{name}: x")]
        told = cli("why", "--policy", path, *headers, "GET", "https://a.example.test/")
        self.assertIn("left out: X-Forwarded-Host, authorization\n", told.stdout)
        told = json.loads(cli("why", "--json", "--policy", path, *headers, "GET", "https://a.example.test/").stdout)
        self.assertEqual(told["left_out"], ["X-Forwarded-Host", "authorization"])
        self.assertNotIn("left out", cli("why", "--policy", path, *headers, "GET", "https://p.example.test/").stdout)
        self.assertNotIn("left out", cli("why", "--policy", path, "GET", "https://a.example.test/").stdout)

    def test_wrong_options(self):
        for arguments, said in (("metrics --listen", "metrics: --listen needs a value"),
                                ("diff --json=1 a b", "diff: --json takes no value"),
                                ("test -x f", "test: unknown option '-x'"),
                                ("check --jsn f", "check: unknown option '--jsn'"),
                                ("ui --l", "ui: --listen needs a value"),
                                ("run --policy f --pid", "run: --pid needs a value"),
                                ("run --wait=1", "run: --wait takes no value"),
                                ("run --policy= --pid 1", "run: --policy: its value is empty"),
                                ("exec --allow= true", "exec: --allow: its value is empty"),
                                ("hook --into= --policy p", "hook: --into: its value is empty"),
                                ("run --pid 1x", "run: --pid 1x: not a process id"),
                                ("run --policy f --pod 1", "run: --pod 1: not a pod's uid"),
                                ("run --policy f --pid 1 --listen 127.0.0.1",
                                 "run: --listen 127.0.0.1: not an ADDR:PORT such as"),
                                ("run --policy f --pid 1 --metrics 127.0.0.1:94x",
                                 "run: --metrics 127.0.0.1:94x: neither ADDR:PORT"),
                                ("why -x", "why: unknown option '-x'"),
                                ("why --header", "why: --header needs a value"),
                                ("why --policy", "why: --policy needs a value"),
                                ("allow --fro 1h", "allow: unknown option '--fro'"),
                                ("why -H", "why: -H needs a value"),
                                ("deny --json=1", "deny: --json takes no value"),
                                ("why --help=1", "why: --help takes no value"),
                                ("start plan -- x", "start: 'x' is a command without"),
                                ("exec -qx true", "exec: unknown option '-x'"),
                                ("exec --secret", "exec: --secret needs a value"),
                                ("prepare --bottel x", "prepare: unknown option '--bottel'"),
                                ("start --imgae x", "start: unknown option '--imgae'"),
                                ("start --timeout soon", "start: --timeout soon: say 1 to 3600"),
                                ("hook --timeout 0", "hook: --timeout 0: say 1 to 3600"),
                                ("hook --polcy x", "hook: unknown option '--polcy'"),
                                ("exec -x true", "exec: unknown option '-x'"),
                                ("node --lst", "node: unknown option '--lst'"),
                                ("events --since soon", "events: --since soon: say 30s")):
            result = cli(*arguments.split())
            self.assertEqual(result.returncode, 2, arguments)
            self.assertTrue(result.stderr.startswith("egress-bpf: " + said), result.stderr)

    def test_output_that_cannot_be_written(self):
        """Half of a policy is no success; a reader that has had enough is."""
        large = write("large.yaml", policy("".join(f"\n  - host: h{i}.test" for i in range(2000)) + "\n"))
        for path in (write("small.yaml", policy()), large):
            with open("/dev/full", "w", encoding="utf-8") as full:
                result = subprocess.run([harness.world.program, "check", "--effective", path],
                                        stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((result.returncode, result.stderr),
                             (1, "egress-bpf: cannot write all of it to standard output\n"))
        result = subprocess.run(["bash", "-c", '"$0" check --effective "$1" | true; echo "${PIPESTATUS[0]}"',
                                 harness.world.program, large], capture_output=True, text=True,
                                check=False)
        self.assertEqual((result.stdout, result.stderr), ("0\n", ""))

    def test_trace_in_the_proxys_order(self):
        """Refused before any rule is asked, but where the name or the port is."""
        path = write("trace.yaml", "routes:\n  - {host: a.test, methods: [GET], path_allowlist: [/v1/]}\n"
                     "  - {host: b.test, auth: {scheme: Bearer, token_env: E2E_TOKEN_0}}\n")
        for url, reason, hint in (("https://a.test/v1/", "method_not_allowed", "passes no TRACE"),
                                  ("https://a.test/nowhere", "method_not_allowed", "passes no TRACE"),
                                  ("http://b.test/", "method_not_allowed", "passes no TRACE"),
                                  ("https://a.test:25/v1/", "port_not_allowed", "add 25"),
                                  ("https://c.test/", "host_not_allowed", "- host: c.test")):
            with self.subTest(url=url):
                result = cli("why", "--policy", path, "TRACE", url)
                self.assertIn(f"refused: {reason}\n", result.stdout)
                self.assertIn(hint, result.stdout)

    def test_closed_and_no_dev_null(self):
        """Where /dev is empty nothing can take the place of what is closed: that is said, not just done."""
        result = subprocess.run(["unshare", "-m", "sh", "-c",
                                 'mount -t tmpfs none /dev && exec "$0" --version <&-',
                                 harness.world.program], text=True, capture_output=True, check=False)
        self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)
        self.assertEqual(result.stderr, "egress-bpf: descriptor 0 is closed, and /dev/null cannot take "
                         "its place: No such file or directory\n")

    def test_closed_standard_files(self):
        """Their numbers are not taken by files of ours."""
        for closed, said in (("<&-", "hello\n"), (">&-", ""), ("2>&-", "hello\n"),
                             ("<&- >&- 2>&-", "")):
            result = subprocess.run(["bash", "-c", f'"$0" exec -- echo hello {closed}',
                                     harness.world.program], capture_output=True, text=True, check=False,
                                    stdin=subprocess.DEVNULL, env=harness.environment())
            self.assertEqual((result.returncode, result.stdout), (0, said), closed + result.stderr)

    def test_what_is_not_there(self):
        """Said by name, and nothing is printed before."""
        for arguments, status, said in (
                (("events", "nosuch"), 1, "events: nosuch: no sidecar of this name"),
                (("metrics", "nosuch"), 1, "metrics: there is no wall named 'nosuch'"),
                (("node", "--list", "--state-dir", "/nonexistent"), 1,
                 "node: /nonexistent: No such file or directory: no agent has run here"),
                (("run", "--policy", "f", "--cgroup", "/tmp"), 1, "/tmp is not below the cgroup v2"),
                (("why", "GET", "https://api.example.test/"), 2,
                 "why: say --policy FILE: there is no routes.yaml here")):
            with self.subTest(arguments=arguments):
                result = cli(*arguments, cwd="/")
                self.assertEqual((result.returncode, result.stdout), (status, ""))
                self.assertRegex(result.stderr, f"^egress-bpf: (run: )?{re.escape(said)}")

    def test_version(self):
        text = self.ok(cli("--version"))
        self.assertRegex(text, r"^egress-bpf \d+\.\d+\.\d+")
        for word in ("libbpf 1.", "OpenSSL 3.", "Linux 5.15 or later", os.uname().release):
            self.assertIn(word, text)
