# SPDX-License-Identifier: BSD-2-Clause
"""A wall is taken over again and again, after orderly ends and after kill -9, while programs inside
try all the time what is refused and what is allowed."""
import ast
import os
import signal
import socket
import subprocess
import time

import world as w
import harness
from harness import PROXY_PORT, PYTHON, Bottle, Case, measures, wait_for, write
from test_death import HAMMER

ADOPTIONS, KILLS = 50, 20  # the kills are among the adoptions
ANSWERED, REFUSED = 0, 1

# Asks for names and uses the answers, until told to stop. Prints, by kind of outcome, how often; and
# what must never be: another address, a closed port that opens, an answer for another host. Meanwhile
# the two outcomes that are waited for are told in a file.
ALLOWED = r"""
import collections, errno, os, random, signal, socket, struct, sys
stop, wrong, counts, known = [], [], collections.Counter(), {}
progress = os.open(sys.argv[1], os.O_WRONLY)
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
NAMES = ("both.example.test", "bulk.example.test", "second.example.test")

def ask(name):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    number = random.randrange(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(("203.0.113.2", 53))
        s.send(struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")
        answer = s.recv(512)
    if answer[:2] != struct.pack("!H", number) or answer[3] & 15 or answer[6:8] != b"\0\1":
        return None
    return socket.inet_ntoa(answer[-4:])

def attempt(kind, call):
    try:
        result = call()
        counts[kind + " ok"] += 1
        return result
    except OSError as error:
        counts[kind + " " + errno.errorcode.get(error.errno, "timeout")] += 1

def fetch(name, address):
    with socket.create_connection((address, 80), 3) as s:
        if s.getpeername() != (address, 80):
            wrong.append(("peer", s.getpeername(), address))
        s.sendall(b"GET /echo HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % name.encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    if data and not data.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 403 ", b"HTTP/1.1 404 ",
                                     b"HTTP/1.1 502 ")):
        wrong.append(("answer", name, data[:100]))
    counts["answer " + data[9:12].decode()] += 1

def closed(address):
    with socket.create_connection((address, 81), 1) as s:
        wrong.append(("port 81", address))

print("up", flush=True)
while not stop:
    for name in NAMES:
        address = attempt("ask", lambda: ask(name))
        if address and known.setdefault(name, address) != address:
            wrong.append(("address", name, known[name], address))
        address = known.get(name)
        if address:
            attempt("use", lambda: fetch(name, address))
            attempt("closed", lambda: closed(address))
        os.pwrite(progress, b"%9d %9d" % (counts["answer 200"], counts["use ECONNREFUSED"]), 0)
print([wrong, dict(counts), known])
"""


@measures
class Adoption(Case):
    """In the host's network namespace, where nothing but the programs stands in the way."""

    def setUp(self):
        super().setUp()
        self.bottle = Bottle(shared=True, options=["--no-self-test"])
        self.addCleanup(self.bottle.stop)
        self.sniffer = w.Sniffer(harness.world)
        self.addCleanup(self.sniffer.close)
        self.slow = 0
        self.progress = write("adoption-progress", "0 0", 0o666)
        self.programs = [self.bottle.popen([*nice, harness.PYTHON, "-c", text, self.progress],
                                           stdout=subprocess.PIPE)
                         for nice, text in ((["nice"], HAMMER), ([], ALLOWED))]
        for program in self.programs:
            self.assertEqual(program.stdout.readline(), "up\n")

    def end(self, kill):
        if kill:
            for pid in [self.bottle.process.pid, *self.bottle.workers()]:
                os.kill(pid, 9)
        else:
            self.bottle.process.terminate()
        # Once a worker that waited for an answer of ours was waited for in turn, for 5 s.
        began = time.monotonic()
        self.bottle.process.wait(20)
        self.slow += time.monotonic() - began > 4

    def tried(self, outcome):
        """Waits until the client inside has met it once more: on a busy machine a take-over, or the time
        between two, may be over before it has its turn."""
        def count():
            with open(self.progress, encoding="utf-8") as file:
                return int(file.read().split()[outcome])
        before = count()
        wait_for(lambda: count() > before, 30, lambda: f"outcome {outcome}; {self.bottle.errors()[-2000:]}")

    def addresses(self):
        return {h["host"]: h["address"] for h in self.bottle.status()["hosts"]}

    def test_fifty_takeovers_under_fire(self):
        wait_for(lambda: len(self.addresses()) >= 3, 10, "the names to be asked for")
        before = self.addresses()
        for number in range(ADOPTIONS):
            if number % 5 == 0:
                self.tried(ANSWERED)
            self.end(kill=number % 5 in (1, 3))
            if number in (2, 3):
                self.tried(REFUSED)
            if number % 10 == 0:
                self.assertTrue(self.bottle.status()["walls"]["whole"])
            self.bottle.start()
        self.assertLessEqual(self.slow, 2)  # of a busy machine
        after = self.addresses()
        self.assertEqual({name: after.get(name) for name in before}, before)
        for program in self.programs:
            program.terminate()
        refused, allowed = (program.communicate(timeout=20)[0] for program in self.programs)
        self.assertTrue(refused.startswith("[] "), refused)
        self.assertGreater(sum(ast.literal_eval(refused[3:]).values()), 5000)
        wrong, counts, known = ast.literal_eval(allowed)
        self.assertEqual(wrong, [])
        self.assertEqual({name: before.get(name) for name in known}, known)
        self.assertGreater(counts["answer 200"], 5, counts)
        self.assertGreater(counts["use ECONNREFUSED"], 0, "it was never tried while we were away")
        self.assertNotIn("closed ok", counts)
        leaks = [p for p in self.sniffer.drain()
                 if p[1] in ("203.0.113.12", "2001:db8:e2e::17") or p[0] == 17
                 or p[1].startswith("198.1")]
        self.assertEqual(leaks, [])
        self.assertEqual(sum(number % 5 in (1, 3) for number in range(ADOPTIONS)), KILLS)


# Keeps its sockets: closed, they would take their records back themselves.
LEFT = r"""
import socket, sys
address, held = socket.gethostbyname("both.example.test"), []
print("ready", flush=True)
for ports in ((21000, 21001), (21002, 21003)):
    sys.stdin.readline()
    for port in ports:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        print(s.connect_ex((address, 80)), flush=True)
        held.append(s)
sys.stdin.readline()
"""


class Records(Case):
    """What a supervisor left undone is nobody's afterwards, in a network namespace that strangers share."""
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(shared=True, options=["--no-self-test"])
        self.program = subprocess.Popen([PYTHON, "-c", LEFT], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, preexec_fn=self.bottle.enter)
        self.program.stdout.readline()  # it has the address

    def tearDown(self):
        self.program.communicate(timeout=20)
        self.bottle.stop()
        super().tearDown()

    def connects(self):
        """The program inside makes two connections, and keeps them."""
        self.program.stdin.write("\n")
        self.program.stdin.flush()
        return [int(self.program.stdout.readline()) for _ in range(2)]

    def nobody_listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", PROXY_PORT)) != 0

    def stranger(self, port):
        """What a process of the host is told that has the port after the bottle's."""
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            s.settimeout(20)
            try:
                s.connect(("127.0.0.1", PROXY_PORT))
                s.sendall(b"GET /echo HTTP/1.1\r\nHost: both.example.test\r\nConnection: close\r\n\r\n")
                return s.recv(4096)
            except ConnectionError:
                return b""

    def test_a_stranger_does_not_inherit_them(self):
        workers = self.bottle.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        self.assertEqual(self.connects(), [0, 0])  # nobody accepts them
        for pid in (self.bottle.process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        self.bottle.process.wait(20)
        wait_for(self.nobody_listens, 10, "the workers' sockets to be closed")
        self.assertNotIn(0, self.connects())  # nobody listens
        self.bottle.start()
        self.assertEqual([self.stranger(port) for port in range(21000, 21004)], [b""] * 4)
        self.assertEqual(self.arrived(), [])
