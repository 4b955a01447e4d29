# SPDX-License-Identifier: BSD-2-Clause
"""The launcher, with each of its system calls failing in turn: no sandbox (125, said in a line), or the
same sandbox as ever. A command never runs with a piece of it missing."""
import concurrent.futures
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import unittest

import harness
from harness import Case, PYTHON, UID, policy

# What the command sees of its sandbox. Roots laid over OpenSSL's directory are an extra (bottle_files.c);
# what is mounted elsewhere, and the two signals of the C library's, depend on what else runs here.
LOOK = r"""
import json, os, socket, stat
status = dict(l.split(":\t", 1) for l in open("/proc/self/status") if ":\t" in l)
keys = ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
        "SigBlk")
def mount(line):
    left, right = line.split(" - ")
    place = left.split()
    return [place[4], place[5], "shared:" in left, right.split()[0]]
def text(path):
    try:
        return open(path).read()
    except OSError as error:
        return error.errno
def call(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path)
mounts = [mount(l) for l in open("/proc/self/mountinfo")]
ours = ("/proc", "/sys", "/etc", "/run/user", os.environ["HIDDEN"], os.environ["HOST_SOCKET"])
print(json.dumps({
    "status": [status[k].split() for k in keys],
    "ignored": int(status["SigIgn"], 16) & 0x7fffffff,
    "descriptors": [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")],
    "mounts": [m for m in mounts if m[3] != "overlay" and m[0].startswith(ours)],
    "network": os.listdir("/sys/class/net"),
    "names": [text("/etc/resolv.conf"), text("/etc/hosts")],
    "secret": [text(os.environ["HIDDEN"]), os.environ.get("E2E_TOKEN_0")],
    "socket": call(os.environ["HOST_SOCKET"]),
    "variables": sorted(os.environ), "directory": os.getcwd(), "cgroup": text("/proc/self/cgroup")}))
"""
ROUTE = "\n  - {host: api.example.test, auth: {scheme: Bearer, token_env: E2E_TOKEN_0}}\n"
# What fails besides by EPERM. Files that are read are many, and most of them anybody's: those of the start.
ERRORS = {"clone": "EAGAIN", "pipe2": "EMFILE", "socket": "EMFILE", "memfd_create": "EMFILE",
          "mknodat": "ENOSPC", "mkdir": "ENOSPC"}
CALLS = ("mount", "unshare", "close_range", "ioctl", "mkdir", "mknodat", "chmod", "fchmod", "setgroups",
         "setresgid", "setresuid", "capset", "prctl", "seccomp", "memfd_create", "sendmsg", "signalfd4", "clone",
         "socket", "dup2", "setns", "chroot", "fsopen", "fsmount", "fchdir", "pipe2")
EACH = 30  # calls of one name that are tried; of more: the first and the last


def spread(count):
    if count <= EACH:
        return list(range(1, count + 1))
    return [*range(1, EACH // 2 + 1), *range(count - EACH // 2 + 1, count + 1)]


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class Launcher(Case):
    def setUp(self):
        super().setUp()
        self.secret = harness.write("faults-secret", "hidden\n", 0o600)
        os.chown(self.secret, UID, UID)
        self.policy = harness.write("faults.yaml", policy(
            ROUTE + f"  - {{host: second.example.test, auth: {{scheme: Bearer, token_file: {self.secret}}}}}\n"))
        self.socket = harness.world.path("home/faults.sock")
        os.makedirs(harness.world.path("home"), exist_ok=True)

    def run_with(self, trace, *options):
        """By strace up to the command, which is let go."""
        outside = os.open("/", os.O_RDONLY)  # must not come in
        try:
            return subprocess.run(
                ["strace", "-f", "-qq", "-b", "execve", "-o", trace, "-e", "signal=none", *options,
                 harness.world.program, "exec", "--policy", self.policy, "-q", "--", PYTHON, "-c", LOOK],
                text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
                cwd="/", pass_fds=(outside,),
                env=harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID), HIDDEN=self.secret,
                                        HOST_SOCKET=self.socket))
        finally:
            os.close(outside)

    def most_calls(self, trace):
        """Of the init and the broker: how many of each name the busier of the two makes."""
        counts, ours = {}, set()
        with open(trace, encoding="utf-8") as file:
            for line in file:
                match = re.match(r"(\d+) +(\w+)\(", line)
                if match:
                    counts[match.groups()] = counts.get(match.groups(), 0) + 1
                if match and re.search(r'PR_SET_NAME, "egress-(init|broker)"', line):
                    ours.add(match.group(1))
        self.assertEqual(len(ours), 2)
        return {call: max(counts.get((pid, call), 0) for pid in ours) for call in CALLS}

    def judge(self, call, when):
        trace = harness.world.path(f"faults-{call}-{when}")
        error = ERRORS.get(call, "EPERM")
        result = self.run_with(trace, "-e", f"trace={call},execve", "-e",
                               f"inject={call}:error={error}:when={when}")
        with open(trace, encoding="utf-8") as file:
            injected = [line for line in file if "(INJECTED)" in line]
        os.unlink(trace)
        return call, when, result, injected

    @harness.measures
    def test_each_call(self):
        with socket.socket(socket.AF_UNIX) as service:
            service.bind(self.socket)
            service.listen(200)
            os.chmod(self.socket, 0o777)
            trace = harness.world.path("faults")
            whole = self.run_with(trace, "-e", "trace=" + ",".join(CALLS))
            expected = json.loads(self.ok(whole))
            self.assertEqual(expected["descriptors"], [0, 1, 2])
            self.assertNotEqual(expected["socket"], 0)
            turns = [(call, when) for call, count in self.most_calls(trace).items()
                     for when in spread(count)]
            refused = 0
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                for call, when, result, injected in pool.map(lambda turn: self.judge(*turn), turns):
                    with self.subTest(call=call, when=when, injected=injected, error=result.stderr):
                        # Mounts of others come and go, so that the last calls may not be made.
                        self.assertTrue(injected or when > EACH // 2)
                        if result.returncode == 0:
                            seen = json.loads(result.stdout)
                            if seen["socket"] == errno.ENOSYS:  # a dead broker connects nobody
                                self.assertIn("broker for unix sockets has died", result.stderr)
                                seen["socket"] = expected["socket"]
                            self.assertEqual(seen, expected)
                        else:
                            refused += 1
                            self.assertEqual((result.returncode, result.stdout), (125, ""))
                            said = [line for line in result.stderr.splitlines()
                                    if not line.startswith("strace: ")]
                            self.assertIn(len(said), (1, 2))
                            for line in said:
                                self.assertRegex(line, r"^egress-bpf: \S")
            self.assertGreater(refused, 40)
            os.unlink(self.socket)
        self.assertEqual([p for p in harness.pins() if p.startswith("exec-")], [])
