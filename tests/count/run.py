#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""run.py PROGRAM: instructions for one turn of the hot path's pieces, by callgrind, against the
numbers below. Times say nothing on a shared machine; these are the same on each run, and move with
the compiler and the C library alone. TAP."""
import os
import platform
import re
import subprocess
import sys

TIMES = 200
# Above by more than this share fails. Whoever makes one cheaper notes the new number here.
TOLERANCE = 0.10
# gcc 12 -O2 and glibc 2.36 (Debian 12) on x86-64.
NOTED = {
    "decide-10": 3040,
    "decide-10000": 3040,
    "request-head": 12500,
    "response-head": 8250,
    "dns-answer": 36500,
}
# A larger policy may cost a probe of the table more.
LEVEL = ("decide-10000", "decide-10", 1.10)


def count(program, subject):
    result = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=measured", program, subject, str(TIMES)],
        capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or not found or int(found[1]) == 0:
        return None, result.stderr
    return int(found[1]) / TIMES, ""


def comparable():
    """Why the noted numbers are none of this machine's, or None."""
    if platform.machine() != "x86_64":
        return f"counts are noted for x86-64, not for {platform.machine()}"
    libc = platform.libc_ver()[1]
    compiler = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True,
                              check=False).stdout.strip()
    if (libc, compiler.partition(".")[0]) != ("2.36", "12"):
        return f"counts are noted for gcc 12 and glibc 2.36, not for gcc {compiler}, glibc {libc}"
    return None


def main():
    program, number, counts, failed = os.path.abspath(sys.argv[1]), 0, {}, 0
    print(f"1..{len(NOTED) + 1}")
    other = comparable()
    for subject, noted in NOTED.items():
        number += 1
        counts[subject], problem = count(program, subject)
        if counts[subject] is None:
            print("\n".join("# " + line for line in problem.splitlines()))
            print(f"not ok {number} - {subject}")
            failed += 1
            continue
        change = counts[subject] / noted - 1
        said = f"{subject}: {counts[subject]:.0f} instructions, {noted} noted ({change:+.1%})"
        bad = not other and change > TOLERANCE
        failed += bad
        print(f"{'not ok' if bad else 'ok'} {number} - {said}{' # SKIP ' + other if other else ''}")
    many, few, limit = LEVEL
    ratio = (counts[many] or 0) / (counts[few] or 1)
    fine = 0 < ratio <= limit
    print(f"{'ok' if fine else 'not ok'} {number + 1} - {many} / {few}: {ratio:.2f}, at most {limit}")
    sys.exit(0 if fine and not failed else 1)


if __name__ == "__main__":
    main()
