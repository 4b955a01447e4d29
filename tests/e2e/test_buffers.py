# SPDX-License-Identifier: BSD-2-Clause
"""limits.buffered_mib: what peers can make the proxy hold, all together."""
import json
import subprocess
import threading
import time

import harness
from harness import PYTHON, measures
from test_hostile import HOSTILE
from test_http2 import H2CLIENT, ROUTES, WithOrigins, pseudo
from test_volume import Peak

LIMIT = 32
CONNECTIONS, STREAMS = 20, 60
# Opens as many streams as it is let, takes nothing of any answer, and says when all are asked for.
STALL = r"""
import json, sys, time
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
clients = []
for _ in range(int(sys.argv[5])):
    c = Client(sys.argv[3], settings=bytes.fromhex("000400000000"))
    c.socket.sendall(b"".join(c.headers(json.loads(sys.argv[4]), 2 * n + 1, True)
                              for n in range(int(sys.argv[6]))))
    clients.append(c)
print("asked", flush=True)
reset = {}
while True:
    for c in clients:
        c.receive(0.01)
        for s in c.streams.values():
            if s["reset"] is not None:
                reset[s["reset"]] = reset.get(s["reset"], 0) + 1
                s["reset"] = None
    print(json.dumps(reset), flush=True)
"""

# As many requests as it is let, each with a head that says so much and a body that never comes.
TRICKLE = r"""
import json, sys, time
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
clients, fields = [], json.loads(sys.argv[4]) + [["x-fill", "f" * int(sys.argv[7])]]
for _ in range(int(sys.argv[5])):
    try:
        c = Client(sys.argv[3])
        clients.append(c)
        c.socket.settimeout(1)
        for n in range(int(sys.argv[6])):
            c.socket.sendall(c.headers(fields, 2 * n + 1, False))
    except OSError:
        pass
print("asked", flush=True)
time.sleep(600)
"""

# Large heads for an origin that takes none of them, given up by who sent them.
GIVEN_UP = r"""
import json, sys, time
sys.argv[1:1] = ["{}"]
exec(open(sys.argv[2]).read().split("def main")[0])
fields = json.loads(sys.argv[4]) + [["x-fill", "f" * int(sys.argv[7])]]
for _ in range(int(sys.argv[5])):
    c = Client(sys.argv[3])
    c.socket.settimeout(3)
    try:
        for n in range(int(sys.argv[6])):
            block = c.headers(fields, 0, False)[9:]
            parts = [block[at:at + 16384] for at in range(0, len(block), 16384)]
            c.socket.sendall(b"".join(frame(9 if i else 1, (0 if i else 1) | (4 if i == len(parts) - 1 else 0),
                                            2 * n + 1, part) for i, part in enumerate(parts)))
    except OSError:
        pass
    time.sleep(0.2)
    c.socket.close()
print("asked", flush=True)
time.sleep(600)
"""


class Sampler(threading.Thread):
    """The most that the buffers held, as `status` says it."""

    def __init__(self, bottle):
        super().__init__(daemon=True)
        self.bottle, self.most, self.over = bottle, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, buffers(self.bottle)["bytes"])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def buffers(bottle):
    return bottle.status()["sidecar"]["buffers"]


class Buffers(WithOrigins):
    policy_extra = f"limits: {{buffered_mib: {LIMIT}}}\n"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with harness.world.in_origin():
            cls.origins.append(harness.world.spawn(
                [PYTHON, HOSTILE, harness.world.directory, "203.0.113.24", "h2"]))
        harness.world.wait_port("203.0.113.24", 443)

    def stall(self, host, path, code=STALL, *numbers):
        request = pseudo(path, "POST" if numbers else "GET", authority=host)
        process = self.bottle.popen([PYTHON, "-c", code, H2CLIENT, host, json.dumps(request),
                                     *map(str, numbers or (CONNECTIONS, STREAMS))],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "asked\n")
        return process

    @measures
    def test_thousands_of_stalled_readers(self):
        """They stay below the limit, are ended for it, and who reads is served beside them."""
        before = buffers(self.bottle)
        self.assertEqual(before["limit"], LIMIT << 20)
        worker = self.bottle.worker()
        resident = harness.memory_kib(worker)
        with Peak(worker) as peak, Sampler(self.bottle) as sampler:
            process = self.stall("grpc.example.test", "/e2e.Test/blast")
            harness.wait_for(lambda: buffers(self.bottle)["ended"] > 100, 30, "a hundred ended")
            for option in ("--http2", "--http1.1"):
                for host in ("h2.example.test", "api.example.test"):
                    path = "/bytes/3000000" if host[0] == "h" else "/chunked/500"
                    output = self.ok(self.bottle.curl(
                        option, "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                        f"https://{host}{path}"))
                    self.assertRegex(output, r"^200 \d{4,}$")
            process.kill()
            process.communicate()
        self.assertEqual(self.bottle.worker(), worker)
        self.assertGreater(sampler.most, LIMIT << 19)
        # One read of each connection may be on its way when the limit is met.
        self.assertLess(sampler.most, (LIMIT + 4) << 20)
        self.assertLess(peak.peak, resident + harness.room_kib((LIMIT + 48) * 1024))
        self.assertGreater(self.bottle.counter("limit"), 0)
        self.assertIn("all buffers are full", json.dumps(self.bottle.log()[-4000:]))
        # And nothing is left of them, in memory or in the count.
        harness.wait_for(lambda: buffers(self.bottle)["bytes"] < 4 << 20, 40, "the buffers to be empty")

    def served(self):
        for host in ("h2.example.test", "api.example.test"):
            self.assertEqual(self.ok(self.bottle.curl(f"https://{host}/echo", "-o", "/dev/null", "-w",
                                                      "%{http_code}")), "200")

    @measures
    def test_an_origin_that_takes_nothing(self):
        """What waits for it is nobody's any more, and ends with its connection."""
        with Sampler(self.bottle) as sampler:
            self.stall("grpc.example.test", "/e2e.Test/deaf", GIVEN_UP, 24, 50, 60000)
        self.assertGreater(sampler.most, LIMIT << 19)
        self.served()

    @measures
    def test_many_that_hold_little(self):
        """Six thousand requests of 6 KiB each: none is worth ending, all together they are."""
        before = buffers(self.bottle)["ended"]
        process = self.stall("h2.example.test", "/echo", TRICKLE, 70, 100, 1700)
        harness.wait_for(lambda: buffers(self.bottle)["ended"] > before, 20, "somebody ended")
        self.served()
        process.kill()
        process.communicate()
        harness.wait_for(lambda: buffers(self.bottle)["bytes"] < 4 << 20, 40, "the buffers to be empty")
