# SPDX-License-Identifier: BSD-2-Clause
"""Audit, learned policies, and the record that a run leaves: report and summary."""
import json
import os
import re

import jsonschema

import harness
from harness import Bottle, Case, cli, policy, read, run_exec, write

TOP = os.path.dirname(os.path.dirname(harness.HERE))
JOB = r"""
curl -sS -o /dev/null https://api.example.test/echo
curl -sS -o /dev/null https://api.example.test/repos/acme/one
curl -sS -o /dev/null https://api.example.test/repos/acme/two
curl -sS -o /dev/null https://api.example.test/repos/acme/three?secret=1
curl -sS -o /dev/null -d x=1 https://api.example.test/echo
curl -sS -o /dev/null http://both.example.test/
curl -sS -o /dev/null https://second.example.test/a%2fb
"""


def output(name):
    path = harness.world.path(name)
    if os.path.exists(path):
        os.unlink(path)
    return path


class Learn(Case):
    def learn(self, script, *options, name="learned.yaml"):
        path = output(name)
        result = run_exec(["sh", "-ec", script], "--learn", path, *options, policy_text=False)
        self.ok(result)
        self.ok(cli("check", path))
        return path, result

    def verdict(self, path, method, url):
        return cli("why", "--policy", path, method, url).stdout.split("\n")[0]

    def test_same_command_passes_and_another_host_does_not(self):
        path, result = self.learn(JOB)
        self.assertIn("warning: --learn: ", result.stderr)
        self.assertNotIn("enforcement: audit", result.stderr)
        seen = len(self.arrived())
        self.assertEqual(seen, 7)
        again = run_exec(["sh", "-ec", JOB.replace("curl -sS", "curl -sSf")], "--policy", path,
                         policy_text=False)
        self.ok(again)
        self.assertEqual(len(self.arrived()), 2 * seen)
        other = run_exec(["curl", "-sSf", "https://forbidden.example.test/"], "--policy", path,
                         policy_text=False)
        self.assertEqual(other.returncode, 6)
        self.assertEqual(len(self.arrived()), 2 * seen)

    def test_what_is_learned(self):
        path, _ = self.learn(JOB)
        text = read(path)
        self.assertNotIn("secret", text)
        self.assertRegex(text, r'value: "/repos/acme/"\} # 3 requests for 3 paths')
        self.assertRegex(text, r'value: "/echo"\} # 2 requests')
        for method, url, verdict in (
                ("GET", "https://api.example.test/repos/acme/four", "allowed"),
                ("POST", "https://api.example.test/echo", "allowed"),
                ("PUT", "https://api.example.test/echo", "refused: method_not_allowed"),
                ("POST", "https://api.example.test/repos/acme/one", "refused: method_not_allowed"),
                ("GET", "https://api.example.test/repos/evil", "refused: path_not_allowed"),
                ("GET", "https://api.example.test/echo/x", "refused: path_not_allowed"),
                ("GET", "https://both.example.test/", "refused: port_not_allowed"),
                ("GET", "http://both.example.test/", "allowed"),
                ("GET", "https://second.example.test/a%2Fb", "allowed"),
                ("GET", "https://forbidden.example.test/", "refused: host_not_allowed")):
            self.assertEqual(self.verdict(path, method, url), verdict, f"{method} {url}\n{text}")

    def test_addresses_and_udp_stay_refused(self):
        with harness.w.InNamespace(harness.world.home, harness.world.home):
            sniffer = harness.w.Sniffer(harness.world)
        self.addCleanup(sniffer.close)
        path, _ = self.learn("""
            curl -sS -m 5 http://203.0.113.10/ && exit 1
            python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.sendto(b"x", ("203.0.113.10", 9)); raise SystemExit(1)
except OSError: pass'
            curl -sS -m 5 http://both.example.test:22/ && exit 1
            exit 0""")
        # Connections of the tests before may still end on this wire: they are to 443.
        self.assertEqual([packet for packet in sniffer.drain() if packet[2] != 443], [])
        text = read(path)
        self.assertIn("routes: []", text)
        self.assertRegex(text, r"(?m)^# 1x address_not_allowed: 203\.0\.113\.10:80 \(tcp\)$")
        self.assertRegex(text, r"(?m)^# 1x port_not_allowed: both\.example\.test:22 \(tcp\)$")

    def test_wildcards_only_when_asked_for(self):
        names = ["deep.wild.example.test", "wild.example.test", "api.example.test",
                 "second.example.test", "git.example.test"]
        script = "".join(f"curl -sS -o /dev/null https://{name}/\n" for name in names)
        path, _ = self.learn(script)
        self.assertNotIn("*", read(path).split("routes:")[1])
        path, _ = self.learn(script, "--wildcards")
        routes = read(path).split("routes:")[1]
        self.assertEqual(re.findall(r'host: "(.*)"', routes),
                         ["*.example.test", "deep.wild.example.test"])

    def test_no_credential_while_learning(self):
        result = run_exec(["true"], "--learn", output("x.yaml"), "--secret",
                          "E2E_TOKEN_0@api.example.test", policy_text=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--learn injects no credential", result.stderr)
        self.assertEqual(run_exec(["true"], "--wildcards", policy_text=False).returncode, 2)
        self.assertEqual(run_exec(["true"], "--learn", "/nonexistent/x",
                                  policy_text=False).returncode, 125)

    def opened(self, worker):
        """How what is learned is open there: for who may map it, lines of others would not be safe."""
        return harness.open_flags(worker, harness.passed_to(worker, "record"))

    def test_run_learns(self):
        path = output("run-learned.yaml")
        bottle = Bottle(policy("\n  - host: pinned.example.test\n    tls: passthrough\n"),
                        options=["--learn", path])
        try:
            self.ok(bottle.curl("-o", "/dev/null", "https://api.example.test/echo"))
            self.ok(bottle.curl("-k", "-o", "/dev/null", "https://pinned.example.test/"))
            self.assertEqual(self.opened(bottle.worker()) & (os.O_ACCMODE | os.O_APPEND),
                             os.O_WRONLY | os.O_APPEND)
        finally:
            bottle.stop()
        self.ok(cli("check", path))
        self.assertEqual(self.verdict(path, "GET", "https://api.example.test/echo"), "allowed")
        self.assertIn("spliced", self.verdict(path, "GET", "https://pinned.example.test/"))


class Audit(Case):
    ROUTES = """
  - host: api.example.test
    path_allowlist: [/echo]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
    enforcement: audit
  - host: second.example.test
    path_allowlist: [/only/]
"""

    def test_one_route(self):
        """Its refusals pass, without the credential; the other host's are refused as ever."""
        log = output("audit.log")
        self.ok(run_exec(["sh", "-ec", """
            curl -sSf -o /dev/null https://api.example.test/echo
            curl -sSf -o /dev/null https://api.example.test/headers
            curl -sSf -o /dev/null http://api.example.test/echo
            curl -sSf -o /dev/null https://second.example.test/ && exit 1
            curl -sSf -o /dev/null https://forbidden.example.test/ && exit 1
            exit 0"""], "--log", log, policy_text=policy(self.ROUTES)))
        sent = [(r["target"], self.header(r, "authorization")) for r in self.arrived()]
        self.assertEqual(sent, [("/echo", [f"Bearer {harness.SECRETS['E2E_TOKEN_0']}"]),
                                ("/headers", []), ("/echo", [])])
        audits = [(line.get("path"), line["verdict"], line.get("audit"))
                  for line in map(json.loads, read(log).splitlines()) if "path" in line]
        self.assertEqual(audits, [("/echo", "allowed", None),
                                  ("/headers", "allowed", "path_not_allowed"),
                                  ("/echo", "allowed", "plaintext_auth"),
                                  ("/", "refused", None)])

    def test_whole_policy(self):
        log = output("audit-all.log")
        result = run_exec(["sh", "-ec", """
            curl -sSf -o /dev/null https://second.example.test/elsewhere
            curl -sSf -o /dev/null https://forbidden.example.test/
            curl -sS -m 5 https://203.0.113.12/ && exit 1
            exit 0"""], "--log", log, policy_text=policy(self.ROUTES, "enforcement: audit\n"))
        self.ok(result)
        self.assertIn("warning: enforcement: audit", result.stderr)
        audits = [line.get("audit") for line in map(json.loads, read(log).splitlines())
                  if line["source"] == "proxy"]
        self.assertEqual(audits, ["path_not_allowed", "host_not_allowed"])
        self.assertEqual([self.header(r, "authorization") for r in self.arrived()], [[], []])

    def test_diff_says_it(self):
        old, new = write("old.yaml", policy(self.ROUTES)), write("new.yaml", policy(
            self.ROUTES, "enforcement: audit\n"))
        said = cli("diff", old, new).stdout
        self.assertIn("! enforcement: enforce -> audit", said)
        self.assertRegex(said, r"(?m)^\+ second\.example\.test: .*allowed by audit, else "
                         r"path_not_allowed")


class Record(Case):
    JOB = """
        curl -sS -o /dev/null https://api.example.test/bytes/5000
        curl -sS -o /dev/null -d 12345 https://api.example.test/echo
        curl -sS -o /dev/null 'https://api.example.test/no|<b>pipe?token=hush'
        curl -sS -o /dev/null https://forbidden.example.test/
        curl -sS -m 5 https://203.0.113.12/
        exit 7"""

    def run_job(self, *options, **more):
        report, summary = output("report.json"), output("summary.md")
        write("summary.md", "before\n")
        result = run_exec(["sh", "-c", self.JOB], "--report", report, "--summary", summary,
                          *options, **more)
        self.assertEqual(result.returncode, 7, result.stderr)
        with open(os.path.join(TOP, "docs/report.schema.json"), encoding="utf-8") as file:
            schema = json.load(file)
        found = json.loads(read(report))
        jsonschema.Draft7Validator.check_schema(schema)
        self.assertEqual([e.message for e in jsonschema.Draft7Validator(schema).iter_errors(found)],
                         [])
        return found, read(summary)

    def test_report(self):
        found, _ = self.run_job()
        self.assertEqual((found["exit_status"], found["command"]), (7, "sh"))
        hosts = {h["host"]: h for h in found["hosts"]}
        api = hosts["api.example.test"]
        self.assertEqual((api["allowed"], api["refused"]), (2, 1))
        self.assertGreaterEqual(api["bytes_down"], 5000)
        self.assertGreaterEqual(api["bytes_up"], 5)
        self.assertEqual({(d["method"], d["path"], d["verdict"]) for d in api["decisions"]},
                         {("GET", "/bytes/5000", "allowed"), ("POST", "/echo", "allowed"),
                          ("GET", "/no|<b>pipe", "refused")})
        self.assertNotIn("hush", json.dumps(found))
        self.assertIn("host_not_allowed", {d["reason"] for d in
                                           hosts["forbidden.example.test"]["decisions"]})
        self.assertIn("address_not_allowed", {d["reason"] for d in hosts[""]["decisions"]})
        self.assertEqual(found["missing"], 0)
        self.assertEqual(found["kernel"]["steered"], 3)
        self.assertEqual(found["kernel"]["direct"], 0)
        self.assertTrue(found["proof"]["holds"], found["proof"])
        self.assertIn("steered 3 connections", found["proof"]["text"])

    def test_summary(self):
        _, text = self.run_job()
        self.assertTrue(text.startswith("before\n### Egress of sh\n"), text[:80])
        self.assertRegex(text, r"(?m)^\| api\.example\.test \| 2 \| 1 \| 5 B \| 5\.\d kB \|$")
        self.assertIn("GET api.example.test:443/no&#124;&#60;b&#62;pipe", text)
        self.assertIn("✔ No packet left the bottle but through the proxy", text)

    def test_what_cannot_be_proven_is_said(self):
        found, text = self.run_job(policy_text=policy() +
                                   "  - {cidr: 198.51.100.0/24, ports: [9], direct: true}\n")
        self.assertTrue(found["proof"]["holds"], "a direct route that nobody took proves nothing "
                        "against")
        server = harness.socket.socket(harness.socket.AF_UNIX)
        path = output("let-in.sock")
        server.bind(path)
        self.addCleanup(server.close)
        found, text = self.run_job("--bind-socket", path)
        self.assertFalse(found["proof"]["holds"])
        self.assertIn("⚠ Not proven: unix sockets of the host were let in", text)

    def test_outputs_that_cannot_be(self):
        result = run_exec(["true"], "--report", "/nonexistent/report")
        self.assertEqual(result.returncode, 125)
        self.assertIn("cannot write /nonexistent/report", result.stderr)

    def test_report_belongs_to_the_caller(self):
        report = os.path.join(harness.world.path("home"), "mine.json")
        self.ok(run_exec(["true"], "--report", report))
        self.assertEqual(os.stat(report).st_uid, harness.UID)
        self.assertEqual(json.loads(read(report))["hosts"], [])
