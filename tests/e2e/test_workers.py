# SPDX-License-Identifier: BSD-2-Clause
"""Several workers for one bottle: connections spread over them, what happens to one is no other's
concern, and what one is told all are told."""
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import harness
from harness import Bottle, BottleCase, Case, cli, measures, policy, wait_for
from test_supervisor import ANY_PATH, ONE_PATH, fetch
from test_worker import status_of

# Keeps connections, and asks on all of them for what it is told: prints the status of each answer, or
# what went wrong.
HOLD = r"""
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
kept = [http.client.HTTPSConnection("api.example.test", context=context, timeout=15)
        for _ in range(int(sys.argv[2]))]
for path in sys.stdin:
    said = []
    for c in kept:
        try:
            c.auto_open = c.sock is None
            c.request("GET", path.strip())
            answer = c.getresponse()
            answer.read()
            said.append(str(answer.status))
        except OSError as error:
            said.append(type(error).__name__)
        except http.client.HTTPException as error:
            said.append(type(error).__name__)
    print(*said, flush=True)
"""
# One handshake after the other, each with the session of the first.
RESUME = r"""
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
session, resumed = None, []
for _ in range(int(sys.argv[3])):
    s = context.wrap_socket(socket.create_connection(("api.example.test", 443), 10),
                            server_hostname="api.example.test", session=session)
    s.sendall(b"GET /echo HTTP/1.1\r\nHost: api.example.test\r\nConnection: close\r\n\r\n")
    while s.recv(65536):
        pass
    resumed.append(s.session_reused)
    session = session or s.session
print(sum(resumed[1:]), flush=True)
"""
# Requests that cost their sender next to nothing, many at once: each is judged, refused and logged.
LOAD = r"""
import socket, threading
asked = b"GET /refused HTTP/1.1\r\nHost: api.example.test\r\n\r\n" * 400
def one():
    while True:
        try:
            s = socket.create_connection(("api.example.test", 80), 10)
            threading.Thread(target=send, args=(s,)).start()
            while s.recv(1 << 20):
                pass
        except OSError:
            pass
def send(s):
    try:
        for _ in range(20):
            s.sendall(asked)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
for _ in range(4):
    threading.Thread(target=one).start()
"""
# Opens connections, then says hello on all of them at once, and ends each that is answered.
CROWD = r"""
import selectors, socket, ssl, sys, time
count, begin = int(sys.argv[1]), ssl.MemoryBIO()
context = ssl.create_default_context()
try:
    context.wrap_bio(ssl.MemoryBIO(), begin, server_hostname="bulk.example.test").do_handshake()
except ssl.SSLWantReadError:
    hello = begin.read()
waiting, said = selectors.DefaultSelector(), {"answered": 0, "refused": 0}
for _ in range(count):
    waiting.register(socket.create_connection(("bulk.example.test", 443), 30), selectors.EVENT_READ)
sys.stdin.readline()
for key in list(waiting.get_map().values()):
    key.fileobj.sendall(hello)
end = time.monotonic() + 40
while waiting.get_map() and time.monotonic() < end:
    for key, _ in waiting.select(1):
        try:
            got = key.fileobj.recv(1)
        except OSError:
            got = b""
        said["answered" if got else "refused"] += 1
        waiting.unregister(key.fileobj)
        key.fileobj.close()
print(said["answered"], said["refused"], flush=True)
"""


def side(bottle):
    return bottle.status()["sidecar"]


def writers(lines):
    """Which workers wrote them, from 1: an id is of the second when it ends on '.2'."""
    return {int((line["id"] + ".1").split(".")[1]) for line in lines if line.get("source") == "proxy"}


class Held:
    """Connections that are kept, inside the bottle."""
    def __init__(self, bottle, count):
        self.process = bottle.popen([harness.PYTHON, "-c", HOLD, bottle.certificate, str(count)],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, path):
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Two(BottleCase):
    COUNT = 12

    @classmethod
    def setUpClass(cls):
        cls.options = {"text": policy(ANY_PATH), "options": ["--workers", "2"]}
        super().setUpClass()

    def setUp(self):
        super().setUp()
        wait_for(lambda: side(self.bottle)["workers_ready"] == 2, 15, "two workers")
        self.before = len(self.bottle.log())

    def lines(self):
        return self.bottle.log()[self.before:]

    def hold(self):
        """Connections of which some are with each."""
        for _ in range(20):
            held = Held(self.bottle, self.COUNT)
            self.addCleanup(held.end)
            self.assertEqual(set(held.ask("/echo")), {"200"})
            wait_for(lambda: len(self.lines()) >= self.COUNT, 10, "the log")
            if writers(self.lines()) == {1, 2}:
                return held
        self.fail("all with one")

    def test_connections_spread(self):
        self.hold()
        self.assertEqual(len(self.bottle.workers()), 2)
        ids = [line["id"] for line in self.bottle.log()]
        self.assertEqual(len(ids), len(set(ids)))
        result = self.ok(cli("status", self.bottle.name))
        self.assertRegex(result, r"(?m)^  workers 2, of which 2 serve; restarted \d+ times?$")
        self.assertIn(f'egress_workers{{bottle="{self.bottle.name}"}} 2',
                      self.ok(cli("metrics", self.bottle.name)))
        seen = [json.loads(line) for line in
                self.ok(cli("events", self.bottle.name, "--json")).splitlines()]
        self.assertEqual(writers(seen), {1, 2})
        self.assertGreaterEqual({line["id"] for line in seen}, set(ids[-self.COUNT:]))
        times = [line["time"] for line in seen if line.get("source") == "proxy"]
        self.assertEqual(times, sorted(times)) # of both workers, as one list
        self.assertGreaterEqual(side(self.bottle)["latency"]["0"]["count"], self.COUNT)

    def test_one_is_killed(self):
        held, restarts = self.hold(), side(self.bottle)["restarts"]
        first, second = self.bottle.workers()
        os.kill(first, signal.SIGKILL)
        said = held.ask("/echo")
        self.assertEqual(len(said), self.COUNT)
        self.assertIn("200", said)
        self.assertGreater(len(set(said)), 1, said)
        # Not that nobody has noticed yet that there is one less.
        wait_for(lambda: (side(self.bottle)["restarts"], side(self.bottle)["workers_ready"]) ==
                 (restarts + 1, 2), 15, "a successor")
        self.assertIn(second, self.bottle.workers())
        self.assertNotIn(first, self.bottle.workers())
        self.assertEqual(side(self.bottle)["restarts"], restarts + 1)
        self.assertEqual(set(held.ask("/echo")), {"200"})
        self.hold()

    def test_reload_reaches_both(self):
        held = self.hold()
        self.reload(policy(ONE_PATH), "policy reloaded")
        try:
            self.assertEqual(set(held.ask("/echo")), {"403"})
            self.assertEqual(set(held.ask("/status/200")), {"200"})
            # A route that is gone ends what is open, wherever it is.
            self.reload(policy("\n  - host: other.example.test\n"), "policy reloaded")
            self.assertNotIn("200", held.ask("/status/200"))
        finally:
            self.reload(policy(ANY_PATH), "policy reloaded")

    def reload(self, text, word):
        count = self.bottle.errors().count(word)
        self.bottle.reload(text)
        wait_for(lambda: self.bottle.errors().count(word) > count, 30, word)

    def test_refused_reload_is_nobodys(self):
        """One stands still and takes it after the other has refused it, and has its old one back."""
        held = self.hold()
        roots = harness.world.path("roots-for-root.pem")
        shutil.copy(harness.world.path("test-ca.pem"), roots)
        os.chmod(roots, 0o600)
        failed = side(self.bottle)["reload"]
        self.reload(f"upstream: {{ca_file: {roots}}}\nroutes:{ONE_PATH}",
                    "the old policy stays in force")
        wait_for(lambda: side(self.bottle)["reload"] != failed and
                 "no worker starts" in side(self.bottle)["reload"]["error"], 20, "the end of it")
        wait_for(lambda: side(self.bottle)["workers_ready"] == 2, 15, "both")
        self.assertEqual(set(self.hold().ask("/echo")), {"200"})
        held.end()

    def test_taken_back_from_who_has_it(self):
        """One has it when no successor of the other can start with it any more."""
        roots = harness.world.path("roots-for-now.pem")
        shutil.copy(harness.world.path("test-ca.pem"), roots)
        os.chmod(roots, 0o644)
        first, second = self.bottle.workers()
        os.kill(first, signal.SIGSTOP)
        count = self.bottle.errors().count("the old policy stays in force")
        reloaded = self.bottle.errors().count("policy reloaded")
        self.bottle.reload(f"upstream: {{ca_file: {roots}}}\nroutes:{ONE_PATH}")
        # The other alone accepts.
        wait_for(lambda: fetch(self.bottle, "/echo") == "403", 15, "the second to have it")
        os.chmod(roots, 0o600)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: self.bottle.errors().count("the old policy stays in force") > count, 20,
                 "the end of it")
        wait_for(lambda: "no worker starts" in (side(self.bottle)["reload"] or {}).get("error", ""),
                 20, "the word")
        self.assertEqual(self.bottle.errors().count("policy reloaded"), reloaded)
        self.assertIn(second, self.bottle.workers())
        wait_for(lambda: side(self.bottle)["workers_ready"] == 2, 15, "both")
        held = self.hold()
        self.assertEqual(set(held.ask("/echo")), {"200"})

    def test_sessions_resume_with_any(self):
        for version in ("TLSv1_2", "TLSv1_3"):
            for _ in range(20):
                self.before = len(self.bottle.log())
                result = self.bottle.python(RESUME, self.bottle.certificate, version, "9")
                self.assertEqual(self.ok(result).strip(), "8")
                wait_for(lambda: len(self.lines()) >= 9, 10, "the log")
                if writers(self.lines()) == {1, 2}:
                    break
            else:
                self.fail("all with one")

    def test_id_of_the_second(self):
        """What it refused can be allowed by its id, and the id says whose it is."""
        self.reload(policy(ONE_PATH), "policy reloaded")
        self.addCleanup(self.reload, policy(ANY_PATH), "policy reloaded")
        found = None
        for _ in range(100):
            body = json.loads(self.bottle.curl("https://api.example.test/not-yet").stdout)
            if body["id"].endswith(".2"):
                found = body["id"]
                break
        self.assertTrue(found)
        self.assertIn(found, self.ok(cli("pending", self.bottle.name)))
        for bad in (found + "0", found[:-1] + "1", found[:-1] + "02", found + ".2", found[:-1]):
            self.assertEqual(cli("allow", self.bottle.name, bad).returncode, 1, bad)
        self.ok(cli("allow", self.bottle.name, found))
        self.addCleanup(cli, "deny", self.bottle.name, found)
        held = Held(self.bottle, self.COUNT)
        self.addCleanup(held.end)
        self.assertEqual(set(held.ask("/not-yet")), {"200"})

    def test_descriptors(self):
        """They share what is listened at, and what is written to in common; no channel, and no memory of
        another's."""
        theirs = []
        for pid in self.bottle.workers():
            links = {}
            for fd in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{fd}"
                links[os.stat(path).st_ino, os.readlink(path).split(":[")[0]] = path
            theirs.append(links)
        for links in theirs:
            feeds = [name for _, name in links if "egress-bpf-feed" in name]
            self.assertEqual(len(feeds), 1, links)
            self.assertFalse([name for _, name in links if "shares" in name], links)
        shared = set(theirs[0]) & set(theirs[1])
        self.assertFalse([name for _, name in shared if "feed" in name])
        with open(f"/proc/{self.bottle.process.pid}/net/unix", encoding="utf-8") as file:
            unix = {int(line.split()[6]) for line in itertools.islice(file, 1, None)}
        self.assertFalse([inode for inode, name in shared if name == "socket" and inode in unix])
        self.assertEqual(len([inode for inode, name in theirs[0] if name == "socket" and inode in unix]), 2)

    @measures  # a build with sanitizers can be attached to
    def test_one_cannot_look_into_the_other(self):
        """They share a user id; neither its memory nor its registers are to be had by that."""
        pid = self.bottle.workers()[0]
        uid = int(status_of(pid)["Uid"].split()[0])
        code = ("import ctypes, os, sys\nuid, pid = map(int, sys.argv[1:])\n"
                "os.setgroups([]); os.setgid(uid); os.setuid(uid)\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "for name in ('mem', 'maps', 'environ', 'fd', 'map_files'):\n"
                "    try:\n"
                "        path = f'/proc/{pid}/{name}'\n"
                "        os.listdir(path) if name in ('fd', 'map_files') else open(path, 'rb').read(1)\n"
                "        print(name)\n"
                "    except PermissionError:\n        pass\n"
                "if libc.ptrace(16, pid, None, None) == 0:\n    print('ptrace')\n")
        result = subprocess.run([harness.PYTHON, "-c", code, str(uid), str(pid)],
                                capture_output=True, text=True, check=True)
        self.assertEqual(result.stdout, "")


class Away(Case):
    """What is wanted of all, while one of them is not there or begins."""
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(policy(ANY_PATH), options=["--workers", "2"])
        self.addCleanup(self.bottle.stop)

    def successor(self, known):
        """Of one that was killed."""
        return wait_for(lambda: set(self.bottle.workers()) - known, 15, "a successor").pop()

    def test_given_up_while_one_starts(self):
        """It would serve by what was given up before it says that it does: it is not waited for. Workers
        are held where they read the system's roots, which the supervisor does not, by a pipe."""
        roots = harness.world.path("certs/ca-certificates.crt")
        os.rename(roots, roots + ".aside")
        self.addCleanup(lambda: os.path.exists(roots + ".aside") and os.replace(roots + ".aside", roots))
        os.mkfifo(roots)
        os.chmod(roots, 0o644)
        first, second = self.bottle.workers()
        self.bottle.reload(f"upstream: {{ca_file: {harness.world.path('test-ca.pem')}}}\nroutes:{ONE_PATH}")
        wait_for(lambda: all(task_in_open(pid) for pid in (first, second)), 10, "both to take it")
        os.kill(second, signal.SIGKILL)
        stuck = self.successor({first, second})
        known = {first, second, stuck}
        os.kill(first, signal.SIGKILL)
        for _ in range(2):
            failing = self.successor(known)
            known.add(failing)
            os.kill(failing, signal.SIGKILL)
        wait_for(lambda: "no worker starts" in (side(self.bottle)["reload"] or {}).get("error", ""),
                 30, "the end of it")
        self.assertNotIn(stuck, self.bottle.workers())
        os.replace(roots + ".aside", roots)
        wait_for(lambda: side(self.bottle)["workers_ready"] == 2, 30, "both")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")

    def test_end_while_one_is_away(self):
        """Nobody follows it then, whom nobody would tell to end."""
        first, second = self.bottle.workers()
        known = {first, second}
        # Until its successor comes after 1.6 s: more than it takes to say the end, less than the drip.
        for _ in range(6):
            os.kill(first, signal.SIGKILL)
            first = self.successor(known)
            known.add(first)
        while True:
            os.kill(first, signal.SIGKILL)
            busy = self.bottle.popen(["curl", "-sSN", "--cacert", self.bottle.certificate,
                                      "https://api.example.test/drip/25"], stdout=subprocess.PIPE)
            self.addCleanup(busy.stdout.close)
            self.addCleanup(busy.wait)
            self.addCleanup(busy.kill)
            self.assertEqual(busy.stdout.read(1), ".")
            if self.bottle.workers() == [second]:
                break
            self.assertLess(len(known), 12, "its successor always comes first")
            first = self.successor(known)
            known.add(first)
        self.bottle.process.terminate()
        rest = busy.stdout.read()
        served = time.monotonic()
        self.bottle.process.wait(30)
        # All of STOP_GRACE_MS is waited for one that was not told; the drip takes half of it.
        self.assertLess(time.monotonic() - served, 2)
        self.assertEqual(len(rest), 24)


def task_in_open(pid):
    """One of its threads waits for the other end of a pipe."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/wchan", encoding="ascii") as file:
            if file.read() == "wait_for_partner":
                return True
    return False


def prefer(pid):
    """By its own nice value, and by that of its session's group: sched(7)."""
    os.setpriority(os.PRIO_PROCESS, pid, -15)
    if os.path.exists(f"/proc/{pid}/autogroup"):
        with open(f"/proc/{pid}/autogroup", "w", encoding="utf-8") as file:
            file.write("-15")


class Pipe(Case):
    def test_lines_are_whole(self):
        """Two write to a pipe that is read slowly: what is there is whole lines, and the rest is counted."""
        read_end, write_end = os.pipe()
        bottle = Bottle(policy(ONE_PATH), options=["--workers", "2", "--log", "-"], stdout=write_end)
        self.addCleanup(bottle.stop)
        os.close(write_end)
        text = []

        def read():
            while part := os.read(read_end, 3000):
                text.append(part)
        reader = threading.Thread(target=read)
        reader.start()
        self.addCleanup(os.close, read_end)
        paths = "\n".join(f"/{i}/" + "p" * 900 for i in range(60)) + "\n"
        clients = [bottle.popen([harness.PYTHON, "-c", HOLD, bottle.certificate, "6"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
        for client in clients:
            threading.Thread(target=client.communicate, args=(paths,)).start()
        for client in clients:
            client.wait(60)
        bottle.process.terminate()
        bottle.process.wait(15)
        reader.join(10)
        lines = [json.loads(line) for line in b"".join(text).decode().splitlines() if line]
        self.assertEqual(writers(lines), {1, 2})
        requests = [line for line in lines if line.get("reason") == "path_not_allowed"]
        lost = sum(line.get("lost", 0) for line in lines)
        self.assertGreater(len(requests), 200)
        self.assertEqual(len({line["id"] for line in requests}), len(requests))
        self.assertLessEqual(len(requests) + lost, 4 * 6 * 60 + 50)


class Crowd(Case):
    def test_no_more_than_there_are_descriptors_for(self):
        """A connection without a descriptor for its upstream waits in the queue."""
        bottle = Bottle(policy("\n  - host: bulk.example.test\n    tls: passthrough\n"),
                        options=["--workers", "2"], wrapper=["prlimit", "--nofile=200"])
        self.addCleanup(bottle.stop)
        crowd = bottle.popen([harness.PYTHON, "-c", CROWD, "250"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)

        def held(least):
            return all(len(os.listdir(f"/proc/{pid}/fd")) > least for pid in bottle.workers())
        # Half of 150 sockets are for upstreams that are not dialled yet.
        wait_for(lambda: held(80), 20, "both to have all that they take")
        out, _ = crowd.communicate("go\n", timeout=60)
        self.assertEqual(out.split(), ["250", "0"])
        self.assertEqual([line for line in bottle.log() if line["reason"].startswith("upstream_")], [])


class Auto(Case):
    @measures
    def test_more_when_one_is_busy(self):
        """And not before. It has precedence over others of this machine, which are to prove nothing."""
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one processor")
        bottle = Bottle(policy(ONE_PATH), options=["--log", "/dev/null", "--workers", "auto"])
        self.addCleanup(bottle.stop)
        self.assertEqual(len(bottle.workers()), 1)
        self.assertEqual(side(bottle)["workers"], 1)
        load = bottle.popen([harness.PYTHON, "-c", LOAD], root=True, start_new_session=True)
        for pid in (load.pid, *bottle.workers()):
            prefer(pid)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        wait_for(lambda: side(bottle)["workers_ready"] > 1, 60, "another worker")
        wait_for(lambda: '.2","bottle"' in cli("events", bottle.name, "--json").stdout, 30,
                 "what it did")
        self.assertLessEqual(side(bottle)["workers"], len(os.sched_getaffinity(0)))
        self.assertEqual(side(bottle)["restarts"], 0)

    def test_usage(self):
        for command in ("run", "exec"):
            for bad in ("0", "65", "-1", "two", "1x", "+1", "007"):
                result = cli(command, "--workers", bad, "--", "true")
                self.assertEqual(result.returncode, 2, (command, bad))
                self.assertIn(f"--workers {bad}", result.stderr)
                self.assertIn("1 to 64", result.stderr)

    def test_exec_with_two(self):
        result = harness.run_exec(["curl", "-sS", "https://api.example.test/echo", "-o", "/dev/null",
                                   "-w", "%{http_code}"], "--workers", "2",
                                  policy_text=policy(ANY_PATH))
        self.assertEqual(self.ok(result), "200")
