# SPDX-License-Identifier: BSD-2-Clause
"""Test runs beside each other: most share the machine, some look at all of it and must be alone."""
import contextlib
import fcntl
import os

PATH = "/tmp/egress-bpf-tests.lock"


def opened(path):
    # A file of an ordinary user is as good: only its locks are used.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


@contextlib.contextmanager
def turn(alone):
    """Everyone passes the gate one by one, so that who waits to be alone is not starved."""
    gate, place = opened(PATH + ".gate"), opened(PATH)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(place, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        os.close(gate)
        os.close(place)
