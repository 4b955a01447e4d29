# SPDX-License-Identifier: BSD-2-Clause
"""A few requests of every kind under valgrind: no error, no leak that is lost for good."""
import glob
import os
import re

import harness
from harness import Bottle, Case, measures, sh_curl


PATIENCE = 100  # one thread of valgrind's beside other lanes


class Memcheck(Case):
    @measures
    def test_worker_and_supervisor(self):
        logs = harness.world.path("valgrind.%p")
        wrapper = ["valgrind", "--quiet", "--vgdb=no", "--trace-children=yes", "--leak-check=full",
                   "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
                   "--error-exitcode=99", f"--log-file={logs}"]
        bottle = Bottle(by="none", wrapper=wrapper, options=["--no-worker-seccomp"])
        proxy = f"http://127.0.0.1:{harness.PROXY_PORT}"
        try:
            for arguments in (["https://api.example.test/echo"] * 2,
                              ["https://api.example.test/chunked/100"],
                              ["https://api.example.test/forbidden"],
                              ["--data-binary", "x" * 50000, "https://second.example.test/up"],
                              ["http://both.example.test/plain"],
                              ["-I", "https://both.example.test/"]):
                self.ok(sh_curl(bottle, "-x", proxy, *arguments, patience=PATIENCE))
            for url in ("https://forbidden.example.test/", "https://dead.example.test/"):
                sh_curl(bottle, "-x", proxy, url, patience=PATIENCE)
            bottle.reload(harness.policy())
            harness.wait_for(lambda: "reload" in bottle.errors(), PATIENCE, "the reload")
            self.ok(sh_curl(bottle, "-x", proxy, "https://api.example.test/echo",
                            patience=PATIENCE))
            bottle.process.terminate()
            self.assertEqual(bottle.process.wait(PATIENCE), 0, bottle.errors())
        finally:
            bottle.stop()
        reports = ""
        for path in glob.glob(harness.world.path("valgrind.*")):
            with open(path, encoding="utf-8") as file:
                reports += file.read()
            os.unlink(path)
        errors = [line for line in reports.splitlines()
                  if re.search(r"Invalid|uninitialised|definitely lost|overlap|Mismatched", line)]
        self.assertEqual(errors, [], reports[-6000:])
