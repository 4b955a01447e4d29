# SPDX-License-Identifier: BSD-2-Clause
"""`events`, and `why` for one of them: what the sidecar tells over its control socket, and to whom."""
import json
import os
import select
import signal
import socket
import stat
import subprocess
import time

import harness
import world as w
from harness import Bottle, BottleCase, Case, cli, policy, wait_for

# Questions about names that no route has: each is a refusal of the responder's.
FLOOD = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(("192.0.2.53", 53))
for i in range(int(sys.argv[1])):
    name = b"".join(bytes([len(p)]) + p for p in b"n%d.nowhere.test".replace(b"%d", b"%d" % i).split(b"."))
    s.send(struct.pack("!6H", i & 65535, 256, 1, 0, 0, 0) + name + b"\\0\\0\\1\\0\\1")
    s.recv(512)
"""
CONNECTS = """
import socket, sys
for i in range(int(sys.argv[1])):
    with socket.socket() as s:
        s.connect_ex(("198.51.100.9", 1000 + i))
"""


def socket_path(bottle):
    return f"/run/egress-bpf/{bottle.name}.sock"


def events(bottle, *options):
    result = cli("events", bottle.name, "--json", *options)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(bottle, path):
    """The event of a refusal whose answer has come: that leaves the worker first."""
    def found():
        return [e for e in events(bottle, "--denied") if e.get("path") == path]
    return wait_for(found, 10, f"the event of {path}")[-1]


class Follower:
    """`events --follow`, its output in a file."""

    def __init__(self, bottle, *options, stdout=None):
        self.path = harness.world.path(f"follow-{time.monotonic_ns()}")
        with open(self.path, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [harness.world.program, "events", bottle.name, "--follow", *options],
                stdout=stdout or file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                preexec_fn=w.die_with_parent, env=harness.environment())

    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def end(self):
        self.process.kill()
        self.process.wait()


class Events(BottleCase):
    def test_kernel_and_proxy_with_filters(self):
        self.bottle.curl("https://api.example.test/echo")
        self.bottle.curl("https://api.example.test/elsewhere")
        self.bottle.curl("https://second.example.test/echo")
        self.bottle.curl("https://unheard-of.example.test/")
        self.bottle.run(["bash", "-c", "echo >/dev/tcp/203.0.113.12/443"])
        found = wait_for(lambda: [e for e in events(self.bottle) if e["source"] == "kernel"] and
                         events(self.bottle), 5, "the kernel's event")
        self.assertEqual(len({e["id"] for e in found}), len(found))
        self.assertEqual([e["time"] for e in found], sorted(e["time"] for e in found))
        logged = {e["id"]: e for e in self.bottle.log()}
        for event in found:
            self.assertEqual(event, logged[event["id"]], "the log has another line")
        denied = events(self.bottle, "--denied")
        self.assertEqual({e["reason"] for e in denied} - {"allowed"},
                         {e["reason"] for e in found} - {"allowed"})
        self.assertNotIn("allowed", {e["verdict"] for e in denied})
        self.assertLessEqual({"path_not_allowed", "host_not_allowed", "address_not_allowed"},
                             {e["reason"] for e in denied})
        self.assertEqual({e["host"] for e in events(self.bottle, "--host", "second.example.test")},
                         {"second.example.test"})
        self.assertEqual(events(self.bottle, "--host", "*.api.example.test"), [])
        self.assertEqual(events(self.bottle, "--since", "2099-01-01T00:00:00Z"), [])
        self.assertEqual(len(events(self.bottle, "--since", "1h")), len(found))
        text = self.ok(cli("events", self.bottle.name, "--denied"))
        self.assertNotIn("\033", text)
        self.assertRegex(text, r"(?m)^[\d:.]{12}  \S+ +path_not_allowed +proxy +GET +"
                         r"api\.example\.test:443/elsewhere 403 .*curl\[\d+\]$")

    def test_why_for_an_event(self):
        self.bottle.curl("https://api.example.test/not-there")
        event = refused(self.bottle, "/not-there")
        # The program that was refused was told the id.
        refusal = self.bottle.curl("-i", "https://api.example.test/not-there-either").stdout
        body = json.loads(refusal.splitlines()[-1])
        self.assertIn(f"X-Egress-Request-Id: {body['id']}", refusal)
        self.assertEqual(refused(self.bottle, "/not-there-either")["id"], body["id"])
        self.assertIn("/not-there-either", cli("why", "--name", self.bottle.name, body["id"]).stdout)
        result = cli("why", "--name", self.bottle.name, event["id"])
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("path_not_allowed", result.stdout)
        self.assertRegex(result.stdout, r"(?m)^the same now: refused, path_not_allowed")
        self.assertRegex(result.stdout, r"(?m)^would allow it: ")
        told = json.loads(cli("why", "--name", self.bottle.name, "--json", event["id"]).stdout)
        self.assertEqual(told["event"], event)
        self.assertEqual(told["now"]["reason"], "path_not_allowed")
        for bad in ("ffff-k1", "nonsense"):
            result = cli("why", "--name", self.bottle.name, bad)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"no event {bad} is there", result.stderr)

    def test_wrong_uses(self):
        for bad in (["--since", "yesterday"], ["--frobnicate"], ["a", "b"], ["../x"]):
            self.assertEqual(cli("events", *bad).returncode, 2, bad)
        result = cli("events", "no-such-bottle")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no sidecar of this name is running", result.stderr)

    def test_nobody_else_may_ask(self):
        mode = os.stat(socket_path(self.bottle))
        self.assertEqual((stat.S_IMODE(mode.st_mode), mode.st_uid), (0o600, 0))
        ask = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
               "s.send(b'{\"command\":\"events\"}\\n'); print(repr(s.recv(100)))")
        user = self.bottle.python(ask, socket_path(self.bottle))
        self.assertIn("PermissionError", user.stderr)
        # Root in the bottle, where it shares the host's files.
        root = self.bottle.python(ask, socket_path(self.bottle), root=True)
        self.assertTrue(root.stdout.strip() == "b''" or "Error" in root.stderr, root)
        host = subprocess.run([harness.PYTHON, "-c", ask, socket_path(self.bottle)], text=True,
                              capture_output=True, check=False)
        self.assertIn('{"ok":true}', host.stdout)

    def test_hostile_requests(self):
        for request in (b"", b"\n", b"x" * 20000, b"{}\n", b'{"command":1}\n', b"[[[[\n" * 100,
                        b'{"command":"nothing"}\n', b'{"command":"why"}\n',
                        b'{"command":"why","method":"GET","url":"gopher://x"}\n'):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(socket_path(self.bottle))
                try:
                    s.sendall(request)
                    s.shutdown(socket.SHUT_WR)
                    answer = s.recv(4096)
                except ConnectionError:
                    answer = b""
                self.assertNotIn(b"ok", answer, request)
        self.assertIsNone(self.bottle.process.poll())
        self.assertIsNotNone(events(self.bottle))


    def test_status_and_watch(self):
        """What a living sidecar adds to `status`; a reload that fails, and one that does not."""
        self.bottle.curl("https://api.example.test/echo")
        status = self.bottle.status()
        sidecar = status["sidecar"]
        self.assertEqual(sidecar["policy_hash"], status["policy_hash"])
        self.assertIsNone(sidecar["reload"])
        self.assertGreater(sidecar["latency"]["0"]["count"], 0)
        self.assertLess(sidecar["latency"]["0"]["p50_us"], 1000000)
        with open(harness.world.path("watch"), "w+", encoding="utf-8") as out:
            watch = subprocess.Popen([harness.world.program, "status", self.bottle.name, "--watch"],
                                     stdout=out, stdin=subprocess.DEVNULL, preexec_fn=w.die_with_parent)
            try:
                def shown():
                    with open(out.name, encoding="utf-8") as file:
                        return file.read()
                wait_for(lambda: "in force for" in shown(), 5, "the first picture")
                old = harness.policy()
                self.bottle.reload("routes: [{hots: x}]\n")
                wait_for(lambda: "LAST RELOAD FAILED" in shown(), 10, "the reload's error")
                self.assertRegex(shown(), r"LAST RELOAD FAILED \d+ s ago: \S+:1: .*hots")
                self.bottle.reload(old)
                wait_for(lambda: "without error" in shown(), 10, "the good reload")
                self.assertNotIn("\033", shown())
                self.assertRegex(shown(), r"(?m)^  api\.example\.test .* [\d.]+ +[\d.]+$")
                self.assertRegex(shown(), r"(?m)^  worker  serves; restarted 0 times$")
            finally:
                watch.kill()
                watch.wait()


class Following(Case):
    def test_followers_and_a_slow_one(self):
        """Three who follow; the one that does not read loses events, is told how many, and holds
        nobody up. The socket goes with the sidecar."""
        bottle = Bottle()
        followers = []
        try:
            slow_end, slow_pipe = os.pipe()
            followers = [Follower(bottle, "--json"), Follower(bottle),
                         Follower(bottle, "--json", stdout=slow_pipe)]
            os.close(slow_pipe)
            wait_for(lambda: "WHERE TO" in followers[1].text(), 5, "the heading")

            def all_follow():
                self.ok(bottle.python(FLOOD.replace("nowhere", "before"), "1"))
                return (all("n0.before.test" in one.text() for one in followers[:2])
                        and select.select([slow_end], [], [], 0)[0])
            wait_for(all_follow, 10, "all to have asked")
            count = 30000
            self.ok(bottle.python(FLOOD, str(count)))

            def of_the_flood():
                """Events and what was lost of them, by the fast one; its last line may be there in part."""
                lines = [json.loads(x) for x in followers[0].text().split("\n")[:-1] if "n0.before.test" not in x]
                return sum(1 if "reason" in x else x["lost"] for x in lines)
            wait_for(lambda: of_the_flood() >= count, 20, "all events of the fast one")
            self.assertEqual(of_the_flood(), count)
            self.assertRegex(followers[1].text(), r"host_not_allowed +dns +dns +n\d+\.nowhere\.test")
            # The slow one reads now: what it still gets and what it is told it lost are all.
            with os.fdopen(slow_end, encoding="utf-8") as file:
                seen = lost = 0
                while seen + lost < count:
                    text = file.readline()
                    if "n0.before.test" in text:
                        continue
                    line = json.loads(text)
                    seen += "reason" in line
                    lost += 0 if "reason" in line else line["lost"]
            self.assertGreater(lost, 0)
            self.assertEqual(seen + lost, count)
            path = socket_path(bottle)
            self.assertTrue(os.path.exists(path))
            bottle.process.terminate()
            self.assertEqual(bottle.process.wait(15), 0)
            self.assertFalse(os.path.exists(path))
            self.assertEqual(followers[0].process.wait(5), 0)
        finally:
            for follower in followers:
                follower.end()
            bottle.stop()

    @harness.measures
    def test_followers_cost_the_worker_nothing(self):
        """The worker's system calls for each verdict are the same without followers and with three of
        which one never reads; its CPU time is shown."""
        bottle = Bottle()
        followers = []
        try:
            slow_end, slow_pipe = os.pipe()
            bottle.curl("https://api.example.test/echo")
            worker, count = bottle.worker(), 3000

            def flood():
                with open(f"/proc/{worker}/schedstat", encoding="utf-8") as file:
                    before = int(file.read().split()[0])
                self.ok(bottle.python(FLOOD, str(count)))
                with open(f"/proc/{worker}/schedstat", encoding="utf-8") as file:
                    return (int(file.read().split()[0]) - before) / count

            def calls():
                """Of the worker during one flood, by strace."""
                path = harness.world.path("worker-calls")
                tracer = subprocess.Popen(["strace", "-f", "-c", "-p", str(worker), "-o", path],
                                          stderr=subprocess.PIPE, text=True, preexec_fn=w.die_with_parent)
                self.assertIn("attached", tracer.stderr.readline())
                flood()
                tracer.send_signal(signal.SIGINT)
                tracer.wait(10)
                tracer.stderr.close()
                with open(path, encoding="utf-8") as file:
                    total = [line for line in file if line.endswith(" total\n")][0]
                # % time, seconds, microseconds a call, calls
                return int(total.split()[3]) / count
            alone, spent_alone = calls(), flood()
            followers = [Follower(bottle, "--json"), Follower(bottle),
                         Follower(bottle, "--json", stdout=slow_pipe)]
            wait_for(lambda: "WHERE TO" in followers[1].text(), 5, "the heading")
            beside, spent_beside = calls(), flood()
            os.close(slow_pipe)
            os.close(slow_end)
            print(f"# of the worker for a verdict: {alone:.2f} calls and {spent_alone:.0f} ns alone, "
                  f"{beside:.2f} and {spent_beside:.0f} beside three followers")
            self.assertGreater(alone, 1)
            self.assertLess(beside, 1.05 * alone)
            self.assertGreaterEqual(bottle.counter("host_not_allowed"), 4 * count)
        finally:
            for follower in followers:
                follower.end()
            bottle.stop()

    def test_more_than_the_kernel_keeps(self):
        """A bottle may refuse itself more than the ring holds: the log, and who follows, are told of the gap."""
        bottle = Bottle()
        try:
            os.kill(bottle.process.pid, signal.SIGSTOP)
            try:
                self.ok(bottle.python(CONNECTS, "5000"))
            finally:
                os.kill(bottle.process.pid, signal.SIGCONT)
            refused = wait_for(lambda: bottle.status(), 10, "its status")
            self.assertEqual(refused["kernel"]["address_not_allowed"], 5000)
            lost = refused["counters"]["lost_events"]
            self.assertGreater(lost, 1000)

            def told():
                lines = [e for e in bottle.log() if e["source"] == "kernel"]
                return sum(e.get("lost", 1) for e in lines) == 5000 and lines
            gaps = [e for e in wait_for(told, 10, "all in the log") if "lost" in e]
            self.assertEqual(sum(e["lost"] for e in gaps), lost)
            self.assertFalse([e for e in gaps if "verdict" in e])
            self.assertIn("events were lost", self.ok(cli("events", bottle.name, "--denied")))
        finally:
            bottle.stop()

    def test_after_deaths(self):
        """A worker's death loses no event; a killed sidecar's socket goes with `detach`."""
        bottle = Bottle(text=policy())
        try:
            bottle.curl("https://api.example.test/before")
            refused(bottle, "/before")
            before = events(bottle, "--denied")
            os.kill(bottle.worker(), signal.SIGKILL)
            wait_for(lambda: bottle.curl("https://api.example.test/after").stdout.find("denied") > 0, 10,
                     "another worker")
            refused(bottle, "/after")
            after = events(bottle, "--denied")
            self.assertEqual(after[:len(before)], before)
            self.assertEqual(after[-1]["path"], "/after")
            self.assertEqual(len({e["id"] for e in after}), len(after))
            # A sidecar that hangs keeps `status` from nothing but what it alone knows.
            bottle.process.send_signal(signal.SIGSTOP)
            result = cli("status", bottle.name, timeout=15)
            bottle.process.send_signal(signal.SIGCONT)
            self.assertRegex(self.ok(result), r"wall 1 +\d+ of \d+ kernel programs attached")
            bottle.process.kill()
            bottle.process.wait()
            self.assertTrue(os.path.exists(socket_path(bottle)))
            self.assertEqual(cli("events", bottle.name).returncode, 1)
            self.ok(cli("detach", bottle.name))
            self.assertFalse(os.path.exists(socket_path(bottle)))
        finally:
            bottle.stop()
