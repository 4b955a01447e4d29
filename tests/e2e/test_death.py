# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of anything is never an open moment, and nothing is left behind at the end."""
import glob
import json
import os
import signal
import subprocess
import time

import world as w
import harness
from harness import Bottle, Case, alive, cli, pins, wait_for

# Tries every way out in a tight loop until told to stop; prints what succeeded.
HAMMER = r"""
import errno, os, signal, socket, sys
stop, counts, won = [], {}, []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
print("up", flush=True)
while not stop:
    for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("203.0.113.12", 443)),
                                  (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8:e2e::17", 443)),
                                  (socket.AF_INET6, socket.SOCK_STREAM, ("::ffff:203.0.113.12", 80)),
                                  (socket.AF_INET, socket.SOCK_DGRAM, ("203.0.113.12", 9)),
                                  (socket.AF_INET, socket.SOCK_DGRAM, ("203.0.113.2", 123))):
        s = socket.socket(family, kind)
        s.settimeout(1)
        try:
            if kind == socket.SOCK_DGRAM:
                s.sendto(b"leak", address)
            else:
                s.connect(address)
            won.append(str(address))
        except OSError as error:
            name = errno.errorcode.get(error.errno, "timeout")
            counts[name] = counts.get(name, 0) + 1
        s.close()
print(won, counts)
"""


class Killed(Case):
    shared = False

    def setUp(self):
        super().setUp()
        self.bottle = Bottle(shared=self.shared)
        self.addCleanup(self.bottle.stop)
        self.sniffer = w.Sniffer(harness.world)
        self.hammer = self.bottle.popen([harness.PYTHON, "-c", HAMMER], stdout=subprocess.PIPE)
        self.assertEqual(self.hammer.stdout.readline(), "up\n")

    def never_open(self):
        self.hammer.terminate()
        output, _ = self.hammer.communicate(timeout=20)
        self.assertTrue(output.startswith("[] "), output)
        self.assertGreater(sum(eval(output[3:]).values()), 500)
        bad = [p for p in self.sniffer.drain()
               if p[1] in ("203.0.113.12", "2001:db8:e2e::17", "203.0.113.2") or p[0] == 17]
        self.assertEqual(bad, [])

    def works(self):
        return self.bottle.curl("-f", "https://api.example.test/echo").returncode == 0

    def test_worker(self):
        for _ in range(3):
            worker = self.bottle.worker()
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: self.bottle.workers() not in ([], [worker]), 10, "a new worker")
            wait_for(self.works, 15, "the new worker to serve")
        self.never_open()

    def test_connections_wait_while_the_worker_is_away(self):
        """The supervisor holds the listening sockets: clients see a delay, not a refusal. Stopped, it
        starts no successor for as long as a busy machine may need for one."""
        worker = self.bottle.worker()
        self.bottle.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(worker, signal.SIGKILL)
            curl = self.bottle.popen(["curl", "-sSf", "--max-time", "20", "--cacert",
                                      self.bottle.certificate, "https://api.example.test/echo"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(1.5)
            self.assertIsNone(curl.poll(), "curl did not wait")
        finally:
            self.bottle.process.send_signal(signal.SIGCONT)
        out, err = curl.communicate(timeout=30)
        self.assertEqual(curl.returncode, 0, out + err)
        self.never_open()

    def refused_when_dead(self):
        result = self.bottle.python(
            "import socket; s = socket.socket(); s.settimeout(3); s.connect(('203.0.113.10', 443))")
        self.assertRegex(result.stderr, "PermissionError|ConnectionRefused")
        result = self.bottle.curl("https://api.example.test/echo")
        self.assertNotEqual(result.returncode, 0)
        status = self.bottle.status()
        self.assertFalse(status["alive"])
        self.assertTrue(status["walls"]["whole"])
        self.assertGreater(harness.find_counter(status, "address_not_allowed"), 0)

    def restart(self):
        """A new supervisor adopts the wall, and every address stays what it was."""
        before = {h["host"]: h["address"] for h in self.bottle.status()["hosts"]}
        self.bottle.start()
        wait_for(self.works, 10, "the restarted sidecar to serve")
        after = {h["host"]: h["address"] for h in self.bottle.status()["hosts"]}
        self.assertEqual({k: after.get(k) for k in before}, before)

    def kill_supervisor(self):
        self.bottle.process.kill()
        self.bottle.process.wait()

    def test_supervisor(self):
        self.assertTrue(self.works())
        worker = self.bottle.worker()
        self.kill_supervisor()
        wait_for(lambda: not alive(worker), 10, "the worker to follow its supervisor")
        self.refused_when_dead()
        self.restart()
        self.never_open()

    def test_both(self):
        self.assertTrue(self.works())
        worker = self.bottle.worker()
        os.kill(self.bottle.process.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        self.bottle.process.wait()
        wait_for(lambda: not alive(worker), 10, "the worker's end")
        self.refused_when_dead()
        for _ in range(2):
            self.restart()
            self.kill_supervisor()
        self.never_open()

    def test_orderly_stop_keeps_the_wall(self):
        self.bottle.process.terminate()
        self.assertEqual(self.bottle.process.wait(15), 0)
        self.refused_when_dead()
        self.never_open()

    def test_second_supervisor_is_refused(self):
        result = subprocess.run(self.bottle.command(), env=harness.environment(), timeout=20,
                                capture_output=True, text=True, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(str(self.bottle.process.pid), result.stderr)
        self.assertTrue(self.works())
        self.never_open()


class KilledShared(Killed):
    """The same where wall 0 is missing: the network namespace is the host's."""
    shared = True
    test_second_supervisor_is_refused = test_orderly_stop_keeps_the_wall = None


class Detach(Case):
    def test_detach(self):
        bottle = Bottle()
        try:
            self.assertNotEqual(cli("detach", bottle.name).returncode, 0, "it is alive")
            self.assertIn(bottle.name, pins())
            bottle.process.terminate()
            bottle.process.wait(15)
            self.ok(cli("detach", bottle.name))
            self.assertNotIn(bottle.name, pins())
            again = cli("detach", bottle.name)
            self.assertEqual(again.returncode, 1)
            self.assertIn(f"there is no wall named '{bottle.name}'", again.stderr)
        finally:
            bottle.stop()


class NothingLeft(Case):
    """exec leaves no pin, cgroup, namespace, mount or process, however it ends."""
    alone = True

    def setUp(self):
        super().setUp()
        self.before = self.state()

    def state(self):
        return {"pins": pins(), "cgroups": self.our_cgroups(), "mounts": self.mounts(),
                "sockets": glob.glob("/run/egress-bpf/exec-*.sock")}

    @staticmethod
    def our_cgroups():
        return sorted(harness.egress_cgroups())

    @staticmethod
    def mounts():
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return len(file.readlines())

    def clean(self):
        def same():
            now = self.state()
            return now["pins"] == self.before["pins"] and now["mounts"] == self.before["mounts"] \
                and not set(now["cgroups"]) - set(self.before["cgroups"]) \
                and not set(now["sockets"]) - set(self.before["sockets"])
        try:
            wait_for(same, 10, "")
        except AssertionError:
            self.fail(f"left behind: {json.dumps(self.state())}, before {json.dumps(self.before)}")

    def start(self, script):
        process = subprocess.Popen(
            harness.exec_command(["sh", "-c", script]), stdout=subprocess.PIPE, text=True,
            env=harness.environment(SUDO_UID=str(harness.UID), SUDO_GID=str(harness.UID)))
        self.assertEqual(process.stdout.readline(), "up\n")
        return process

    def test_after_success(self):
        self.ok(harness.run_exec(["true"]))
        self.clean()

    def test_after_background_processes(self):
        """What the command leaves running ends with the sandbox."""
        marker = "30.4711"
        self.ok(harness.run_exec(["sh", "-c", f"sleep {marker} >/dev/null 2>&1 & exit 0"]))
        self.clean()
        self.assertEqual(sleeping(marker), [])

    def test_after_sigterm(self):
        process = self.start("echo up; exec sleep 60")
        process.terminate()
        process.wait(20)
        self.clean()

    def test_after_sigkill(self):
        """Killed with no chance to clean up: the command dies too, and the next exec clears up."""
        marker = "60.4712"
        process = self.start(f"echo up; sleep {marker}")
        process.kill()
        process.wait()
        wait_for(lambda: not sleeping(marker), 10, "the command to die with its sandbox")
        self.ok(harness.run_exec(["true"]))
        self.clean()

    def test_after_failure(self):
        self.assertNotEqual(harness.run_exec(["true"], policy_text="routes: 1\n").returncode, 0)
        self.clean()

    def test_whatever_fails_at_the_start(self):
        """The worker starts beside the wall, and two threads load it: no command runs without it."""
        ran = harness.world.path("home/ran")
        # Each thread counts its own calls. How many there are before which is the library's affair:
        # these are spread over maps, the ring buffer, programs
        # and links. Which thread makes the later ones is not the same each time.
        for call, error, when in (("bpf", "ENOMEM", "5..6"), ("bpf", "ENOMEM", "20+"),
                                  ("bpf", "EPERM", "37+"), ("bpf", "EPERM", "60+")):
            with self.subTest(call=call, error=error, when=when):
                result = harness.run_exec_under(
                    ["strace", "-f", "-qq", "-o", harness.world.path("trace"), "-e", f"trace={call}",
                     "-e", "signal=none", "-e", f"inject={call}:error={error}:when={when}"],
                    ["touch", ran])
                with open(harness.world.path("trace"), encoding="utf-8") as file:
                    self.assertIn("(INJECTED)", file.read())
                self.assertEqual(result.returncode, 125, result.stderr)
                self.assertRegex(result.stderr, r"^egress-bpf: \S")
                self.assertFalse(os.path.exists(ran))
                self.clean()

    def test_no_second_thread(self):
        """Its programs are loaded all the same."""
        result = harness.run_exec_under(
            ["strace", "-f", "-qq", "-o", harness.world.path("trace"), "-e", "trace=clone3",
             "-e", "signal=none", "-e", "inject=clone3:error=EAGAIN:when=2+"], ["echo", "inside"])
        self.assertEqual(self.ok(result), "inside\n")
        with open(harness.world.path("trace"), encoding="utf-8") as file:
            self.assertIn("(INJECTED)", file.read())
        self.clean()


def sleeping(argument):
    """Processes `sleep ARGUMENT`, of ours alone: the argument is this test's own."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read() == b"sleep\0" + argument.encode() + b"\0":
                    found.append(int(pid))
        except OSError:
            pass
    return found
