# SPDX-License-Identifier: BSD-2-Clause
"""What the runner of the tests counts: no failure is lost, whatever becomes of who reports it."""
import importlib.machinery
import importlib.util
import os
import unittest

import harness

PATH = os.path.join(os.path.dirname(os.path.dirname(harness.HERE)), "tools", "run-tests")


def load():
    loader = importlib.machinery.SourceFileLoader("run_tests", PATH)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
    loader.exec_module(module)
    return module


class Counting(unittest.TestCase):
    def setUp(self):
        self.runner = load()

    def count(self, status, output):
        counts = self.runner.Counts()
        self.runner.count_tap(counts, "it", status, output)
        return counts.passed, len(counts.failed), len(counts.skipped)

    def test_whole(self):
        self.assertEqual(self.count(0, "1..2\nok 1 - a\nok 2 - b\n"), (2, 0, 0))
        self.assertEqual(self.count(0, "ok 1 - a\nok 2 - b # SKIP c\n1..2\n"), (1, 0, 1))
        self.assertEqual(self.count(0, "1..1\nok 1 - a\n1..1\nok 1 - b\n"), (2, 0, 0))

    def test_failures(self):
        for status, output in ((0, "1..1\nnot ok 1 - a\n"),
                               (1, "1..1\nok 1 - a\n"),
                               (99, "1..1\nok 1 - a\n==1==ERROR: LeakSanitizer\n"),
                               (-11, "1..2\nok 1 - a\n"),
                               ("timeout", "1..1\nok 1 - a\n"),
                               ("not built", ""),
                               (0, ""),
                               (0, "1..0\n"),
                               (0, "1..2\nok 1 - a\n"),
                               (0, "1..1\nok 1 - a\nok 2 - b\n"),
                               (0, "ok 1 - a\n")):
            with self.subTest(output=output, status=status):
                self.assertEqual(self.count(status, output)[1], 1)

    def test_what_was_said_of_it(self):
        counts = self.runner.Counts()
        self.runner.count_tap(counts, "it", 1, "1..2\nok 1 - a\nnot ok 2 - b\n# because\n")
        self.assertEqual(counts.why, {"it: b": ["# because"]})
        # fail_msg() of cmocka is heard at once.
        counts = self.runner.Counts()
        self.runner.count_tap(counts, "it", 1, "1..2\nok 1 - a\nERROR: said\nnot ok 2 - b\n# t.c:7: error\n")
        self.assertEqual(counts.why, {"it: b": ["ERROR: said", "# t.c:7: error"]})

    def test_lane_that_throws(self):
        counts = self.runner.Counts()

        def fails(_counts):
            raise KeyError("gone")

        def passes(counts):
            counts.passed += 1

        self.runner.lane((fails, counts), (passes, counts)).join()
        self.assertEqual((counts.passed, counts.failed), (1, ["fails"]))
        self.assertIn("KeyError: 'gone'", counts.why["fails"])
