# SPDX-License-Identifier: BSD-2-Clause
"""Ordinary programs under `exec`, with no proxy variable and no change of code; and the same
through the explicit proxy."""
import hashlib
import json
import os
import re
import subprocess

import harness
from harness import Case, PROGRAMS, PYTHON, SECRETS, run_exec

URL = "https://api.example.test/echo/one?q=1"
PROXY = f"http://egress:{harness.PROXY_PORT}"
NODE = "fetch(process.argv[1]).then(async r => {console.log(r.status); console.log(await r.text())})"
TOKEN_HASH = "sha256:" + hashlib.sha256(b"Bearer " + SECRETS["E2E_TOKEN_0"].encode()).hexdigest()


def go_program():
    """Builds fetch.go once for all runs of this build directory."""
    build = os.path.dirname(harness.world.program)
    target = os.path.join(build, "e2e-fetch")
    source = os.path.join(PROGRAMS, "fetch.go")
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        # In one step: another lane may want it at the same time.
        own = f"{target}.{os.getpid()}"
        subprocess.run(["go", "build", "-o", own, source], check=True, timeout=240,
                       env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod",
                            "GO111MODULE": "off", "GOCACHE": os.path.join(build, "go-cache"),
                            "HOME": harness.world.path("home")})
        os.rename(own, target)
    copy = harness.world.path("fetch-go")
    if not os.path.exists(copy):
        subprocess.run(["install", "-m", "755", target, copy], check=True)
    return copy


def java_class():
    if not os.path.exists(harness.world.path("Fetch.class")):
        subprocess.run(["javac", "-d", harness.world.directory,
                        os.path.join(PROGRAMS, "Fetch.java")], check=True, timeout=120)
    return harness.world.directory


class Transparent(Case):
    def fetched(self, command, **options):
        """The command prints the origin's answer somewhere in its output."""
        output = self.ok(run_exec(command, **options))
        answer = json.loads(re.search(r"\{.*\}", output, re.S)[0])
        headers = {k.lower(): v for k, v in answer["headers"]}
        self.assertEqual(answer["target"], "/echo/one?q=1")
        self.assertEqual(headers["authorization"], TOKEN_HASH)
        self.assertEqual(headers["host"], "api.example.test")
        request = self.arrived()[-1]
        self.assertEqual(self.header(request, "authorization"), ["Bearer " + SECRETS["E2E_TOKEN_0"]])
        self.assertEqual(request["sni"], "api.example.test")
        self.assertNotIn(SECRETS["E2E_TOKEN_0"], output)
        return answer

    def test_curl(self):
        self.fetched(["curl", "-sS", URL])

    def test_wget(self):
        self.fetched(["wget", "-q", "-O", "-", URL])

    def test_urllib(self):
        self.fetched([PYTHON, "-c", "import sys, urllib.request as u;"
                      "print(u.urlopen(sys.argv[1]).read().decode())", URL])

    def test_requests(self):
        self.fetched([PYTHON, "-c", "import sys, requests;"
                      "print(requests.get(sys.argv[1]).text)", URL])

    def test_node(self):
        self.fetched(["node", "-e", NODE, URL])

    def test_go(self):
        self.fetched([go_program(), URL])

    def test_java(self):
        self.fetched(["java", "-cp", java_class(), "Fetch", URL])

    def test_git_clone(self):
        script = ("git clone -q https://git.example.test/git/private.git clone-$$ &&"
                  "cat clone-$$/README && git -C clone-$$ fsck && rm -rf clone-$$")
        output = self.ok(run_exec(["sh", "-c", script]))
        self.assertIn("hello from the origin", output)
        self.assertTrue(all(self.header(r, "authorization") for r in self.arrived()))

    def test_git_push(self):
        script = ("git clone -q https://git.example.test/git/private.git push-$$ && cd push-$$ &&"
                  "head -c 200000 /dev/urandom >new && git add new &&"
                  "git -c user.name=x -c user.email=x@example.test commit -qm new &&"
                  "git push -q origin HEAD:refs/heads/pushed-$$ && cd .. && rm -rf push-$$")
        self.ok(run_exec(["sh", "-c", script]))

    def test_plain_http(self):
        self.assertIn('"method": "GET"', self.ok(run_exec(
            ["curl", "-sS", "http://both.example.test/x"])))

    def test_allow_without_policy(self):
        self.ok(run_exec(["curl", "-sSf", "--noproxy", "*", "-o", "/dev/null",
                          "http://both.example.test/"], "--allow", "both.example.test:80",
                         policy_text=False))
        refused = run_exec(["curl", "-sS", "http://second.example.test/"],
                           "--allow", "both.example.test:80", policy_text=False)
        self.assertNotEqual(refused.returncode, 0)

    def test_allow_path(self):
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} ",
                   "http://both.example.test/yes/1", "-o", "/dev/null",
                   "http://both.example.test/no"]
        result = run_exec(command, "--allow", "both.example.test:80/yes/", policy_text=False)
        self.assertEqual(result.stdout.split(), ["200", "403"])

    def test_sse_headers_and_chunks(self):
        output = self.ok(run_exec(["curl", "-sS", "https://api.example.test/chunked/500"]))
        self.assertEqual(output.count("chunk 499\n"), 1 + 499 % 7)


class Explicit(Transparent):
    """The same programs, told of a proxy."""
    variables = {"HTTPS_PROXY": PROXY, "https_proxy": PROXY, "http_proxy": PROXY}

    def fetched(self, command, **options):
        if command[0] == "java":
            command = command + ["egress", str(harness.PROXY_PORT)]
        command = ["env", *(f"{k}={v}" for k, v in self.variables.items()), *command]
        return super().fetched(command, **options)

    test_node = None  # Node 18 and 20 read no proxy variable
    test_git_push = test_allow_without_policy = test_allow_path = None
    test_sse_headers_and_chunks = test_plain_http = None

    def test_git_clone(self):
        script = (f"export https_proxy={PROXY}; git clone -q "
                  "https://git.example.test/git/private.git clonex-$$ && rm -rf clonex-$$")
        self.ok(run_exec(["sh", "-c", script]))

    def test_absolute_form(self):
        output = self.ok(run_exec(["curl", "-sS", "-x", PROXY, "http://both.example.test/abs?x=y"]))
        self.assertEqual(json.loads(output)["target"], "/abs?x=y")

    def test_refused_host(self):
        result = run_exec(["curl", "-sS", "-x", PROXY, "https://forbidden.example.test/"])
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("403", result.stderr)
        self.assertEqual(self.arrived(), [])


class AddressConfiguration(Case):
    """AI_ADDRCONFIG leaves IPv4 out where a machine has no address but 127.0.0.1."""
    NAME = "api.example.test"
    PROGRAMS = {
        "getent": ["getent", "ahostsv4", NAME],
        "python": [harness.PYTHON, "-c", "import socket, sys\nprint(socket.getaddrinfo(sys.argv[1], "
                   "443, socket.AF_INET, flags=socket.AI_ADDRCONFIG))", NAME],
        "node": ["node", "-e", "const dns = require('dns'); dns.lookup(process.argv[1], {family: 4, "
                 "hints: dns.ADDRCONFIG}, (e, a) => console.log(e, a))", NAME],
        "java": ["java", "-Djava.net.preferIPv4Stack=true", "Look.java", NAME],
    }

    def look(self, command):
        with open(harness.world.path("home/Look.java"), "w", encoding="utf-8") as file:
            file.write("class Look { public static void main(String[] a) throws Exception {\n"
                       "System.out.println(java.net.InetAddress.getByName(a[0])); } }\n")
        return command

    def test_exec(self):
        for name, command in self.PROGRAMS.items():
            with self.subTest(name):
                self.assertRegex(self.ok(run_exec(self.look(command))), r"198\.1[89]\.")

    def test_run(self):
        bottle = harness.Bottle()
        self.addCleanup(bottle.stop)
        self.assertRegex(self.ok(bottle.run(self.PROGRAMS["getent"])), r"198\.1[89]\.")
        # An address of its own is left alone.
        before = bottle.run(["ip", "-o", "addr", "show", "dev", "lo"], root=True).stdout
        self.assertIn("192.0.0.8/32", before)
        bottle.process.kill()
        bottle.process.wait()
        bottle.start()
        self.assertEqual(bottle.run(["ip", "-o", "addr", "show", "dev", "lo"], root=True).stdout,
                         before)
