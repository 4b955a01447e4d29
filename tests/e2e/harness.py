# SPDX-License-Identifier: BSD-2-Clause
"""What the end-to-end tests are written with: policies, sandboxes by `exec`, bottles by `run`."""
import glob
import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import world as w

world = None  # set by run.py
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "programs")
PYTHON = "/usr/bin/python3"
PROXY_PORT = 9099
SANITIZER = re.compile(r"(==\d+==ERROR: |runtime error: |WARNING: ThreadSanitizer: )")
UID = 23456  # whom `exec` runs commands as: nobody the machine knows
# Made anew each time, so that no file of the machine can hold it already.
MARK = "SECRET-" + os.urandom(8).hex()
SECRETS = {"E2E_TOKEN_0": f"ghs-first-{MARK}", "E2E_TOKEN_1": f"sk-second-{MARK}"}
ROUTES = """
  - host: api.example.test
    path_allowlist: [/echo, /bytes/, /chunked/, /sse/, /status/, /until-close, /drop, /slow/,
                     /drip/, /headers, /bad/, /repos/acme/]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
  - host: second.example.test
    auth: {header: x-api-key, token_env: E2E_TOKEN_1}
  - host: git.example.test
    auth: {scheme: Basic, username: x-access-token, token_env: E2E_TOKEN_0}
  - host: "*.wild.example.test"
    methods: [GET]
  - host: pinned.example.test
    tls: passthrough
    ports: [443]
  - host: tcp.example.test
    protocol: tcp
    ports: [7000]
  - host: both.example.test
  - host: six.example.test
  - host: bulk.example.test
  - host: badcert.example.test
  - host: dead.example.test
  - cidr: 203.0.113.16/32
    ports: [7000]
    protocol: tcp
"""


def measures(function):
    """Marks a test that judges time or memory, or what sanitizers do without (the seccomp filter, say):
    not run under them."""
    function.measures = True
    return function


def is_sanitized(program):
    with open(program, "rb") as file:
        text = file.read()
    return b"__asan_init" in text or b"__tsan_init" in text


def room_kib(kib):
    """What memory may grow by; what a sanitizer keeps to itself is a multiple of that."""
    return kib * (8 if is_sanitized(world.program) else 1)


def policy(routes=ROUTES, extra=""):
    return (f"upstream: {{ca_file: {world.path('test-ca.pem')}}}\n{extra}routes:{routes}")


def read(path, errors="strict"):
    with open(path, encoding="utf-8", errors=errors) as file:
        return file.read()


def write(name, text, mode=0o644):
    path = world.path(name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def wait_for(condition, seconds=10, what="condition"):
    """`seconds` are those of a machine with nothing else to do: a busy one gets four times as many.
    `what`, when it is called, tells of the end of the wait and not of its beginning."""
    seconds *= 4
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def json_lines(path, since=0):
    """What another process writes there; a last line that is still on its way is waited for."""
    def whole():
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return (text,) if not text or text.endswith("\n") else None
    text, = wait_for(whole, 5, f"a whole line in {path}")
    return [json.loads(line) for line in text.splitlines()[since:]]


def origin_requests(since=0):
    return json_lines(world.origin_log, since)


def environment(**more):
    keep = {k: v for k, v in os.environ.items()
            if k in ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
    return {**keep, "HOME": world.path("home"), **SECRETS, **more}


def cli(*arguments, timeout=60, env=None, **options):
    """Runs the program itself to its end. What looks at a bottle sees all that it was told it did."""
    if arguments and arguments[0] in ("status", "events", "why", "pending", "allow", "deny", "metrics"):
        for bottle in Bottle.serving:
            bottle.settle()
    return subprocess.run([world.program, *arguments], text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=timeout, env=env or environment(),
                          **options)


def exec_command(command, *options, policy_text=None):
    if policy_text is not False:
        options = ("--policy", write("exec-policy.yaml", policy_text or policy()), *options)
    return [world.program, "exec", *options, "--", *command]


def run_exec(command, *options, policy_text=None, timeout=60, env=None, root=False):
    """`exec` of a command to its end, as an ordinary user unless `root`."""
    os.makedirs(world.path("home"), exist_ok=True)
    os.chmod(world.path("home"), 0o777)
    who = {} if root else {"SUDO_UID": str(UID), "SUDO_GID": str(UID)}
    full = environment(**who, **(env or {}))
    return subprocess.run(exec_command(command, *options, policy_text=policy_text), text=True,
                          capture_output=True, check=False, stdin=subprocess.DEVNULL,
                          timeout=timeout, env=full, cwd=world.path("home"))


def run_exec_under(wrapper, command):
    """`exec` of a command by a program that runs others, strace say."""
    os.makedirs(world.path("home"), exist_ok=True)
    os.chmod(world.path("home"), 0o777)
    full = environment(SUDO_UID=str(UID), SUDO_GID=str(UID))
    # Nobody is traced twice: the look for leaks would end in a failure of its own.
    full["ASAN_OPTIONS"] = full.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return subprocess.run([*wrapper, *exec_command(command)], text=True, capture_output=True,
                          check=False, stdin=subprocess.DEVNULL, timeout=60, env=full,
                          cwd=world.path("home"))


def egress_cgroups():
    """cgroups that look like ours, below anything, with their processes."""
    found = []
    for directory, names, _ in os.walk(w.cgroup_root()):
        found += [os.path.join(directory, n) for n in names
                  if n.startswith("egress") and not n.startswith("egress-e2e")]
    return set(found)


def pins():
    try:
        return sorted(os.listdir("/sys/fs/bpf/egress-bpf"))
    except FileNotFoundError:
        return []


def namespaces(kind):
    seen = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:
            pass
    return seen


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return [int(x) for x in file.read().split()]
    except OSError:
        return []


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(pid):
    return [x for child in children(pid) for x in (child, *descendants(child))]


def threads(pids):
    """Of each thread, whether it sleeps, and how often it has gone to sleep so far."""
    found = {}
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/status"):
            try:
                with open(path, encoding="utf-8") as file:
                    status = dict(line.split(":", 1) for line in file if ":" in line)
            except OSError:
                continue  # it has ended
            found[path] = (status["State"].split()[0] in "STtZX",
                           int(status["voluntary_ctxt_switches"]))
    return found


def settle(pid):
    """An answer leaves a worker before that pass of its loop ends which writes feed and counters, and up to
    10 ms before the log has its line: this waits until whoever serves has had nothing to do for longer than
    that, or, under a load, has waited for more of it often enough. What comes by other ways than an answer (a
    connection's end, say) is to be waited for."""
    end, first, before = time.monotonic() + 3, {}, {}
    while time.monotonic() < end:
        now = threads([pid, *descendants(pid)])
        first = {path: first.get(path, slept) for path, (_, slept) in now.items()}
        if all(still and before.get(path) == (True, slept) or slept - first[path] > 2
               for path, (still, slept) in now.items()):
            return
        before = now
        time.sleep(0.015)


def memory_kib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(field + r":\s+(\d+)", file.read())[1])


def processor_time(pid):
    """What it has taken so far, in seconds."""
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
        return int(file.read().split()[0]) / 1e9


def runnable(pid, seconds):
    """The share of the next seconds in which it runs or waits for a processor: all of them when it spins,
    however busy the machine is."""
    def nanoseconds():
        with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
            return sum(int(field) for field in file.read().split()[:2])
    begun, before = time.monotonic(), nanoseconds()
    time.sleep(seconds)
    return (nanoseconds() - before) / 1e9 / (time.monotonic() - begun)


def passed_to(worker, name):
    """The descriptor that the supervisor told the worker: --NAME=FD, the first of them."""
    with open(f"/proc/{worker}/cmdline", encoding="utf-8") as file:
        return int(re.search(rf"\0--{name}=(\d+)\0", file.read())[1])


def open_flags(pid, fd):
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as file:
        return int(re.search(r"(?m)^flags:\s*(\d+)$", file.read())[1], 8)


# Tests that measure or kill a worker mean the only one; test_workers has those of several. With 2 all
# the rest should pass, too.
WORKERS = os.environ.get("EGRESS_TEST_WORKERS", "1")


class Bottle:
    """A cgroup with a network namespace (its own, or the host's), served by `run`."""
    count = 0
    serving = set()

    def __init__(self, text=None, shared=False, by="pid", options=(), wrapper=(), env=None,
                 dotted=False, close_fds=True, stdout=None):
        Bottle.count += 1
        self.name = f"e2e-{os.getpid()}-{Bottle.count}" + (".scope" if dotted else "")
        self.close_fds, self.stdout = close_fds, stdout
        self.cgroup = os.path.join(world.cgroup, self.name)
        os.mkdir(self.cgroup)
        self.shared, self.by, self.options = shared, by, list(options)
        self.wrapper, self.env = list(wrapper), env or {}
        self.policy_path = write(self.name + ".yaml", text or policy())
        self.log_path = world.path(self.name + ".log")
        self.err_path = world.path(self.name + ".err")
        self.ca = world.path(self.name + "-ca")
        self.process = None
        write("bottle-hosts", "127.0.0.1 localhost\n::1 localhost\n")
        write("bottle-resolv.conf", f"nameserver {w.GATEWAY_V4}\n")
        self.holder = subprocess.Popen(["sleep", "infinity"], preexec_fn=self.enter_new)
        self.netns = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        self.mountns = os.open(f"/proc/{self.holder.pid}/ns/mnt", os.O_RDONLY)
        if not shared:
            with w.InNamespace(self.netns, world.home):
                w.sh("ip link set lo up")
        made = cli("ca", "init", self.ca)
        if made.returncode != 0:
            raise AssertionError(f"ca init: {made.stderr}")
        # The directory is root's alone; the certificate is what one hands to a program.
        with open(os.path.join(self.ca, "ca-cert.pem"), encoding="utf-8") as file:
            self.certificate = write(self.name + "-ca-cert.pem", file.read())
        self.start(100 if wrapper else 20)  # valgrind, say

    def enter_new(self):
        w.die_with_parent()
        with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
        # Our hosts file holds the origins' true addresses, and our resolver gives up after one second, as
        # a worker's should: a bottle has its own of both, as containers do.
        w.unshare(w.CLONE_NEWNS | (0 if self.shared else w.CLONE_NEWNET))
        w.mount("none", "/", None, w.MS_REC | w.MS_PRIVATE)
        w.mount(world.path("bottle-hosts"), "/etc/hosts", None, w.MS_BIND)
        w.mount(world.path("bottle-resolv.conf"), "/etc/resolv.conf", None, w.MS_BIND)

    def freeze(self, frozen):
        with open(os.path.join(self.cgroup, "cgroup.freeze"), "w", encoding="utf-8") as file:
            file.write("1" if frozen else "0")

    def enter(self):
        w.die_with_parent()
        with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
        w.setns(self.netns)
        w.setns(self.mountns)
        if self.root_inside:
            return
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
    root_inside = False

    def command(self):
        target = {"pid": ["--pid", str(self.holder.pid)], "cgroup": ["--cgroup", self.cgroup],
                  "none": ["--no-kernel"]}[self.by]
        return [*self.wrapper, world.program, "run", "--policy", self.policy_path, *target,
                "--name", self.name, "--ca-dir", self.ca, "--log", self.log_path,
                "--workers", WORKERS, *self.options]

    def start(self, seconds=20):
        earlier = os.path.exists(self.err_path) and self.errors().count(": ready; ") or 0
        with open(self.err_path, "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                            stdout=self.stdout or err, stderr=err,
                                            env=environment(**self.env),
                                            close_fds=self.close_fds,
                                            preexec_fn=w.die_with_parent)
        Bottle.serving.add(self)
        self.wait_ready(seconds)
        # The proxy answers before the self-test is over.
        wait_for(lambda: self.has_not_ended() and self.errors().count(": ready; ") > earlier, seconds,
                 lambda: f"ready; {self.errors()}")

    def has_not_ended(self):
        if self.process.poll() is not None:
            raise AssertionError(f"run ended with {self.process.returncode}: {self.errors()}")
        return True

    def wait_ready(self, seconds=20):
        def answers():
            self.has_not_ended()
            place = world.home if self.by == "none" else self.netns
            with w.InNamespace(place, world.home):
                try:
                    with socket.create_connection(("127.0.0.1", PROXY_PORT), 1) as s:
                        s.settimeout(5)
                        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                        # An answer, or, as we are not the bottle, an end without one.
                        return s.recv(1) is not None
                except ConnectionResetError:
                    return True
                except OSError:
                    return False
        wait_for(answers, seconds, lambda: f"the proxy to answer; {self.errors()}")

    def errors(self):
        with open(self.err_path, encoding="utf-8") as file:
            return file.read()

    def settle(self):
        settle(self.process.pid)

    def log(self):
        self.settle()
        with open(self.log_path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def popen(self, command, root=False, **options):
        self.root_inside = root
        return subprocess.Popen(command, preexec_fn=self.enter, text=True,
                                env={"PATH": os.environ["PATH"], "HOME": world.path("home")},
                                **{"stdin": subprocess.DEVNULL, **options})

    def run(self, command, root=False, timeout=60):
        """A command inside the bottle, as an ordinary user unless `root`."""
        process = self.popen(command, root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{command} hung: {out[-2000:]} {err[-2000:]}") from None
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def curl(self, *arguments, **options):
        return self.run(["curl", "-sS", "--max-time", "20", "--cacert",
                         self.certificate, *arguments], **options)

    def python(self, code, *arguments, **options):
        return self.run([PYTHON, "-c", code, *arguments], **options)

    def status(self):
        result = cli("status", self.name, "--json")
        if result.returncode != 0:
            raise AssertionError(f"status: {result.stderr}")
        return json.loads(result.stdout)[0]

    def counter(self, reason):
        return find_counter(self.status(), reason)

    def workers(self):
        return [pid for pid in children(self.process.pid) if alive(pid)]

    def worker(self):
        return wait_for(self.workers, 10, lambda: f"a worker of {self.process.pid}, which is at "
                        f"{self.process.poll()}; {self.errors()[-2000:]}")[0]

    def reload(self, text):
        write(os.path.basename(self.policy_path), text)
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends everything, wall included; fails when a sanitizer had something to say."""
        Bottle.serving.discard(self)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.by != "none":
            cli("detach", self.name)
            if self.name in pins():
                cli("detach", self.name, "--force")
        self.holder.kill()
        self.holder.wait()
        os.close(self.netns)
        os.close(self.mountns)
        w.remove_cgroup(self.cgroup)
        said = SANITIZER.search(self.errors())
        if said:
            raise AssertionError(self.errors()[said.start():][:6000])


def find_counter(status, reason):
    """By kernel and proxy together."""
    if isinstance(status, list):
        status = status[0]
    return (status["kernel"].get(reason, 0) + status["proxy"].get(reason, 0)
            + status["counters"].get(reason, 0))


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.mark = len(origin_requests())

    def arrived(self):
        """What reached the origins since the test began, and what is on its way from bottles that are served."""
        for bottle in Bottle.serving:
            bottle.settle()
        return origin_requests(self.mark)

    def ok(self, result):
        self.assertNotRegex(result.stderr or "", SANITIZER)
        self.assertEqual(result.returncode, 0,
                         f"\n{result.args}\nstdout: {result.stdout[-1500:]}"
                         f"\nstderr: {result.stderr[-1500:]}")
        return result.stdout

    def header(self, request, name):
        return [v for k, v in request["headers"] if k.lower() == name.lower()]


class BottleCase(Case):
    """Tests that share one bottle."""
    options = {}
    bottle = None

    @classmethod
    def setUpClass(cls):
        cls.bottle = Bottle(**cls.options)

    @classmethod
    def tearDownClass(cls):
        if cls.bottle:
            cls.bottle.stop()

    def setUp(self):
        super().setUp()
        if self.bottle.process.poll() is not None:
            self.fail(f"run has ended: {self.bottle.errors()[-3000:]}")


def sh_curl(bottle, *arguments, patience=20):
    """curl outside of any bottle, trusting that bottle's CA."""
    return subprocess.run(["curl", "-sS", "--max-time", str(patience), "--cacert",
                           bottle.certificate, *arguments],
                          capture_output=True, text=True, check=False, timeout=2 * patience + 10,
                          env={"PATH": os.environ["PATH"]})
