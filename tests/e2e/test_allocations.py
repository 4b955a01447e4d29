# SPDX-License-Identifier: BSD-2-Clause
"""One allocation after the other fails in the worker while requests go through: it does not die of it, nobody
hangs, nothing comes but the answer, an error or an end, and what is asked next is served."""
import mmap
import os
import struct
import subprocess
import time

import harness
from harness import PROGRAMS, Bottle, Case, measures

ALLOWED = "https://api.example.test/echo"
STRIDE = int(os.environ.get("STRIDE", "5"))  # each STRIDE-th allocation
PATIENCE = 20


class Orders:
    """The page that fail_alloc.c reads."""
    def __init__(self):
        os.mkdir(harness.world.path("allocations"))
        path = harness.write("allocations/orders", "\0" * 4096, 0o666)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        library = harness.world.path("allocations/libfail_alloc.so")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f'-DORDERS="{path}"', "-o",
                        library, os.path.join(PROGRAMS, "fail_alloc.c")], check=True)
        self.program = harness.world.path("allocations/egress-bpf")
        subprocess.run(["patchelf", "--add-needed", library, "--output", self.program,
                        harness.world.program], check=True)

    def fail(self, at):
        self.page[0:16] = struct.pack("4i", 0, at, 0, 0)
        self.page[0:4] = struct.pack("i", 1)

    def end(self):
        """How many allocations there were, and whether one of them failed."""
        self.page[0:4] = struct.pack("i", 0)
        return struct.unpack("2i", self.page[8:16])


class Allocations(Case):
    @classmethod
    def setUpClass(cls):
        cls.orders = Orders()
        cls.own = harness.world.program
        harness.world.program = cls.orders.program
        cls.bottle = Bottle()

    @classmethod
    def tearDownClass(cls):
        cls.bottle.stop()
        harness.world.program = cls.own

    def tearDown(self):
        self.orders.end()

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
