# SPDX-License-Identifier: BSD-2-Clause
"""The end of a world."""
import os
import unittest

import harness
import world


class Unfinished(unittest.TestCase):
    def test_before_it_is_built(self):
        """As by SIGTERM while build() is at work: what was made so far goes, and nothing else is told."""
        begun = world.World(harness.world.program)
        # Its name is the one of the world that the tests run in.
        begun.cgroup = begun.path("cgroup")
        begun.destroy()
        self.assertFalse(os.path.exists(begun.directory))
