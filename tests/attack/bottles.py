# SPDX-License-Identifier: BSD-2-Clause
"""The settings: places where an attack runs, with a wall or without."""
import json
import os
import signal
import socket
import subprocess
import threading

import agent
import arena as a
import harness
import world as w

EXEC_UID = 23456
MAP = "map-"


class Place:
    """An agent somewhere, and attacks that it runs."""
    name, users, dead = "", (), False
    lacks = ()  # what this kernel cannot do here, of admitted.LACKING

    def __init__(self, world):
        self.world, self.waiting, self.count = world, {}, 0
        self.lock, self.answers = threading.Lock(), threading.Condition()
        self.cgroup = None
        self.pid = None

    def talk(self, process):
        """Takes over a process whose standard streams are an agent's."""
        self.agent = process
        ready = process.stdout.readline()
        if not ready:
            raise RuntimeError(f"{self.name}: the agent did not start")
        self.pid = json.loads(ready)["pid"]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.agent.stdout:
            answer = json.loads(line)
            with self.answers:
                self.waiting[answer["id"]] = answer
                self.answers.notify_all()
        with self.answers:
            self.waiting["gone"] = True
            self.answers.notify_all()

    def command(self):
        return [a.PYTHON, "-B", self.world.path("agent.py")]

    def do(self, argv, user, env, timeout=25):
        """Runs a command inside; returns its status and output."""
        with self.lock:
            self.count += 1
            number = self.count
            try:
                self.agent.stdin.write(json.dumps({"id": number, "argv": argv, "user": user,
                                                   "env": env, "timeout": timeout}) + "\n")
                self.agent.stdin.flush()
            except OSError:
                return -1, "the bottle is gone"
        with self.answers:
            self.answers.wait_for(lambda: number in self.waiting or "gone" in self.waiting,
                                  timeout + 10)
            answer = self.waiting.pop(number, {"status": -1, "output": "no answer"})
        return answer["status"], answer["output"]

    def adopt(self, argv, user, env, before):
        """Starts a command outside of the cgroup, and moves it inside when it says so."""
        netns = os.open(f"/proc/{self.agent.pid}/ns/net", os.O_RDONLY)

        def enter():
            w.die_with_parent()
            w.setns(netns)
            agent.become(user)
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env={**os.environ, **env}, cwd="/",
                                   preexec_fn=enter)
        os.close(netns)
        before()
        first = process.stdout.readline()
        if first == b"made\n":
            with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="utf-8") as file:
                file.write(str(process.pid))
        try:
            out, _ = process.communicate(b"go\n", timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
        return process.returncode, (first + out).decode("utf-8", "replace")

    def environment(self):
        """What an attack may know about where it is."""
        return {"OUTSIDE": self.world.outside, "OUTSIDER": str(self.world.outsider.pid),
                "CGROUP_ROOT": w.cgroup_root(), "BOTTLE": self.name,
                "CGROUP": self.cgroup or "", "PROXY_PORT": str(harness.PROXY_PORT),
                "CGROUP_ID": str(os.stat(self.cgroup).st_ino) if self.cgroup else "0",
                "HOST_NETNS": str(os.stat("/proc/self/ns/net").st_ino),
                "DNS_PORT": str(self.dns_port), "SYNTHETIC": self.synthetic}

    dns_port, synthetic = 40053, "203.0.113.10"
    address = w.HOST_V4  # where somebody outside finds it

    def learn(self):
        """Where the responder listens, and which address an allowed host has in here."""
        raw = json.loads(w.sh(["bpftool", "-j", "map", "lookup", "pinned", self.pin(MAP + "settings"),
                               "key", "0", "0", "0", "0"]))["value"]
        value = bytes(int(x, 16) for x in raw)
        self.dns_port = int.from_bytes(value[22:24], "little")
        # not getent: with AI_ADDRCONFIG it finds no IPv4 where there is loopback alone
        status, found = self.do([a.PYTHON, "-c", "import socket;"
                                 "print(socket.gethostbyname('api.example.test'))"], "root", {})
        if status != 0:
            raise RuntimeError(f"{self.name}: an allowed name has no address: {found}")
        self.synthetic = found.strip()

    def pin(self, item):
        return f"/sys/fs/bpf/egress-bpf/{self.bottle}/{item}"

    def records(self):
        """How many flow records wait to be read."""
        if not os.path.exists(self.pin(MAP + "flows")):
            return 0
        return len(json.loads(w.sh(["bpftool", "-j", "map", "dump", "pinned",
                                    self.pin(MAP + "flows")])))

    bottle = "none"

    def start_agent(self, wrapper=(), setup=()):
        def enter():
            w.die_with_parent()
            self.join()
        return subprocess.Popen([*wrapper, *self.command(), *setup], preexec_fn=enter,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                stderr=open(self.world.path("agents.err"), "a", encoding="utf-8"),
                                env={"PATH": os.environ["PATH"], "HOME": "/"})

    def join(self):
        with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))

    def make_cgroup(self):
        self.cgroup = os.path.join(self.world.cgroup, self.name)
        os.mkdir(self.cgroup)

    def end(self):
        if self.agent.poll() is None:
            self.agent.kill()
        self.agent.wait()
        if self.cgroup:
            w.remove_cgroup(self.cgroup)


class Open(Place):
    """No wall: what does not get out here proves nothing elsewhere."""
    name, users = "open", ("root", "docker", "nobody")

    def __init__(self, world):
        super().__init__(world)
        self.make_cgroup()
        self.talk(self.start_agent())

    def environment(self):
        return {**super().environment(), "NAIVE": str(a.NAIVE_PORT)}


ROUTES = """
  - host: api.example.test
    path_allowlist: [/ok/]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
  - host: second.example.test
    auth: {header: x-api-key, token_env: E2E_TOKEN_1}
  - host: "*.wild.example.test"
    methods: [GET]
  - host: pinned.example.test
    tls: passthrough
    ports: [443]
  - host: tcp.example.test
    protocol: tcp
    ports: [7000]
  - host: both.example.test
"""


class Run(Place):
    """Served by `run`."""
    users = users_dead = ("root", "docker", "nobody")

    def __init__(self, world, name, text=None):
        super().__init__(world)
        self.name = name
        self.bottle = f"{world.tag}-{name}"
        self.make_cgroup()
        self.policy = harness.write(name + ".yaml", text or harness.policy(ROUTES))
        self.ca = world.path(name + "-ca")
        harness.cli("ca", "init", self.ca).check_returncode()
        with open(os.path.join(self.ca, "ca-cert.pem"), encoding="utf-8") as file:
            self.certificate = harness.write(name + "-ca-cert.pem", file.read())
        self.build()
        self.start_wall()

    def names(self):
        """A bottle's own hosts file: ours holds the origins' true addresses."""
        path = harness.write(self.name + "-hosts", "127.0.0.1 localhost\n::1 localhost\n")
        return f"mount --bind {path} /etc/hosts;"

    def start_wall(self):
        self.err = self.world.path(self.name + ".err")
        with open(self.err, "w", encoding="utf-8") as err:
            self.server = subprocess.Popen(
                [self.world.program, "run", "--policy", self.policy, *self.where(), "--name",
                 self.bottle, "--ca-dir", self.ca, "--log", self.world.path(self.name + ".log")],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=harness.environment(),
                preexec_fn=w.die_with_parent)

        def ready():
            if self.server.poll() is not None:
                raise RuntimeError(f"run ended: {self.errors()}")
            return "ready" in self.errors()
        harness.wait_for(ready, 20, "run to be ready")
        self.learn()

    def errors(self):
        with open(self.err, encoding="utf-8") as file:
            return file.read()

    def environment(self):
        return {**super().environment(), "BOTTLE": self.bottle, "CA": self.certificate}

    def kill(self):
        """Everything of ours, at once, without a chance to tidy."""
        workers = harness.children(self.server.pid)
        self.server.kill()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.server.wait()
        self.dead = True

    def detach(self, link):
        w.sh(["bpftool", "link", "detach", "pinned", self.pin(link)])

    def links(self):
        # those at security hooks cannot be detached, only unpinned
        return sorted(n for n in os.listdir(self.pin("")) if n.startswith("link-")
                      and not n.startswith("link-root_"))

    def renew(self):
        """A whole wall again, after an attack that may have damaged the old."""
        self.end_wall()
        self.dead = False
        self.start_wall()

    def end_wall(self):
        if self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(15)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        harness.cli("detach", self.bottle, "--force")

    def end(self):
        self.end_wall()
        super().end()


class Own(Run):
    """A container's namespaces, with a network that has no wire."""

    def build(self):
        hide = (self.names() + f"mount -t tmpfs none {self.world.outside}; mount -t tmpfs none /run;"
                "umount -l /sys/fs/bpf; umount -l /sys/fs/bpf; ip link set lo up;"
                f"mount -t cgroup2 none {w.cgroup_root()}")
        self.talk(self.start_agent(
            ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--fork",
             "--kill-child", "--mount-proc", "--propagation", "private"], [hide]))

    def where(self):
        return ["--pid", str(self.agent.pid)]


WIRED = """
  - cidr: 203.0.113.60/32
    ports: [7001]
    protocol: tcp
    direct: true
"""
PUBLISHED = 8099


class Wired(Own):
    """A container's namespaces with a network: the tc wall is on the host's end of its wire."""
    address = a.BOTTLE_V4
    users_dead = ("root",)  # nothing of this wall is ours to die with

    def __init__(self, world, name):
        super().__init__(world, name, harness.policy(ROUTES + WIRED))

    def build(self):
        super().build()
        # whoever is inside when the wire comes has the milliseconds until it is walled: nobody is
        status, output = self.do(["sh", "-ec", self.world.plug_in(self.agent_pid())], "root", {})
        if status != 0:
            raise RuntimeError(f"{self.name}: no wire: {output}")

    def agent_pid(self):
        """Of the process in the namespaces: that which we started stays outside of the pid one."""
        return harness.children(self.agent.pid)[0]

    def where(self):
        return [*super().where(), "--publish", str(PUBLISHED)]

    def filters(self):
        return sorted(n for n in os.listdir(self.pin("")) if n.startswith("cls-"))

    def unfilter(self, direction):
        self.kill()  # it would put them back when the next link changes
        w.sh(["tc", "filter", "del", "dev", a.BOTTLE_WIRE, direction])

    def environment(self):
        programs = [json.loads(w.sh(["bpftool", "-j", "prog", "show", "pinned", self.pin(x)]))["id"]
                    for x in self.filters()]
        uplink = socket.if_nametoindex(a.WIRE)
        return {**super().environment(), "WIRE_PROGRAMS": " ".join(map(str, programs)),
                "UPLINK": str(uplink)}

    def end_wall(self):
        # a packet that waits for its neighbour to answer would get out when there is no wall
        subprocess.run(["nsenter", f"--net=/proc/{self.agent_pid()}/ns/net", "ip", "neigh", "flush",
                        "dev", "eth0"], check=False, capture_output=True)
        super().end_wall()

    def end(self):
        super().end()
        self.world.unplug()


class Shared(Run):
    """The host's network namespace (here: that of the arena), which has the wire."""

    def build(self):
        self.talk(self.start_agent(["unshare", "--mount", "--propagation", "private"],
                                   [self.names() + "true"]))

    def where(self):
        return ["--cgroup", self.cgroup]


class Exec(Place):
    """`exec`, as the user who called sudo or as root."""

    def __init__(self, world, user):
        super().__init__(world)
        self.users = (user,)
        self.name = f"exec-{user}"
        who = {"SUDO_UID": str(EXEC_UID), "SUDO_GID": str(EXEC_UID)} if user == "nobody" else {}
        policy = harness.write(self.name + ".yaml", harness.policy(ROUTES))
        self.bottle = f"{world.tag}-{self.name}"
        self.talk(subprocess.Popen(
            [world.program, "exec", "--policy", policy, "--name", self.bottle, "-q", "--",
             *self.command()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=harness.environment(**who), preexec_fn=w.die_with_parent, cwd="/",
            stderr=open(world.path("agents.err"), "a", encoding="utf-8")))
        self.learn()
        status = json.loads(harness.cli("status", self.bottle, "--json").stdout)[0]
        if status["walls"]["unix_sockets"] == "kernel_cannot":
            self.lacks = ("unix_sockets",)

    def environment(self):
        return {**super().environment(), "BOTTLE": self.bottle}

    def end(self):
        if self.agent.poll() is None:
            self.agent.stdin.close()
            try:
                self.agent.wait(20)
            except subprocess.TimeoutExpired:
                self.agent.terminate()
                self.agent.wait(20)
