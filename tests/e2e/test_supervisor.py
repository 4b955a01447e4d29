# SPDX-License-Identifier: BSD-2-Clause
"""The supervisor's own life: starts that fail, reloads at bad moments, and what a worker is given."""
import os
import re
import signal
import subprocess
import time

import world as w
import harness
from harness import Bottle, Case, alive, children, cli, pins, policy, wait_for, write

ONE_PATH = """
  - host: api.example.test
    path_allowlist: [/status/]
"""
ANY_PATH = """
  - host: api.example.test
"""
BROKEN_ROOTS = "upstream: {ca_file: /nonexistent/roots.pem}\nroutes:" + ONE_PATH


def fetch(bottle, path):
    """The status code that a path gives."""
    return bottle.curl("-o", "/dev/null", "-w", "%{http_code}",
                       f"https://api.example.test{path}").stdout


class FailedStart(Case):
    def test_wall_of_a_dotted_name_outlives_a_failed_restart(self):
        """systemd's scopes have dots in their names."""
        bottle = Bottle(dotted=True)
        self.addCleanup(bottle.stop)
        self.assertIn(".", bottle.name)
        bottle.process.kill()
        bottle.process.wait()
        again = subprocess.run([*bottle.command(), "--listen", "192.0.2.77:9099"], text=True,
                               capture_output=True, check=False, timeout=30,
                               env=harness.environment())
        self.assertEqual(again.returncode, 1, again.stderr)
        self.assertIn("cannot listen", again.stderr)
        self.assertEqual(cli("status", bottle.name).returncode, 0)
