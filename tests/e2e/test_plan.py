# SPDX-License-Identifier: BSD-2-Clause
"""`prepare`: from a manifest to a plan that `check`, `why` and the sidecar take."""
import json
import os
import shutil
import stat
import subprocess

import harness
from harness import Case, cli, write

MANIFEST = """\
version: 1
bottles:
  agent:
    image: debian
    egress:
      routes:
        - host: API.github.com
          path_allowlist: [/repos/acme/, '/user']
          auth: {scheme: Bearer, token_ref: HOST_GH_TOKEN}
        - {host: chatgpt.com}
        - {host: bücher.example, auth: {header: x-api-key, token_ref: HOST_GH_TOKEN}}
      upstream: {proxy: 'http://pipelock:8888'}
  empty: {egress: {routes: []}}
"""


class Prepare(Case):
    def setUp(self):
        super().setUp()
        self.manifest = write("manifest.yaml", MANIFEST)
        self.out = os.path.join(os.path.dirname(self.manifest), "plan-" + self.id())
        self.addCleanup(shutil.rmtree, self.out, ignore_errors=True)

    def prepare(self, *arguments, bottle="agent", **options):
        return cli("prepare", self.manifest, "--bottle", bottle, *arguments, **options)

    def why(self, method, url):
        result = cli("why", "--policy", os.path.join(self.out, "routes.yaml"), method, url)
        return result.returncode, result.stdout

    def test_the_plan_decides_as_the_manifest_says(self):
        result = self.prepare("--out", self.out, "--provider", "codex")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("the provider owns chatgpt.com", result.stderr)
        routes = os.path.join(self.out, "routes.yaml")
        self.assertEqual(cli("check", routes).returncode, 0)
        for method, url, allowed in (
                ("GET", "https://api.github.com/repos/acme/x", True),
                ("GET", "https://api.github.com/repos/other/x", False),
                ("GET", "https://chatgpt.com/backend-api/codex", True),
                ("GET", "https://chatgpt.com/", False),
                ("GET", "https://xn--bcher-kva.example/", True),
                ("GET", "https://evil.example/", False)):
            self.assertEqual(self.why(method, url)[0] == 0, allowed, url)
        self.assertIn("EGRESS_TOKEN_0", self.why("GET", "https://chatgpt.com/backend-api/x")[1])
        with open(routes, encoding="utf-8") as file:
            text = file.read()
        self.assertNotIn("HOST_GH_TOKEN", text)
        self.assertNotIn("BOT_BOTTLE", text)

    def test_no_path_that_json_cannot_say(self):
        """Neither made there nor, when it was moved there, started: the engine would hear nothing."""
        self.assertEqual(self.prepare("--out", self.out, bottle="empty").returncode, 0)
        odd = os.fsencode(self.out) + b"\xff"
        self.addCleanup(shutil.rmtree, odd, ignore_errors=True)
        os.rename(self.out, odd)
        result = cli("start", odd, "--json", "--engine", "/nonexistent")
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("?: the path is not UTF-8, and the engine takes no other", result.stderr)
        result = self.prepare("--out", odd + b"2")
        self.assertEqual(result.returncode, 2)
        self.assertIn("a path that is not UTF-8", result.stderr)

    def test_no_secret_is_touched(self):
        env = harness.environment(HOST_GH_TOKEN="hunter2-secret",
                                  ASAN_OPTIONS="detect_leaks=0")  # no leak check under ptrace
        trace = os.path.join(os.path.dirname(self.manifest), "prepare.trace")
        result = subprocess.run(
            ["strace", "-f", "-s", "65536", "-e", "trace=write,pwrite64,writev", "-o", trace,
             harness.world.program, "prepare", self.manifest, "--bottle", "agent", "--out", self.out],
            env=env, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(trace, encoding="utf-8", errors="replace") as file:
            written = file.read()
        os.unlink(trace)
        self.assertIn("HOST_GH_TOKEN", written)
        self.assertNotIn("hunter2-secret", written + result.stdout + result.stderr)

    def test_modes_and_the_ca_is_kept(self):
        self.assertEqual(self.prepare("--out", self.out).returncode, 0)
        modes = {name: stat.S_IMODE(os.stat(os.path.join(self.out, name)).st_mode)
                 for name in os.listdir(self.out)}
        self.assertEqual(modes, {"routes.yaml": 0o600, "ca.pem": 0o600, "ca-cert.pem": 0o644,
                                 "plan.json": 0o644})

        def certificate():
            with open(os.path.join(self.out, "ca-cert.pem"), encoding="ascii") as file:
                return file.read()
        first = certificate()
        self.assertEqual(self.prepare("--out", self.out, bottle="empty").returncode, 0)
        self.assertEqual(certificate(), first)
        self.assertEqual(self.prepare("--out", self.out, "--new-ca").returncode, 0)
        self.assertNotEqual(certificate(), first)

    def test_json_and_print(self):
        result = self.prepare("--out", self.out, "--json")
        with open(os.path.join(self.out, "plan.json"), encoding="utf-8") as file:
            self.assertEqual(result.stdout, file.read())
        plan = json.loads(result.stdout)
        self.assertEqual(plan["slug"], "agent")
        self.assertEqual(plan["tokens"],
                         [{"token_env": "EGRESS_TOKEN_0", "token_ref": "HOST_GH_TOKEN"}])
        self.assertEqual(plan["upstream_proxy"], "http://pipelock:8888")
        self.assertEqual(plan["networks"], {"bottle": "none", "sidecar": "bridge"})
        shutil.rmtree(self.out)
        result = self.prepare("--print", bottle="empty")
        self.assertEqual((result.returncode, result.stdout), (0, "routes: []\n"))
        self.assertEqual(json.loads(self.prepare("--print", "--json").stdout)["paths"], None)
        self.assertFalse(os.path.exists(self.out))

    def test_provider_routes_from_a_file(self):
        own = write("provider.json", json.dumps({"routes": [
            {"host": "api.github.com", "auth": {"scheme": "token", "token_ref": "OTHER"}}]}))
        result = self.prepare("--print", "--provider-routes", own)
        self.assertTrue(result.stdout.startswith(
            "routes:\n- host: \"api.github.com\"\n  auth_scheme: \"token\"\n"
            "  token_env: EGRESS_TOKEN_0\n- host: chatgpt.com\n"), result.stdout)

    def test_errors_name_the_line(self):
        self.manifest = write("old.yaml", "bottles:\n  agent:\n    cred_proxy: {}\n")
        result = self.prepare("--out", self.out)
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, r"old\.yaml:3: bottles\.agent: cred_proxy .*egress\.routes")
        self.assertFalse(os.path.exists(self.out))
        for arguments, word in (((), "--out"), (("--out",), "--out needs"),
                                (("--print", "--provider", "../x"), "preset's name"),
                                (("--print", "--provider", "nope"), "nope.yaml")):
            result = self.prepare(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(word, result.stderr)

    def test_installed_presets_are_found(self):
        top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.addCleanup(shutil.rmtree, self.out + "-root", ignore_errors=True)
        root = self.out + "-root"
        os.makedirs(os.path.join(root, "bin"))
        shutil.copy(harness.world.program, os.path.join(root, "bin/egress-bpf"))
        shutil.copytree(os.path.join(top, "share"), os.path.join(root, "share"))
        result = subprocess.run(
            [os.path.join(root, "bin/egress-bpf"), "prepare", self.manifest, "--bottle", "empty",
             "--provider", "codex", "--print"], capture_output=True, text=True, timeout=60,
            check=False)
        self.assertIn("chatgpt.com", result.stdout, result.stderr)
