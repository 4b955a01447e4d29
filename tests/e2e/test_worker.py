# SPDX-License-Identifier: BSD-2-Clause
"""What a worker that was taken over could do: as little as may be. It cannot hang the service, keep
its old policy, make system calls of its own choice, or touch another bottle's worker."""
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

import harness
from harness import Bottle, Case, cli, measures, policy, wait_for
from test_supervisor import ANY_PATH, ONE_PATH, fetch

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_ATTACH, PTRACE_DETACH = 12, 13, 16, 17
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp "
             "ss fs_base gs_base ds es fs gs").split()


# Requests one after the other on a connection that is kept, until all are answered or it ends.
MANY = """
import http.client, ssl, sys
connection = http.client.HTTPSConnection("api.example.test",
                                         context=ssl.create_default_context(cafile=sys.argv[1]))
answered = 0
try:
    for i in range(int(sys.argv[2])):
        connection.request("GET", "/echo")
        connection.getresponse().read()
        answered += 1
except (OSError, http.client.HTTPException):
    pass
print(answered)
"""


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in REGISTERS]


def ptrace(request, pid, data=None):
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    if LIBC.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def make_it_call(pid, number, *arguments):
    """As if the process itself made a system call: it waits in one, so its program counter stands
    right behind the instruction."""
    registers = Registers()
    ptrace(PTRACE_ATTACH, pid)
    os.waitpid(pid, 0x40000000)  # __WALL
    ptrace(PTRACE_GETREGS, pid, ctypes.addressof(registers))
    registers.rip -= 2
    registers.orig_rax = 2 ** 64 - 1
    registers.rax = number
    for name, value in zip(("rdi", "rsi", "rdx", "r10"), arguments):
        setattr(registers, name, value)
    ptrace(PTRACE_SETREGS, pid, ctypes.addressof(registers))
    ptrace(PTRACE_DETACH, pid)


def hang(pid, thread):
    """In a futex(2) that nobody wakes, and that is begun again after a signal."""
    def call():
        with open(f"/proc/{pid}/task/{thread}/syscall", encoding="ascii") as file:
            return file.read()
    # "running" while it does: right behind its start a worker may.
    stack = int(wait_for(lambda: call().split()[1:], 5, "it to wait")[-2], 16)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(stack)
        value = int.from_bytes(file.read(4), "little")
    make_it_call(thread, 202, stack, 128, value, 0)  # FUTEX_WAIT_PRIVATE, without a limit
    wait_for(lambda: call().startswith(f"202 {stack:#x} "), 5, "it to hang")


def write_calls(pid):
    return int(re.search(r"syscw: (\d+)", harness.read(f"/proc/{pid}/io"))[1])


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class Confined(Case):
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(self.bottle.stop)

    def successor(self, old, seconds=10):
        wait_for(lambda: self.bottle.workers() not in ([], [old]), seconds, "a new worker")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")

    def uid(self, pid):
        ids = set(re.findall(r"\d+", status_of(pid)["Uid"] + " " + status_of(pid)["Gid"]))
        self.assertEqual(len(ids), 1)
        return int(ids.pop())

    @measures  # a build with sanitizers has no filter
    def test_filter(self):
        status = status_of(self.bottle.worker())
        self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))

    @measures
    @unittest.skipUnless(platform.machine() == "x86_64", "registers of x86-64")
    def test_system_call_of_its_own(self):
        for number, arguments in ((57, ()),                       # fork
                                  (41, (1, 1, 0)),                # socket(AF_UNIX)
                                  (62, (self.bottle.process.pid, 0))):  # kill
            self.bottle.settle()
            worker = self.bottle.worker()
            make_it_call(worker, number, *arguments)
            wait_for(lambda: "a system call that it may not make" in self.bottle.errors(), 10,
                     f"its end; {self.bottle.errors()}")
            self.successor(worker)
            open(self.bottle.err_path, "w", encoding="utf-8").close()

    @measures
    @unittest.skipUnless(platform.machine() == "x86_64", "registers of x86-64")
    def test_what_all_listen_at(self):
        """Who shuts down one of these, or could get it under another number, would make successors and
        other workers deaf, too: its own end comes before."""
        for name, number, arguments in (("proxy", 48, (2,)),     # shutdown(SHUT_RDWR)
                                        ("dns-udp", 48, (2,)),
                                        ("dns-tcp", 48, (2,)),
                                        ("proxy", 32, ())):      # dup
            self.bottle.settle()
            worker = self.bottle.worker()
            fd = harness.passed_to(worker, name)
            make_it_call(worker, number, fd, *arguments)
            wait_for(lambda: "a system call that it may not make" in self.bottle.errors(), 10,
                     f"its end after {number} of {name}; {self.bottle.errors()}")
            self.successor(worker)
            open(self.bottle.err_path, "w", encoding="utf-8").close()

    def test_uid_of_its_own(self):
        """Who has the one's user id can do nothing to the other."""
        other = Bottle(policy(ANY_PATH))
        self.addCleanup(other.stop)
        mine, theirs = self.bottle.worker(), other.worker()
        self.assertNotEqual(self.uid(mine), self.uid(theirs))
        for pid in (mine, theirs):
            self.assertIn(self.uid(pid), range(90112, 94208))
        code = ("import os, sys\nuid, pid = map(int, sys.argv[1:])\n"
                "os.setgroups([]); os.setgid(uid); os.setuid(uid)\n"
                "try:\n    os.kill(pid, 0)\nexcept PermissionError:\n    print('refused')")
        for pid in (mine, theirs):
            result = subprocess.run([harness.PYTHON, "-c", code, str(self.uid(mine)), str(pid)],
                                    capture_output=True, text=True, check=True)
            self.assertEqual(result.stdout, "refused\n" if pid == theirs else "")
        # A restart finds the same one again.
        before = self.uid(mine)
        os.kill(mine, signal.SIGKILL)
        self.successor(mine)
        self.assertEqual(self.uid(self.bottle.worker()), before)

    def test_uid_that_is_said(self):
        other = Bottle(policy(ANY_PATH), options=["--worker-uid", "4242"])
        self.addCleanup(other.stop)
        self.assertEqual(self.uid(other.worker()), 4242)
        for bad in ("0", "-1", "4294967295", "nobody", ""):
            result = cli("run", "--policy", other.policy_path, "--no-kernel", "--worker-uid", bad)
            self.assertEqual(result.returncode, 2, bad)
            self.assertIn("--worker-uid", result.stderr)

    def test_hung(self):
        """It is killed, and its successor begins with the policy that it did not take."""
        worker = self.bottle.worker()
        os.kill(worker, signal.SIGSTOP)
        self.bottle.reload(policy(ONE_PATH))
        wait_for(lambda: "it is killed" in self.bottle.errors(), 20, "somebody to notice")
        wait_for(lambda: "policy reloaded" in self.bottle.errors(), 10, "the policy")
        self.assertEqual(fetch(self.bottle, "/status/200"), "200")
        self.assertEqual(fetch(self.bottle, "/echo"), "403")

    def test_refusal_of_a_policy_is_not_its_to_say(self):
        """What only a worker cannot read: it is asked, killed, and two fresh ones are asked."""
        roots = harness.world.path("roots-for-root.pem")
        shutil.copy(harness.world.path("test-ca.pem"), roots)
        os.chmod(roots, 0o600)
        worker = self.bottle.worker()
        self.bottle.reload(f"upstream: {{ca_file: {roots}}}\nroutes:{ONE_PATH}")
        wait_for(lambda: "the old policy stays in force" in self.bottle.errors(), 15, "the end")
        self.assertIn("the worker refuses the new policy: upstream.ca_file: cannot load",
                      self.bottle.errors())
        self.assertIn("no worker starts with it", self.bottle.errors())
        self.successor(worker)

    def test_policy_that_cannot_be_had_costs_nobody_a_connection(self):
        worker = self.bottle.worker()
        for number, upstream in enumerate((
                "ca_file: /nonexistent.pem",
                "proxy: 'https://proxy.example.test:1', proxy_ca_file: /nonexistent.pem"), 1):
            self.bottle.reload(f"upstream: {{{upstream}}}\nroutes:{ONE_PATH}")
            wait_for(lambda number=number: self.bottle.errors().count("the old policy stays in force")
                     == number, 15, "the error")
        for key in ("ca_file", "proxy_ca_file"):
            self.assertIn(f" upstream.{key}: cannot load certificates from /nonexistent.pem",
                          self.bottle.errors())
        self.assertNotIn("the worker refuses", self.bottle.errors())
        self.assertEqual(fetch(self.bottle, "/echo"), "200")
        self.assertEqual(self.bottle.worker(), worker)


class Orphans(Case):
    @unittest.skipUnless(platform.machine() == "x86_64", "registers of x86-64")
    def test_hung_when_the_supervisor_is_killed(self):
        """One hangs in its loop, where it learns nothing of the supervisor's end, the other while it ends,
        for a thread of its own does: nobody is left who could kill them."""
        bottle = Bottle(policy(ANY_PATH), options=["--workers", "2"])
        self.addCleanup(bottle.stop)
        first, second = bottle.workers()
        hang(first, first)
        hang(second, max(map(int, os.listdir(f"/proc/{second}/task"))))
        bottle.process.kill()
        bottle.process.wait()
        try:
            wait_for(lambda: not harness.alive(first) and not harness.alive(second), 20, "their end")
        finally:
            for pid in (first, second):
                if harness.alive(pid):
                    os.kill(pid, signal.SIGKILL)

    def test_a_start_waits_for_the_port(self):
        """The one before has been killed, and its worker, which has not seen that yet, still listens."""
        bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(bottle.stop)
        worker = bottle.worker()
        os.kill(worker, signal.SIGSTOP)
        bottle.process.kill()
        bottle.process.wait()
        end = threading.Timer(0.5, os.kill, (worker, signal.SIGKILL))
        end.start()
        self.addCleanup(end.join)
        bottle.start()
        self.assertNotEqual(bottle.worker(), worker)


class Log(Case):
    def test_fifo_without_a_reader(self):
        """It does not block the start, and a reader that comes later finds what was written."""
        path = harness.world.path("log.fifo")
        os.mkfifo(path)
        bottle = Bottle(policy(ANY_PATH), options=["--log", path])
        self.addCleanup(bottle.stop)
        self.assertEqual(fetch(bottle, "/echo"), "200")
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        # A line is written behind its answer, when the loop has come round.
        seen = [b""]

        def logged():
            try:
                seen[0] += os.read(reader, 65536)
            except BlockingIOError:
                pass
            return b'"path":"/echo"' in seen[0]
        wait_for(logged, 5, "the line")
        # Not for reading: what others wrote is not a worker's to take, neither here nor after a reload.
        bottle.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "policy reloaded" in bottle.errors(), 10, "the reload")
        worker = bottle.worker()
        flags = harness.open_flags(worker, harness.passed_to(worker, "log"))
        self.assertEqual(flags & os.O_ACCMODE, os.O_WRONLY)
        seen[0] = b""
        self.assertEqual(fetch(bottle, "/echo"), "200")
        wait_for(logged, 5, "the next line")

    def test_rotated(self):
        """Worker and supervisor both go on in the new file, and so does the next worker."""
        bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(bottle.stop)
        self.assertEqual(fetch(bottle, "/status/200"), "200")
        old = bottle.log_path + ".1"
        os.rename(bottle.log_path, old)
        bottle.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "policy reloaded" in bottle.errors(), 10, "the reload")
        size = os.path.getsize(old)
        self.assertEqual(fetch(bottle, "/echo"), "200")
        bottle.python("import socket; socket.create_connection(('203.0.113.99', 9))")
        wait_for(lambda: any(r["source"] == "kernel" for r in bottle.log()), 5, "the denial")
        self.assertEqual([r["path"] for r in bottle.log() if r.get("path")], ["/echo"])
        os.kill(bottle.worker(), signal.SIGKILL)
        self.assertEqual(fetch(bottle, "/echo"), "200")
        wait_for(lambda: len([r for r in bottle.log() if r.get("path")]) == 2, 5, "the next worker")
        self.assertEqual(os.path.getsize(old), size)

    def test_busy(self):
        """Not a write(2) for each line; when the worker is killed, the supervisor writes what waited."""
        bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(bottle.stop)
        worker = bottle.worker()
        writes, began = write_calls(worker), time.monotonic()
        self.assertEqual(self.ok(bottle.python(MANY, bottle.certificate, "300")).split(), ["300"])
        lines = [r["id"] for r in bottle.log() if r.get("path") == "/echo"]
        passed = time.monotonic() - began
        self.assertEqual(len(lines), len(set(lines)))
        self.assertEqual(len(lines), 300)
        self.assertLess(write_calls(worker) - writes, passed / 0.010 + os.path.getsize(bottle.log_path) / 4096)
        client = bottle.popen([harness.PYTHON, "-c", MANY, bottle.certificate, "1000000"],
                              stdout=subprocess.PIPE)
        wait_for(lambda: len(bottle.log()) > 600, 20, "lines")
        os.kill(worker, signal.SIGKILL)
        answered = int(client.communicate(timeout=30)[0])
        wait_for(lambda: "the worker ended" in bottle.errors(), 10, "somebody to notice")
        lines = {r["id"] for r in bottle.log() if r.get("path") == "/echo"}
        # Of one the answer had left, and no line was made yet.
        self.assertIn(len(lines) - 300 - answered, (-1, 0, 1))

    def test_place_that_is_gone(self):
        """The old file goes on; a bad policy is no reason not to open the new one."""
        directory = harness.world.path("logs")
        os.mkdir(directory)
        path = os.path.join(directory, "log")
        bottle = Bottle(policy(ANY_PATH), options=["--log", path])
        self.addCleanup(bottle.stop)
        os.rename(directory, directory + ".away")
        bottle.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "going on with the one that is open" in bottle.errors(), 10, "a word")
        self.assertEqual(fetch(bottle, "/echo"), "200")

        def logged():
            with open(os.path.join(directory + ".away", "log"), encoding="utf-8") as file:
                return '"path":"/echo"' in file.read()
        wait_for(logged, 5, "the line")
        os.mkdir(directory)
        bottle.reload("routes: 1\n")
        wait_for(lambda: os.path.exists(path), 10, "the new file")
