# SPDX-License-Identifier: BSD-2-Clause
"""`start` and `stop` on a real Docker engine: least rights, no trace of a secret, nothing left."""
import fcntl
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

import harness
import world as w
from engine import PATH, Engine, make_root, tool
from harness import Case, cli, environment, pins, wait_for, write

TOP = os.path.dirname(os.path.dirname(harness.HERE))
IMAGE = "egress-bpf-test"
MANIFEST = """
bottles:
  {name}:
    egress:
      networks: {{bottle: none, sidecar: host}}
      routes:
        - host: api.example.test
          path_allowlist: [/echo, /slow/, /bytes/]
          auth: {{scheme: Bearer, token_ref: E2E_TOKEN_0}}
        - host: second.example.test
          auth: {{scheme: Bearer, token_ref: E2E_TOKEN_1}}
"""

# The same slots in another order, and another path.
NEW_MANIFEST = """
bottles:
  {name}:
    egress:
      networks: {{bottle: none, sidecar: host}}
      routes:
        - host: second.example.test
          auth: {{scheme: Bearer, token_ref: E2E_TOKEN_1}}
        - host: api.example.test
          path_allowlist: [/headers]
          auth: {{scheme: Bearer, token_ref: E2E_TOKEN_0}}
"""
BRIDGE_MANIFEST = """
bottles:
  {name}:
    egress:
      networks: {{bottle: none, sidecar: bridge}}
      routes:
        - host: api.example.test
          auth: {{scheme: Bearer, token_ref: E2E_TOKEN_0}}
      upstream:
        proxy: https://203.0.113.2:3130
        proxy_auth: {{username: egress, token_ref: PROXY_PASSWORD}}
        proxy_ca_file: CA_FILE
"""


def import_image(engine):
    root = harness.world.path("image-root")
    made = subprocess.run([os.path.join(TOP, "container", "make-root"), harness.world.program, root],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    engine.import_root(root, IMAGE, 'ENTRYPOINT ["/usr/bin/egress-bpf"]')
    shutil.rmtree(root)


def start_engine():
    engine = Engine()
    import_image(engine)
    root = make_root(harness.world.path("bottle-root"))
    engine.import_root(root, "box")
    shutil.rmtree(root)
    return engine


class Started(Case):
    """A plan, and what it takes to start it."""
    engine = None
    count = 0

    @classmethod
    def setUpClass(cls):
        # For the tokens; ours, so that the machine's is left alone.
        w.mount("tmpfs", "/dev/shm", "tmpfs")
        cls.engine = start_engine()

    @classmethod
    def tearDownClass(cls):
        if cls.engine:
            cls.engine.stop()
        w.sh("umount /dev/shm")

    def setUp(self):
        super().setUp()
        Started.count += 1
        self.slug = f"s{os.getpid()}-{Started.count}"
        # A colon is the engine's separator in its older form of mounts.
        self.plan = harness.world.path(self.slug + ":plan")
        self.prepare(MANIFEST)
        self.names = [f"egress-bpf-{self.slug}{end}" for end in ("", "-net", "-bottle")]
        self.addCleanup(self.nothing_left)
        self.addCleanup(self.stop)

    def prepare(self, manifest, *options):
        path = write(self.slug + "-manifest.yaml", manifest.format(name=self.slug))
        self.ok(cli("prepare", path, "--bottle", self.slug, "--out", self.plan, *options))

    def start(self, *arguments, env=None, **options):
        return cli("start", self.plan, "--image", IMAGE, "--engine", self.engine.socket, *arguments,
                   env=environment(**(env or {})), **options)

    def stop(self):
        result = cli("stop", self.slug, "--engine", self.engine.socket)
        self.ok(result)
        return result

    def nothing_left(self):
        self.assertNotIn(self.slug, pins())
        self.assertEqual([n for n in self.engine.out("ps", "-a", "--format", "{{.Names}}").split()
                          if self.slug in n], [])
        # Of this test: others of the machine may have theirs.
        for pattern in ("/sys/fs/cgroup/egress-bpf/", "/sys/fs/cgroup/*/egress-bpf/",
                        "/dev/shm/egress-bpf-sidecars/", "/run/egress-bpf-sidecars/"):
            self.assertEqual(glob.glob(pattern + self.slug), [])

    def bottle(self, *command, check=False):
        return self.engine.docker("exec", self.names[2], *command, check=check)

    def fetch(self, url, *options):
        return self.bottle("curl", "-sS", "--max-time", "10", *options, url)

    def started(self):
        self.ok(self.start("--bottle-image", "box", "--", "sleep", "1000"))

    def works(self):
        mark = len(self.arrived())
        self.ok(self.fetch("https://api.example.test/echo"))
        self.assertEqual(self.header(self.arrived()[mark], "authorization"),
                         ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        refused = self.fetch("http://203.0.113.12/")
        self.assertEqual(refused.returncode, 7, refused.stderr)


class Start(Started):
    def test_from_plan_to_nothing(self):
        self.started()
        self.works()
        said = self.ok(self.start())  # it runs already
        self.works()
        events = re.search(r"(?m)^What is decided: docker (exec .*) --follow$", said)[1].split()
        wait_for(lambda: "api.example.test:443/echo" in self.engine.out(*events), 10, "its events")
        self.ok(self.stop())
        self.nothing_left()
        self.ok(self.stop())

    def test_first_connect_of_the_bottle(self):
        self.ok(self.start("--bottle-image", "box", "--", "curl", "-sS", "--max-time", "10",
                           "https://api.example.test/echo"))
        self.assertEqual(self.engine.out("wait", self.names[2]), "0",
                         self.engine.docker("logs", self.names[2]).stderr)
        self.assertEqual(len(self.arrived()), 1)

    def test_missing_tokens_are_told_and_nothing_begins(self):
        kept = dict(harness.SECRETS)
        self.addCleanup(harness.SECRETS.update, kept)
        del harness.SECRETS["E2E_TOKEN_0"]
        result = self.start(env={"E2E_TOKEN_1": ""})
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("E2E_TOKEN_0 is not set", result.stderr)
        self.assertIn("E2E_TOKEN_1 is set, but empty", result.stderr)
        self.nothing_left()

    def test_no_trace_of_a_secret(self):
        """Neither in what the engine tells, nor in any process, on disk, or in a log."""
        self.started()
        self.works()
        told = "".join(self.engine.out("inspect", name) for name in self.names)
        for name in self.names:
            logs = self.engine.docker("logs", name)
            told += logs.stdout + logs.stderr
        self.assertNotIn(harness.MARK, told)
        own = set(map(str, [os.getpid(), os.getppid()]))
        for pid in set(filter(str.isdigit, os.listdir("/proc"))) - own:
            for what in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{what}", "rb") as file:
                        self.assertNotIn(harness.MARK.encode(), file.read(), (pid, what))
                except OSError:
                    pass
        for place in (self.engine.directory, self.plan, "/run", "/var/lib/docker"):
            found = subprocess.run(["grep", "-rlIsa", "--devices=skip", harness.MARK, place],
                                   capture_output=True, text=True, check=False)
            self.assertEqual(found.stdout, "", place)

    def test_wall_and_address_outlive_the_sidecar(self):
        self.started()
        self.works()
        self.engine.docker("kill", self.names[0])  # by hand: the engine does not restart it
        refused = self.fetch("http://203.0.113.12/")
        self.assertEqual(refused.returncode, 7, refused.stderr)
        self.assertNotEqual(self.fetch("https://api.example.test/echo").returncode, 0)
        self.ok(self.start())
        self.works()

    def test_bottle_restarts(self):
        self.started()
        self.engine.docker("restart", "-t", "0", self.names[2])
        self.works()

    def sent(self, url):
        """The credential that arrives, or how the request failed."""
        mark = len(self.arrived())
        result = self.fetch(url, "-w", "%{http_code}", "-o", "/dev/null")
        arrived = self.arrived()[mark:]
        return self.header(arrived[0], "authorization") if arrived else result.stdout

    def test_a_new_plan_for_a_sidecar_that_runs(self):
        """A slot's name never meets a token of another plan."""
        first, second = ("Bearer " + harness.SECRETS[f"E2E_TOKEN_{i}"] for i in (0, 1))
        api, other = "https://api.example.test/echo", "https://second.example.test/x"
        self.started()
        self.assertEqual((self.sent(api), self.sent(other)), ([first], [second]))
        self.prepare(NEW_MANIFEST)
        self.engine.docker("kill", "-s", "HUP", self.names[0])
        wait_for(lambda: "policy reloaded" in self.engine.docker("logs", self.names[0]).stderr, 10)
        self.assertEqual((self.sent(api), self.sent(other)), ([first], [second]))
        # EGRESS_TOKEN_0 is now what EGRESS_TOKEN_1 was; and the first route has lost its path.
        self.ok(self.start())
        self.assertEqual((self.sent(api), self.sent(other)), ("403", [second]))
        self.assertEqual(self.sent("https://api.example.test/headers"), [first])
        self.engine.docker("restart", "-t", "0", self.names[0])
        wait_for(lambda: self.sent("https://api.example.test/headers") == [first], 20)
        missing = cli("start", self.plan, "--image", IMAGE, "--engine", self.engine.socket,
                      env={k: v for k, v in environment().items() if k != "E2E_TOKEN_0"})
        self.assertEqual(missing.returncode, 2, missing.stderr)
        self.prepare(NEW_MANIFEST, "--new-ca")
        refused = self.start()
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("cannot change its CA", refused.stderr)
        self.assertEqual(self.sent(other), [second])
        generations = glob.glob(f"/dev/shm/egress-bpf-sidecars/{self.slug}/plan/[0-9]*")
        self.assertEqual(len(generations), 1, generations)

    def test_two_starts_at_a_time(self):
        """Each plan goes in whole, one after the other, and no host sees another's token."""
        first, second = ("Bearer " + harness.SECRETS[f"E2E_TOKEN_{i}"] for i in (0, 1))
        self.started()
        plans = [self.plan, self.plan + "-2"]
        shutil.copytree(*plans)
        manifest = write(self.slug + "-second.yaml", NEW_MANIFEST.format(name=self.slug))
        self.ok(cli("prepare", manifest, "--bottle", self.slug, "--out", plans[1]))
        with open(f"/dev/shm/egress-bpf-sidecars/{self.slug}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            starts = [subprocess.Popen([harness.world.program, "start", plan, "--image", IMAGE, "--engine",
                                        self.engine.socket], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True, env=environment())
                      for plan in plans * 2]
            waiting = {f"-> FLOCK  ADVISORY  WRITE {one.pid} " for one in starts}

            def all_wait():
                with open("/proc/locks", encoding="utf-8") as locks:
                    text = locks.read()
                return all(one in text for one in waiting)
            wait_for(all_wait, 30, "the starts to wait")
        for one in starts:
            said = one.communicate(timeout=100)[1]
            self.assertEqual(one.returncode, 0, said)
        self.assertEqual(self.sent("https://second.example.test/x"), [second])
        self.assertIn(self.sent("https://api.example.test/echo"), ([first], "403"))
        self.assertEqual(glob.glob("/dev/shm/egress-bpf-sidecars/*.lock"), [])

    def test_on_a_bridge_through_a_proxy_with_a_password(self):
        """The plan of an ordinary user; the proxy's CA is a file of the host."""
        world, password = harness.world, "px-" + harness.MARK
        w.sh(f"""set -e; cd {world.directory}
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=proxy CA' -addext 'subjectAltName=IP:{w.GATEWAY_V4}' \
            -keyout bridge-proxy.key -out bridge-proxy.pem""")
        log = write("bridge-proxy.log", "")
        with world.in_origin():
            proxy = world.spawn(
                [harness.PYTHON, "-B", os.path.join(harness.PROGRAMS, "connect_proxy.py"),
                 w.GATEWAY_V4, "3130", log, world.path("bridge-proxy.pem"),
                 world.path("bridge-proxy.key")],
                env={**os.environ, "PROXY_CREDENTIAL": "egress:" + password})
        self.addCleanup(proxy.wait)
        self.addCleanup(proxy.terminate)
        world.wait_port(w.GATEWAY_V4, 3130)
        self.prepare(BRIDGE_MANIFEST.replace("CA_FILE", world.path("bridge-proxy.pem")))
        for name in (".", *os.listdir(self.plan)):
            os.chown(os.path.join(self.plan, name), harness.UID, harness.UID)
        told = self.start("--bottle-image", "box", "--", "sleep", "1000")
        self.assertEqual(told.returncode, 2, told.stderr)
        self.assertIn("PROXY_PASSWORD is not set", told.stderr)
        os.rename(world.path("bridge-proxy.pem"), world.path("bridge-proxy.away"))
        told = self.start(env={"PROXY_PASSWORD": password})
        self.assertEqual(told.returncode, 1, told.stderr)
        self.assertIn("bridge-proxy.pem, which the routes name: No such file", told.stderr)
        os.rename(world.path("bridge-proxy.away"), world.path("bridge-proxy.pem"))
        self.ok(self.start("--bottle-image", "box", "--", "sleep", "1000",
                           env={"PROXY_PASSWORD": password}))
        self.works()
        with open(log, encoding="utf-8") as file:
            asked = [json.loads(line) for line in file]
        self.assertEqual([x["authority"] for x in asked], ["api.example.test:443"])
        self.assertIn("Proxy-Authorization", asked[0]["fields"])
        self.assertNotIn(harness.MARK, self.engine.out("inspect", self.names[0]))

    def call(self, method, path, body=None):
        more = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body else []
        return w.sh(["curl", "-sS", "-X", method, "--unix-socket", self.engine.socket, *more,
                     "http://engine" + path])

    def again_without(self, told, capability):
        """The sidecar as it was, but for one capability; what it says, and whether it is ready."""
        ready = f"/dev/shm/egress-bpf-sidecars/{self.slug}/state/ready"
        self.engine.docker("rm", "-f", self.names[0])
        if os.path.exists(ready):
            os.unlink(ready)
        cli("detach", self.slug, "--force")
        host = {**told["HostConfig"], "RestartPolicy": {"Name": "no"}}
        host["CapAdd"] = [c for c in host["CapAdd"] if c != capability]
        self.assertEqual(len(host["CapAdd"]), len(told["HostConfig"]["CapAdd"]) - 1)
        self.call("POST", f"/containers/create?name={self.names[0]}",
                  {"Image": IMAGE, "Cmd": told["Config"]["Cmd"], "HostConfig": host})
        self.engine.docker("start", self.names[0])
        wait_for(lambda: os.path.exists(ready) or self.state("Running") == "false", 40, capability)
        return os.path.exists(ready), self.engine.docker("logs", self.names[0]).stderr

    def state(self, what):
        return self.engine.out("inspect", "-f", f"{{{{.State.{what}}}}}", self.names[0])

    def bounds(self):
        """What the worker could be given again."""
        worker = wait_for(lambda: harness.children(int(self.state("Pid"))), 10, "a worker")[0]
        with open(f"/proc/{worker}/status", encoding="utf-8") as file:
            return int(re.search(r"CapBnd:\s+(\w+)", file.read())[1], 16)

    def test_each_capability_is_needed(self):
        """One by one they are taken away: docs/containers.md says why each is there."""
        self.prepare(MANIFEST.replace("bottle: none", "bottle: bridge"))
        self.started()
        told = json.loads(self.engine.out("inspect", self.names[0]))[0]
        self.assertEqual(told["HostConfig"]["CapDrop"], ["ALL"])
        self.assertFalse(told["HostConfig"]["Privileged"])
        self.assertEqual(self.bounds(), 0)
        fails = {"SYS_ADMIN": "cannot load the kernel programs", "NET_RAW": "self-test: ",
                 "SETUID": "worker: cannot become uid", "SETGID": "worker: cannot become uid",
                 # Before Linux 6.9 there is no wall at all without it.
                 "NET_ADMIN": "no tc program: Operation not permitted|cannot attach",
                 "SETPCAP": None}
        self.assertEqual(set(fails), set(told["HostConfig"]["CapAdd"]))
        for capability, why in fails.items():
            with self.subTest(capability=capability):
                ready, said = self.again_without(told, capability)
                self.assertTrue(capability in ("NET_ADMIN", "SETPCAP") or not ready, said)
                if why:
                    self.assertRegex(said, why)
                else:
                    self.assertNotEqual(self.bounds(), 0)

    def test_engine_that_restarts(self):
        """With live-restore nobody notices; without it the engine ends and starts all of them."""
        self.started()
        self.engine.kill()
        self.assertIn(self.slug, pins())
        self.engine.start()
        self.works()
        self.stop()
        self.engine.live_restore = False
        self.addCleanup(setattr, self.engine, "live_restore", True)
        self.engine.kill()
        self.engine.start()
        self.started()
        self.engine.kill()
        self.assertIn(self.slug, pins())
        self.engine.start()
        wait_for(lambda: self.state("Running") == "true", 20, "the sidecar to be started again")
        self.engine.docker("start", self.names[2])
        refused = self.fetch("http://203.0.113.12/")
        self.assertEqual(refused.returncode, 7, refused.stderr)
        wait_for(lambda: self.fetch("https://api.example.test/echo").returncode == 0, 20)
        self.works()

    def test_kinds_of_networks(self):
        """An internal bridge, walled from outside, and the host's; what does not go is told."""
        inner = f"inner-{self.slug}"
        self.engine.docker("network", "create", "--internal", inner)
        self.addCleanup(self.engine.docker, "network", "rm", inner)
        self.prepare(MANIFEST.replace("bottle: none", f"bottle: {inner}"))
        self.started()
        self.works()
        self.assertIn("1 of 1 walled", cli("status", self.slug).stdout)
        self.stop()
        self.prepare(MANIFEST.replace("bottle: none", "bottle: host"))
        told = json.loads(self.ok(self.start("--json")))
        # The engine would lend it this machine's hosts file, with the true addresses.
        hosts = write("box-hosts", "127.0.0.1 localhost\n")
        self.addCleanup(self.engine.docker, "rm", "-f", self.names[2], check=False)
        self.engine.docker("run", "-d", "--name", self.names[2], "--network", told["network"],
                           "--cgroup-parent", told["cgroup_parent"], "-v", f"{hosts}:/etc/hosts:ro",
                           "--mount", f"type=bind,readonly,src={told['ca_cert']},dst=/ca.pem",
                           "-e", "CURL_CA_BUNDLE=/ca.pem",
                           "box", "sleep", "1000")
        self.works()
        self.assertIn("shares the host's network namespace", cli("status", self.slug).stdout)
        path = write("kinds.yaml", MANIFEST.format(name="x").replace("none", "host").replace(
            "sidecar: host", "sidecar: bridge"))
        refused = cli("prepare", path, "--bottle", "x", "--print")
        self.assertEqual(refused.returncode, 2, refused.stdout)
        self.assertRegex(refused.stderr, r":5: .*needs its sidecar there; would be right: .*sidecar: host")

    def test_reload_under_load_drops_nothing(self):
        self.started()
        loop = self.engine_popen("exec", self.names[2], "sh", "-c",
                                 "for i in 0 1 2 3 4 5; do"
                                 " curl -sS -o /dev/null -w '%{http_code} ' --max-time 10"
                                 " https://api.example.test/slow/1 || echo failed; done")
        for _ in range(6):
            time.sleep(0.2)
            self.engine.docker("kill", "-s", "HUP", self.names[0])
        out, err = loop.communicate(timeout=60)
        self.assertEqual(out.split(), ["200"] * 6, err)
        wait_for(lambda: "policy reloaded" in self.engine.docker("logs", self.names[0]).stderr, 5)

    def engine_popen(self, *arguments):
        return subprocess.Popen([tool("docker"), *arguments], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                env={"PATH": PATH, "DOCKER_HOST": f"unix://{self.engine.socket}",
                                     "HOME": self.engine.directory})

    def traced(self, verb, *options):
        """strace, as the tool that can kill a program at a system call."""
        command = {"start": ["start", self.plan, "--image", IMAGE, "--bottle-image", "box",
                             "--engine", self.engine.socket, "--", "sleep", "1000"],
                   "stop": ["stop", self.slug, "--engine", self.engine.socket]}[verb]
        return subprocess.run(["strace", "-f", "-o", harness.world.path("engine.trace"), *options,
                               harness.world.program, *command], env=environment(),
                              capture_output=True, text=True, check=False, timeout=60)

    def changes(self, verb):
        """The numbers of those poll(2)s of a run in which the engine is at something that lasts."""
        self.ok(self.traced(verb, "-s", "99", "-e", "trace=sendto,poll"))
        polls, found = 0, []
        with open(harness.world.path("engine.trace"), encoding="utf-8") as file:
            for line in file:
                polls += "poll(" in line
                if re.search(r'"(POST|DELETE) ', line):
                    found.append(polls + 1)
        return found

    def test_killed_at_each_step(self):
        """While the engine is at each request that changes something. Whoever is in the bottle then
        stays within its wall; the next start, or stop, goes on from there."""
        steps = {verb: self.changes(verb) for verb in ("start", "stop")}
        self.assertGreaterEqual(min(map(len, steps.values())), 5, steps)
        kills = dict.fromkeys(steps, 0)
        for verb, at in [(verb, at) for verb in steps for at in steps[verb][::2]]:
            with self.subTest(verb=verb, at=at):
                if verb == "stop":
                    self.started()
                killed = self.traced(verb, "-e", f"inject=poll:signal=KILL:when={at}")
                # Or it had to wait less often this time, and was done before.
                self.assertIn(killed.returncode, (-signal.SIGKILL, 0), killed.stderr)
                kills[verb] += killed.returncode != 0
                if self.engine.out("ps", "-q", "-f", f"name={self.names[2]}$"):
                    refused = self.fetch("http://203.0.113.12/")
                    # The others: a container that ends just then.
                    self.assertIn(refused.returncode, (7, 1, 126, 137), refused.stderr)
                if at % 2:
                    self.started()
                    self.works()
                self.ok(self.stop())
                self.nothing_left()
        self.assertGreaterEqual(min(kills.values()), 3, kills)

    def test_wall_stays_while_somebody_is_inside(self):
        self.ok(self.start())
        told = json.loads(self.json_of_plan())
        other = f"other-{self.slug}"
        self.addCleanup(self.engine.docker, "rm", "-f", other, check=False)
        self.engine.out("run", "-d", "--name", other, "--network", told["network"],
                        "--cgroup-parent", told["cgroup_parent"], "box", "sleep", "1000")
        result = cli("stop", self.plan, "--engine", self.engine.socket)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("its wall stays", result.stderr)
        self.assertIn(self.slug, pins())
        refused = self.engine.docker("exec", other, "curl", "-sS", "http://203.0.113.12/", check=False)
        self.assertEqual(refused.returncode, 7, refused.stderr)
        self.engine.docker("rm", "-f", other)

    def json_of_plan(self):
        self.ok(self.stop())
        result = self.start("--json")
        return self.ok(result)

    def test_sidecar_that_cannot_serve(self):
        """Its own words, and nothing left."""
        result = self.start("--image", "box")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.nothing_left()
        result = self.start("--image", "nothing-of-that-name")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("has no image 'nothing-of-that-name': build or pull it first", result.stderr)
        self.nothing_left()

    def compose(self, directory, *arguments):
        return subprocess.run([tool("docker-compose"), "-p", "egress", *arguments], cwd=directory,
                              capture_output=True, text=True, check=False, timeout=120,
                              env={"PATH": PATH, "DOCKER_HOST": f"unix://{self.engine.socket}",
                                   "HOME": self.engine.directory})

    def remove_agent(self):
        """`down` leaves the wall and the parent cgroup, as any other engine's call does."""
        cli("detach", "agent", "--force")
        for path in glob.glob("/sys/fs/cgroup/egress-bpf/agent") + glob.glob(
                "/sys/fs/cgroup/*/egress-bpf/agent"):
            os.rmdir(path)
            if not glob.glob(os.path.dirname(path) + "/*/"):
                os.rmdir(os.path.dirname(path))

    def test_compose_file(self):
        """container/compose.yaml as it is, but for this machine's cgroup layout and our images.
        Debian's docker-compose 1.29 does not know `cgroup: host`, which is the engine's default here."""
        directory = harness.world.path("compose")
        os.mkdir(directory)
        with open(os.path.join(TOP, "container/compose.yaml"), encoding="utf-8") as file:
            text = file.read()
        for old, new in (("    cgroup: host\n", ""), ("/sys/fs/cgroup", w.cgroup_root()),
                         ("image: egress-bpf\n", f"image: {IMAGE}\n"),
                         ("image: debian:12\n", "image: box\n    command: [sleep, '1000']\n")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        write("compose/docker-compose.yaml", text)
        self.ok(cli("ca", "init", os.path.join(directory, "ca")))
        write("compose/routes.yaml", "upstream: {proxy: 'http://203.0.113.2:3131'}\n"
              "routes: [{host: api.example.test, auth: {scheme: Bearer, token_env: TOKEN}}]\n")
        os.mkdir("/dev/shm/agent-tokens", 0o700)
        self.addCleanup(shutil.rmtree, "/dev/shm/agent-tokens")
        with open(os.open("/dev/shm/agent-tokens/TOKEN", os.O_WRONLY | os.O_CREAT, 0o600), "w",
                  encoding="utf-8") as file:
            file.write(harness.SECRETS["E2E_TOKEN_0"])
        log = write("compose-proxy.log", "")
        with harness.world.in_origin():
            proxy = harness.world.spawn([harness.PYTHON, "-B", os.path.join(
                harness.PROGRAMS, "connect_proxy.py"), w.GATEWAY_V4, "3131", log])
        self.addCleanup(proxy.wait)
        self.addCleanup(proxy.terminate)
        harness.world.wait_port(w.GATEWAY_V4, 3131)
        self.addCleanup(self.remove_agent)
        self.addCleanup(self.compose, directory, "down", "-t", "1")
        self.ok(self.compose(directory, "up", "-d"))
        self.names = ["egress_egress_1", "egress_net_1", "egress_agent_1"]
        self.works()
        self.assertNotIn(harness.MARK, self.engine.out("inspect", *self.names))
