# SPDX-License-Identifier: BSD-2-Clause
"""One allocation after the other fails. In the worker while requests go through: it does not die of it, nobody
hangs, nothing comes but the answer, an error or an end, and what is asked next is served. In the supervisor
while a policy is reloaded: the new one is in force or the old, as was said. In commands: they do it, or say
why not in one line. At a start: the command runs in the bottle, or not at all."""
import itertools
import mmap
import os
import struct
import subprocess
import time

import harness
from harness import PROGRAMS, Bottle, Case, cli, measures, policy, run_exec, wait_for, write

ALLOWED = "https://api.example.test/echo"
STRIDE = int(os.environ.get("STRIDE", "5"))  # each STRIDE-th allocation
RELOAD_STRIDE = int(os.environ.get("STRIDE", "37"))
START_STRIDE = int(os.environ.get("STRIDE", "1499"))
PATIENCE = 20


def steps():
    """Each STRIDE-th, or ever fewer: the most are those with which OpenSSL begins."""
    at = 1
    while True:
        yield at
        at += STRIDE if "STRIDE" in os.environ else STRIDE + at // 6


class Orders:
    """The page that fail_alloc.c reads."""
    def __init__(self):
        os.makedirs(harness.world.path("allocations"), exist_ok=True)
        path = harness.write("allocations/orders", "\0" * 4096, 0o666)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        library = harness.world.path("allocations/libfail_alloc.so")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f'-DORDERS="{path}"', "-o",
                        library, os.path.join(PROGRAMS, "fail_alloc.c")], check=True)
        self.program = harness.world.path("allocations/egress-bpf")
        subprocess.run(["patchelf", "--add-needed", library, "--output", self.program,
                        harness.world.program], check=True)

    def fail(self, at, others=False):
        """Of the worker's, or of all others'."""
        self.page[0:20] = struct.pack("5i", 0, at, 0, 0, others)
        self.page[0:4] = struct.pack("i", 1)

    def end(self):
        """How many allocations there were, and whether one of them failed."""
        self.page[0:4] = struct.pack("i", 0)
        return struct.unpack("2i", self.page[8:16])


class Failing(Case):
    @classmethod
    def setUpClass(cls):
        cls.orders = Orders()
        cls.addClassCleanup(setattr, harness.world, "program", harness.world.program)
        harness.world.program = cls.orders.program

    def tearDown(self):
        self.orders.end()


class FailingBottle(Failing):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bottle = Bottle()
        cls.addClassCleanup(cls.bottle.stop)


class Allocations(FailingBottle):
    def sweep(self, arguments, wanted):
        """`arguments` are curl's; `wanted` is what it prints when all goes well."""
        at, said, went_well = 1, [], 0
        worker = self.bottle.workers()
        while True:
            self.orders.fail(at)
            begun = time.monotonic()
            result = self.bottle.run(["curl", "-sS", "--max-time", str(PATIENCE), "--cacert",
                                      self.bottle.certificate, "-w", "%{http_code}", *arguments])
            took = time.monotonic() - begun
            count, failed = self.orders.end()
            if result.returncode == 28 or took > PATIENCE:
                said.append(f"allocation {at}: hangs for {took:.1f} s")
            if result.stdout == wanted:
                went_well += 1
            elif result.returncode == 0 and result.stdout[-3:] not in ("502", "503", "500"):
                said.append(f"allocation {at}: {result.stdout[-200:]}")
            if self.bottle.workers() != worker:
                said.append(f"allocation {at}: {self.bottle.errors()[-200:]}")
                worker = [self.bottle.worker()]
            if not failed:
                break
            at += STRIDE
        self.assertEqual(said, [])
        self.assertGreater(at, 1, f"{count} allocations")
        self.assertGreater(went_well, 0)
        self.serves()

    def serves(self):
        self.assertEqual(self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}", ALLOWED).stdout, "200",
                         self.bottle.errors())

    @measures
    def test_requests(self):
        nothing = ["-o", "/dev/null"]
        body = harness.write("body", "x" * 100_000)
        for arguments, wanted in (
                ([*nothing, ALLOWED], "200"),
                ([*nothing, "--http2", ALLOWED], "200"),
                ([*nothing, "--data-binary", "@" + body, "-H", "Expect:", ALLOWED], "200"),
                ([*nothing, "-x", "http://egress:9099", ALLOWED], "200"),
                ([*nothing, "-k", "https://pinned.example.test/echo"], "200"),
                ([*nothing, "http://both.example.test/echo"], "200"),
                ([*nothing, "https://api.example.test/forbidden"], "403")):
            with self.subTest(arguments[-1], how=arguments[2]):
                self.sweep(arguments, wanted)


class Reloads(FailingBottle):
    ROUTES = """
  - host: api.example.test
    path_allowlist: [/%s]
    auth: {scheme: Bearer, token_env: E2E_TOKEN_0}"""
    KEPT, GONE = "the old policy stays in force", "policy reloaded"

    def allowed(self):
        """Which of the two policies is in force, by what it lets through."""
        codes = [self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}",
                                  f"https://api.example.test/{name}").stdout for name in ("echo", "headers")]
        self.assertIn(codes, (["200", "403"], ["403", "200"]), self.bottle.errors()[-500:])
        return "echo" if codes[0] == "200" else "headers"

    def words(self):
        errors = self.bottle.errors()
        return errors.count(self.KEPT), errors.count(self.GONE)

    def reload(self, name):
        """Whether the new policy is said to be in force."""
        before = self.words()
        self.bottle.reload(policy(self.ROUTES % name))
        after = wait_for(lambda: (words := self.words()) != before and words, PATIENCE,
                         lambda: f"a word about the reload; {self.bottle.errors()[-500:]}")
        return after[1] > before[1]

    def sweep(self, others):
        kept, at = 0, 1
        self.assertTrue(self.reload("echo"))
        current = "echo"
        for at in itertools.count(1, RELOAD_STRIDE):
            following = "headers" if current == "echo" else "echo"
            mark = len(self.bottle.errors())
            self.orders.fail(at, others)
            if self.reload(following):
                current = following
            else:
                kept += 1
            failed = self.orders.end()[1]
            self.assertIsNone(self.bottle.process.poll(), f"allocation {at}: {self.bottle.errors()[-500:]}")
            self.assertEqual(self.allowed(), current, f"allocation {at}: {self.bottle.errors()[mark:]}")
            if not failed:
                break
        self.assertGreater(at, RELOAD_STRIDE)
        return kept

    @measures
    def test_supervisor(self):
        self.assertGreater(self.sweep(True), 0)


class Commands(Failing):
    """Their output is whole, or they say in one line that they have failed."""
    EXPECT = """
expect:
  - GET https://api.example.test/echo: allow
  - GET https://evil.example.test/: refuse
"""

    def sweep(self, *arguments):
        wanted = cli(*arguments)
        for at in steps():
            self.orders.fail(at, True)
            result = cli(*arguments)
            failed = self.orders.end()[1]
            what = f"{arguments[0]}, allocation {at}: {result.returncode} {result.stdout} {result.stderr}"
            if result.returncode != wanted.returncode:
                self.assertIn(result.returncode, (1, 2), what)
                self.assertRegex(result.stderr, r"(?i)\Aegress-bpf: [^\n]*memory[^\n]*\n\Z", what)
            else:
                self.assertEqual((result.stdout, result.stderr), (wanted.stdout, wanted.stderr), what)
            if not failed:
                break
        self.assertGreater(at, 1)

    @measures
    def test_commands(self):
        path = write("allocations/policy.yaml", policy())
        wishes = write("allocations/expect.yaml", f"policy: {path}" + self.EXPECT)
        for arguments in (["check", path], ["check", "--effective", path], ["test", wishes],
                          ["why", "--policy", path, "GET", ALLOWED]):
            with self.subTest(arguments[0]):
                self.sweep(*arguments)


class Starts(Failing):
    @measures
    def test_exec(self):
        """It runs the command in the bottle, or not at all."""
        for at in itertools.count(1, START_STRIDE):
            self.orders.fail(at, True)
            result = run_exec(["echo", "in the bottle"])
            failed = self.orders.end()[1]
            what = f"allocation {at}: {result.returncode} {result.stdout} {result.stderr}"
            self.assertGreaterEqual(result.returncode, 0, what)
            if result.returncode == 0:
                self.assertEqual(result.stdout, "in the bottle\n", what)
            else:
                self.assertNotEqual(result.stderr, "", what)
            if not failed:
                break
        self.assertGreater(at, 1)
