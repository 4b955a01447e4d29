# SPDX-License-Identifier: BSD-2-Clause
"""Size, number and speed: constant memory, a thousand connections, events without delay."""
import contextlib
import os
import subprocess
import threading
import time

import harness
from harness import BottleCase, Case, measures

GIB = 1 << 30
LIMIT_KIB = 32 * 1024


class Peak(threading.Thread):
    """The most resident memory of a process while something goes on."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.05):
            try:
                self.peak = max(self.peak, harness.memory_kib(self.pid))
            except OSError:
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


@contextlib.contextmanager
def precedence(*pids):
    """Over others of this machine, which are to prove nothing."""
    threads = [int(tid) for pid in pids for tid in os.listdir(f"/proc/{pid}/task")]
    for tid in threads:
        os.setpriority(os.PRIO_PROCESS, tid, -15)
    try:
        yield
    finally:
        for tid in threads:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, tid, 0)


class Burst(BottleCase):
    """By a worker of its own: what a peak leaves in malloc's hands is no other test's to judge."""

    def burst(self, host, path):
        """300 clients that come at the same time with one request each; the number of connections
        that the origin saw."""
        output = self.ok(self.bottle.run(
            ["sh", "-c", "ulimit -n 4096; exec h2load --h1 -c 300 -n 300 "
             f"https://{host}.example.test{path}"], root=True, timeout=100))
        self.assertRegex(output, r"status codes: 300 2xx, 0 3xx, 0 4xx, 0 5xx")
        peers = [r["peer"] for r in self.arrived() if r["target"] == path]
        self.assertEqual(len(peers), 300)
        return len(set(peers))

    def test_burst_shares_connections(self):
        """This origin takes a millisecond for a handshake, and more on a busy machine."""
        self.assertLess(self.burst("second", "/burst"), 180)

    def test_burst_is_held(self):
        """An answer that is held keeps nobody else waiting."""
        self.assertEqual(self.burst("both", "/gather/300"), 300)


class Ebb(BottleCase):
    @measures
    def test_memory_of_a_peak_goes_back(self):
        """What is freed lies between what stays, so that none of it goes back by itself. About half does in
        the end: the other half are pages on which a session lies that is kept."""
        def private():
            return harness.memory_kib(self.bottle.worker(), "RssAnon")
        code = ("import socket, ssl, sys\n"
                "context = ssl._create_unverified_context()\n"
                "held = [context.wrap_socket(socket.create_connection(('bulk.example.test', 443)),"
                " server_hostname='bulk.example.test') for _ in range(250)]\n"
                "print('held', flush=True)\nsys.stdin.readline()\n")
        client = self.bottle.popen(["/usr/bin/python3", "-c", code], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        before = private()
        self.assertEqual(client.stdout.readline().strip(), "held")
        most = private()
        self.assertGreater(most - before, 2000)
        client.communicate("\n", timeout=20)
        harness.wait_for(lambda: private() < before + (most - before) * 2 / 3, 30,
                         lambda: f"memory to go back: {before}, {most}, {private()} KiB")


class Volume(BottleCase):
    @measures
    def test_gib_down(self):
        with Peak(self.bottle.worker()) as peak:
            output = self.ok(self.bottle.curl("--max-time", "100", "-o", "/dev/null", "-w",
                                              "%{size_download}", "https://bulk.example.test/gib",
                                              timeout=110))
        self.assertEqual(int(output), GIB)
        self.assertLess(peak.peak, LIMIT_KIB)

    @measures
    def test_gib_up(self):
        command = (f"head -c {GIB} /dev/zero | curl -sSf --max-time 100 --cacert "
                   f"{self.bottle.certificate} -T - https://second.example.test/up")
        with Peak(self.bottle.worker()) as peak:
            self.ok(self.bottle.run(["sh", "-c", command], timeout=110))
        self.assertEqual(self.arrived()[-1]["length"], GIB)
        self.assertLess(peak.peak, LIMIT_KIB)

    @measures
    def test_slow_reader(self):
        """A client that does not read must not fill our memory."""
        code = ("import socket, ssl, sys, time; s = ssl._create_unverified_context().wrap_socket("
                "socket.create_connection(('bulk.example.test', 443)),"
                "server_hostname='bulk.example.test');"
                "s.sendall(b'GET /gib HTTP/1.1\\r\\nHost: bulk.example.test\\r\\n\\r\\n');"
                "s.recv(1000); time.sleep(2)")
        with Peak(self.bottle.worker()) as peak:
            self.ok(self.bottle.python(code))
        self.assertLess(peak.peak, LIMIT_KIB)

    @measures
    def test_thousand_connections(self):
        output = self.ok(self.bottle.run(
            ["sh", "-c", "ulimit -n 4096; exec h2load --h1 -c 1000 -n 10000 "
             "https://bulk.example.test/small"], root=True, timeout=120))
        self.assertRegex(output, r"10000 succeeded, 0 failed, 0 errored, 0 timeout")
        self.assertRegex(output, r"status codes: 10000 2xx, 0 3xx")

    def test_hundred_connections(self):
        output = self.ok(self.bottle.run(
            ["h2load", "--h1", "-c", "100", "-n", "500", "https://bulk.example.test/small"]))
        self.assertRegex(output, r"500 succeeded, 0 failed, 0 errored, 0 timeout")

    @measures
    def test_events_pass_at_once(self):
        code = r"""
import sys, time, urllib.request, ssl
context = ssl._create_unverified_context()
delays = []
with urllib.request.urlopen("https://api.example.test/sse/60", context=context) as response:
    while line := response.readline():
        if line.startswith(b"data: "):
            delays.append((time.monotonic_ns() - int(line[6:])) / 1e6)
delays.sort()
print(len(delays), delays[len(delays) // 2], delays[int(len(delays) * .9)])
"""
        # Nine of ten, and once of a few times: the machine of the tests may be busy with something else.
        # What holds events back holds them back each time, for 20 ms at least: until the next one comes.
        medians, mosts = [], []
        while len(mosts) < 8 and not (min(medians, default=5) < 5 and min(mosts, default=19) < 19):
            client = self.bottle.popen([harness.PYTHON, "-c", code], stdout=subprocess.PIPE)
            with precedence(client.pid, self.bottle.worker(), harness.world.children[0].pid):
                count, median, most = client.communicate(timeout=60)[0].split()
            self.assertEqual(count, "60")
            medians.append(float(median))
            mosts.append(float(most))
        print(f"# delays in milliseconds: medians {medians}, nine of ten {mosts}")
        self.assertLess(min(medians), 5)
        self.assertLess(min(mosts), 19)

    def test_streams_both_ways(self):
        """Megabytes in chunks, content checked by the origin."""
        command = ("head -c 20000000 /dev/urandom >body.$$; sha256sum <body.$$; curl -sS --cacert "
                   f"{self.bottle.certificate} -H 'Transfer-Encoding: chunked' "
                   "--data-binary @body.$$ https://second.example.test/up; rm body.$$")
        self.bottle.popen(["true"]).wait()
        result = self.bottle.run(["sh", "-c", "cd $HOME; " + command])
        digest = self.ok(result).split()[0]
        self.assertIn(f'"sha256": "{digest}"', result.stdout)
        self.assertIn('"length": 20000000', result.stdout)


class Start(Case):
    @measures
    def test_exec_is_quick(self):
        took = []
        while len(took) < 3 and min(took, default=3) >= 3:
            begun = time.monotonic()
            self.ok(harness.run_exec(["true"]))
            took.append(time.monotonic() - begun)
        self.assertLess(min(took), 3)

    def test_many_at_once(self):
        """Sandboxes do not get in each other's way."""
        env = harness.environment(SUDO_UID=str(harness.UID), SUDO_GID=str(harness.UID))
        command = harness.exec_command(["curl", "-sSf", "-o", "/dev/null",
                                        "https://both.example.test/"], "-q")
        processes = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
                     for _ in range(4)]
        for process in processes:
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, errors)
