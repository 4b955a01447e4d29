# SPDX-License-Identifier: BSD-2-Clause
"""`start` and `stop` on a real Docker engine: least rights, no trace of a secret, nothing left."""
import glob
import json
import os
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


def start_engine():
    engine = Engine()
    root = harness.world.path("image-root")
    made = subprocess.run([os.path.join(TOP, "container", "make-root"), harness.world.program, root],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    engine.import_root(root, IMAGE, 'ENTRYPOINT ["/usr/bin/egress-bpf"]')
    shutil.rmtree(root)
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
        self.plan = harness.world.path(self.slug)
        manifest = write(self.slug + "-manifest.yaml", MANIFEST.format(name=self.slug))
        self.ok(cli("prepare", manifest, "--bottle", self.slug, "--out", self.plan))
        self.names = [f"egress-bpf-{self.slug}{end}" for end in ("", "-net", "-bottle")]
        self.addCleanup(self.nothing_left)
        self.addCleanup(self.stop)

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
        self.assertEqual(self.start().returncode, 1)  # it runs already
        self.works()
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

    def test_killed_at_each_step(self):
        """Whatever is left of a start or a stop, the next stop ends it, and a start can follow."""
        for verb, delays in (("start", (0.1, 0.5)), ("stop", (0.3, 0.6))):
            for delay in delays:
                with self.subTest(verb=verb, delay=delay):
                    if verb == "stop":
                        self.started()
                    command = {"start": ["start", self.plan, "--image", IMAGE, "--bottle-image", "box",
                                         "--engine", self.engine.socket, "--", "sleep", "1000"],
                               "stop": ["stop", self.slug, "--engine", self.engine.socket]}[verb]
                    process = subprocess.Popen([harness.world.program, *command],
                                               env=environment(), stderr=subprocess.PIPE)
                    time.sleep(delay)
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    self.ok(self.stop())
                    self.nothing_left()

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
        self.assertIn("nothing-of-that-name", result.stderr)
        self.nothing_left()
