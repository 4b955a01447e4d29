# SPDX-License-Identifier: BSD-2-Clause
"""run.py PROGRAM [--only PATTERN]: runs the end-to-end tests and speaks TAP.

PATTERN matches "module.Class.test", with * as wildcard. "own", "late" and "others" are the parts of all
that run beside each other (see OTHERS, LATE), of which "others" makes no sense under sanitizers; "tsan" is
where threads are at work. What measures memory and time is left out under any sanitizer."""
import fnmatch
import itertools
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import harness  # noqa: E402
import turns  # noqa: E402
import world  # noqa: E402


class Tap(unittest.TestResult):
    number = 0
    begun = time.monotonic()  # a class whose setUpClass fails has no test that began

    def line(self, word, test, note=""):
        self.number += 1
        taken = time.monotonic() - self.begun
        print(f"{word} {self.number} - {name(test)}{note} ({taken:.1f} s)"
              if "SKIP" not in note else f"{word} {self.number} - {name(test)}{note}", flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def addSuccess(self, test):
        self.line("ok", test)

    def addSkip(self, test, reason):
        self.begun = time.monotonic()
        self.line("ok", test, f" # SKIP {name(test)}: {reason}")

    def fail(self, test, error):
        # We are told to end, and unittest would go on with the next test in a world that is going.
        if issubclass(error[0], SystemExit):
            raise error[1]
        self.line("not ok", test)
        text = self._exc_info_to_string(error, test)
        print("\n".join("# " + line[:1500] for line in text.splitlines()[-60:]), flush=True)
        self.failures.append((test, text))

    addFailure = addError = fail

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.fail(subtest, error)

    def addUnexpectedSuccess(self, test):
        self.line("not ok", test)


def name(test):
    return test.id() if hasattr(test, "id") else str(test)


# What takes the time in these is engines, clusters, compilers, packages, browsers and other people's
# clients: a lane of their own, and none under the sanitizers, where what of ours they use has unit tests.
OTHERS = {"test_ci", "test_compared", "test_docker", "test_docs", "test_install", "test_node",
          "test_node_closed", "test_podman", "test_programs", "test_start", "test_ui_page"}

# A part of what is ours, for the lanes whose own work is done first: see run-tests.
LATE = {"test_approve", "test_broker", "test_supervisor", "test_ui"}
PARTS = ("own", "late", "others")

# Reloads, grants, several workers. Not `exec`: its broker does not start under ThreadSanitizer.
THREADS = ("test_approve.*", "test_reload.*", "test_workers.Two.*", "test_workers.Pipe.*",
           "test_supervisor.Reload.test_while_*", "test_start.Start.test_reload_under_load*")


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def measures(test):
    method = getattr(test, test._testMethodName, None)
    return getattr(method, "measures", False) or getattr(type(test), "measures", False)


def part(module):
    return "others" if module in OTHERS else "late" if module in LATE else "own"


def chosen(test, only):
    if not only:
        return True
    if only == "tsan":
        return any(fnmatch.fnmatch(name(test), x) for x in THREADS)
    if only in PARTS:
        return only == part(type(test).__module__)
    return fnmatch.fnmatch(name(test), f"*{only}*")


def is_alone(kind):
    return getattr(kind, "alone", False)


def main():
    arguments, only = sys.argv[1:], None
    if "--only" in arguments:
        at = arguments.index("--only")
        only = arguments[at + 1]
        del arguments[at:at + 2]
    if os.geteuid() != 0:
        sys.exit("run.py: needs root (network namespaces, cgroups, bpf)")
    world.end_in_order()
    # Whatever the pattern: without the worker's filter, say, its tests can only fail.
    left_out = measures if harness.is_sanitized(arguments[0]) else lambda test: False
    tests = [t for t in flatten(unittest.defaultTestLoader.discover(HERE))
             if chosen(t, only) and not left_out(t)]
    # First, while the others' tests are short ones: see run-tests.
    tests.sort(key=lambda test: not is_alone(type(test)))
    print(f"1..{len(tests)}", flush=True)
    harness.world = world.World(arguments[0])
    result = Tap()
    try:
        harness.world.build()
        for kind, group in itertools.groupby(tests, type):
            with turns.turn(is_alone(kind)):
                unittest.TestSuite(group).run(result)
            # It is torn down; the next suite would do so again.
            result._previousTestClass = None  # pylint: disable=protected-access
    finally:
        harness.world.destroy()
    sys.exit(1 if result.failures else 0)


if __name__ == "__main__":
    main()
