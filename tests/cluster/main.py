# SPDX-License-Identifier: BSD-2-Clause
"""main.py PROGRAM DIR [PATTERN]: the tests on a whole cluster, whose programs are in DIR; speaks TAP. In the world of
the end-to-end tests: its network namespace is the node's."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e"), HERE]
import harness  # noqa: E402
import run  # noqa: E402
import world  # noqa: E402

import cluster  # noqa: E402


def main():
    if os.geteuid() != 0:
        sys.exit("check-cluster: needs root (network namespaces, cgroups, bpf)")
    world.end_in_order()
    harness.world = world.World(sys.argv[1])
    cluster.PROGRAMS = os.path.abspath(sys.argv[2])
    tests = unittest.TestSuite(
        test for test in run.flatten(unittest.defaultTestLoader.discover(HERE))
        if run.chosen(test, sys.argv[3] if len(sys.argv) > 3 else None))
    print(f"1..{tests.countTestCases()}", flush=True)
    result = run.Tap()
    try:
        harness.world.build()
        tests.run(result)
    finally:
        harness.world.destroy()
    sys.exit(1 if result.failures else 0)


if __name__ == "__main__":
    main()
