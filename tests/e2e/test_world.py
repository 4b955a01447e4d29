# SPDX-License-Identifier: BSD-2-Clause
"""The end of a world."""
import os
import sys
import unittest

import harness
import run
import world


class Unfinished(unittest.TestCase):
    def test_before_it_is_built(self):
        """As by SIGTERM while build() is at work: what was made so far goes, and nothing else is told."""
        begun = world.World(harness.world.program)
        # Its name is the one of the world that the tests run in.
        begun.cgroup = begun.path("cgroup")
        begun.destroy()
        self.assertFalse(os.path.exists(begun.directory))

    def test_told_to_end(self):
        """The run ends there: it does not go on with the tests that are left, each of which would fail."""
        seen = []
        tests = unittest.TestSuite(unittest.FunctionTestCase(test) for test in (
            lambda: sys.exit(1), lambda: seen.append("the next")))
        with self.assertRaises(SystemExit):
            tests.run(run.Tap())
        self.assertEqual(seen, [])
