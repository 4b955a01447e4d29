# SPDX-License-Identifier: BSD-2-Clause
"""Secrets reach the origin and are found nowhere in the sandbox, in logs, or in messages."""
import json
import os
import signal
import subprocess

import harness
from harness import Case, MARK, PYTHON, SECRETS, exec_command, run_exec, write

# Everything a program in the sandbox can read that could hold a secret: prints what it finds.
SEARCH = r"""
import os, stat, sys
prefix, found, left = sys.argv[1][::-1].encode(), [], 20000
def look(path, limit=1 << 20):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return
        with open(path, "rb") as file:
            if prefix in file.read(limit):
                found.append(path)
    except OSError:
        pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    for name in ("environ", "cmdline", "maps", "mountinfo"):
        look(f"/proc/{pid}/{name}")
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            look(f"/proc/{pid}/fd/{fd}")
    except OSError:
        pass
if any(prefix.decode() in v for v in os.environ.values()):
    found.append("environment")
for top in ("/tmp", "/run", "/etc", "/dev/shm", "/var/tmp", os.getcwd()):
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            left -= 1
            if left > 0 and os.path.isfile(path):
                look(path)
print(found)
"""


def search():
    """The command; it gets the needle backwards, so as not to find itself."""
    return f"{PYTHON} {write('search.py', SEARCH)} {MARK[::-1]}"


class Secrets(Case):
    def test_secret_option(self):
        """--secret ENV@HOST: injected at the origin, unset in the sandbox."""
        script = ("curl -sS -D - https://both.example.test/x; echo; env;"
                  f"{search()}")
        result = run_exec(["sh", "-c", script], "--allow", "both.example.test", "--secret",
                          "E2E_TOKEN_1@both.example.test", policy_text=False,
                          env={"E2E_TOKEN_0": "not a secret of this policy"})
        self.assertNotIn(MARK, self.ok(result) + result.stderr)
        self.assertEqual(self.header(self.arrived()[0], "authorization"),
                         ["Bearer " + SECRETS["E2E_TOKEN_1"]])

    def test_nowhere_in_the_sandbox(self):
        script = ("curl -sS -D - https://api.example.test/echo https://second.example.test/x "
                  f"https://api.example.test/forbidden; env; {search()}")
        result = run_exec(["sh", "-c", script], "--log", harness.world.path("secrets.log"))
        output = self.ok(result)
        self.assertNotIn(MARK, output + result.stderr)
        self.assertEqual(output.rstrip().splitlines()[-1], "[]")
        sent = [self.header(r, "authorization") + self.header(r, "x-api-key")
                for r in self.arrived()]
        self.assertEqual(sent, [["Bearer " + SECRETS["E2E_TOKEN_0"]], [SECRETS["E2E_TOKEN_1"]]])
        with open(harness.world.path("secrets.log"), encoding="utf-8") as file:
            self.assertNotIn(MARK, file.read())

    def test_nowhere_as_root(self):
        """Not by root in the sandbox either: other processes are not its to read."""
        script = f"env; {search()}"
        result = run_exec(["sh", "-c", script], root=True)
        self.assertNotIn(MARK, result.stdout)
        found = json.loads(self.ok(result).rstrip().splitlines()[-1].replace("'", '"'))
        self.assertEqual(found, [])

    def test_client_credentials_do_not_pass(self):
        for name in ("Authorization", "authorization", "X-Api-Key", "Proxy-Authorization"):
            with self.subTest(header=name):
                self.mark = len(harness.origin_requests())
                self.ok(run_exec(["curl", "-sS", "-H", f"{name}: mine-own",
                                  "https://second.example.test/x"]))
                self.assertNotIn("mine-own", json.dumps(self.arrived()))
                self.assertEqual(self.header(self.arrived()[0], "x-api-key"),
                                 [SECRETS["E2E_TOKEN_1"]])

    def test_no_credential_in_plain_http(self):
        result = run_exec(["curl", "-sS", "-D", "-", "http://api.example.test/echo"])
        self.assertIn("plaintext_auth", self.ok(result))
        self.assertEqual(self.arrived(), [])

    def test_missing_secret_is_an_error(self):
        for value, word in ((None, "unset"), ("", "empty")):
            env = harness.environment(SUDO_UID="23456", SUDO_GID="23456")
            env.pop("E2E_TOKEN_0")
            if value is not None:
                env["E2E_TOKEN_0"] = value
            result = subprocess.run(exec_command(["true"]), env=env, text=True, timeout=30,
                                    capture_output=True, check=False)
            self.assertIn(result.returncode, (1, 2, 125))
            self.assertIn("E2E_TOKEN_0", result.stderr)
            self.assertRegex(result.stderr.lower(), word + "|not set" if value is None else word)


class Cores(Case):
    """Whoever crashes leaves no memory behind, however high the limit."""
    measures = True  # a sanitizer takes the signal

    def setUp(self):
        super().setUp()
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as file:
            pattern = file.read()
        if "/" in pattern or "|" in pattern:
            self.skipTest(f"this machine's cores go elsewhere: {pattern.strip()}")
        self.directory = harness.world.path(self.id())
        os.mkdir(self.directory)
        os.chmod(self.directory, 0o777)
        self.wrapper = ["sh", "-c", f"ulimit -c unlimited && cd {self.directory} && exec \"$@\"", "sh"]

    def cores(self, *more):
        """Core files, where these processes would leave them."""
        return [os.path.join(place, name) for place in {self.directory, *more}
                for name in os.listdir(place) if name.startswith("core")]

    def test_a_core_is_possible(self):
        """Else the other tests here would prove nothing."""
        subprocess.run([*self.wrapper, PYTHON, "-c", "import os; os.abort()"], check=False,
                       env={"TOKEN": SECRETS["E2E_TOKEN_0"]})
        found = self.cores()
        self.assertEqual(len(found), 1)
        with open(found[0], "rb") as file:
            self.assertIn(MARK.encode(), file.read())
        os.unlink(found[0])

    def test_supervisor_and_worker(self):
        bottle = harness.Bottle(wrapper=self.wrapper)
        self.addCleanup(bottle.stop)
        self.ok(bottle.curl("-f", "https://api.example.test/echo"))
        places = {os.path.realpath(f"/proc/{pid}/cwd")
                  for pid in (bottle.process.pid, bottle.worker())}
        before = self.cores(*places)
        for number in (signal.SIGSEGV, signal.SIGABRT):
            worker = bottle.worker()
            os.kill(worker, number)
            harness.wait_for(lambda: bottle.workers() not in ([], [worker]), 20, "a new worker")
            harness.wait_for(lambda: bottle.curl("https://api.example.test/echo").returncode == 0, 20)
            bottle.process.send_signal(number)
            self.assertEqual(bottle.process.wait(20), -number)
            bottle.start()
        self.assertEqual(self.cores(*places), before)

    def test_those_that_start_one(self):
        """`start` has the tokens in its environment, `prepare` and `ca init` make a key."""
        manifest = write("core.yaml", "bottle: {egress: {routes: [{host: a.example, auth: "
                         "{scheme: Bearer, token_ref: E2E_TOKEN_0}}]}}\n")
        plan = os.path.join(self.directory, "plan")
        self.ok(harness.cli("prepare", manifest, "--bottle", "core", "--out", plan))
        crash = ["strace", "-f", "-o", "/dev/null", "-e"]
        for command, at in ((["start", plan, "--engine", "/nonexistent"], "connect:signal=SEGV"),
                            (["prepare", manifest, "--bottle", "core", "--out", plan, "--new-ca"],
                             "fsync:signal=SEGV"),
                            (["ca", "init", os.path.join(self.directory, "ca")],
                             "fsync:signal=SEGV")):
            result = subprocess.run([*self.wrapper, *crash, f"inject={at}", harness.world.program,
                                     *command], env=harness.environment(), capture_output=True,
                                    text=True, check=False, timeout=60)
            self.assertEqual(result.returncode, -signal.SIGSEGV, (command, result.stderr))
        self.assertEqual(self.cores(), [])


class Sandbox(Case):
    """What else `exec` promises."""

    def test_exit_status_and_signals(self):
        self.assertEqual(run_exec(["sh", "-c", "exit 7"]).returncode, 7)
        result = run_exec(["sh", "-c", "kill -TERM $$"])
        self.assertIn(result.returncode, (143, -15))
        self.assertIn(run_exec(["/nonexistent/command"]).returncode, (125, 126, 127))

    def test_signal_is_passed_on(self):
        env = harness.environment(SUDO_UID=str(harness.UID), SUDO_GID=str(harness.UID))
        process = subprocess.Popen(
            exec_command(["sh", "-c", "trap 'echo got it; exit 9' TERM; echo up;"
                          "while :; do sleep 0.05; done"]),
            env=env, stdout=subprocess.PIPE, text=True, cwd=harness.world.path("home"))
        self.assertEqual(process.stdout.readline(), "up\n")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        self.assertEqual((output, process.returncode), ("got it\n", 9))

    def test_who_and_what(self):
        output = self.ok(run_exec(["sh", "-c", "id -u; id -g; cat /proc/self/status"]))
        lines = output.splitlines()
        self.assertEqual(lines[:2], [str(harness.UID)] * 2)
        fields = dict(line.split(":\t", 1) for line in lines[2:] if ":\t" in line)
        self.assertEqual(fields["NoNewPrivs"], "1")
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(fields[name], 16), 0, name)
        self.assertEqual(fields["Seccomp"], "2")

    def test_only_loopback(self):
        output = self.ok(run_exec([PYTHON, "-c", "import socket; print(socket.if_nameindex())"]))
        self.assertEqual(output.strip(), "[(1, 'lo')]")

    def test_standard_streams(self):
        env = harness.environment(SUDO_UID=str(harness.UID), SUDO_GID=str(harness.UID))
        result = subprocess.run(exec_command(["sh", "-c", "cat; echo err >&2"], "-q"), env=env,
                                input="through\n", text=True, capture_output=True, timeout=30,
                                check=False, cwd=harness.world.path("home"))
        self.assertEqual((result.stdout, result.stderr), ("through\n", "err\n"))

    def test_summary_line(self):
        result = run_exec(["curl", "-s", "-o", "/dev/null", "https://api.example.test/echo"])
        self.assertIn("api.example.test", result.stderr)

    def test_no_inherited_descriptors(self):
        secret = os.open("/etc/passwd", os.O_RDONLY)
        os.set_inheritable(secret, True)
        try:
            env = harness.environment(SUDO_UID=str(harness.UID), SUDO_GID=str(harness.UID))
            result = subprocess.run(exec_command(["ls", "/proc/self/fd"], "-q"), env=env,
                                    text=True, capture_output=True, close_fds=False, timeout=30,
                                    check=False, cwd=harness.world.path("home"))
            self.assertEqual(result.stdout.split(), ["0", "1", "2", "3"])
        finally:
            os.close(secret)

    def test_cannot_touch_the_wall(self):
        script = ("ls /sys/fs/bpf/egress-bpf && echo BAD; "
                  "unshare -Urn true && echo BAD; unshare -m true && echo BAD;"
                  "echo $$ >/sys/fs/cgroup/cgroup.procs && echo BAD;"
                  "echo $$ >/sys/fs/cgroup/unified/cgroup.procs && echo BAD; true")
        self.assertNotIn("BAD", run_exec(["sh", "-c", script]).stdout)
