# SPDX-License-Identifier: BSD-2-Clause
"""Bottles that a real Docker engine runs, of each kind of network, found by name or ID."""
import json
import os
import shutil
import signal
import subprocess

import harness
import world as w
from engine import PATH, Engine, make_root, tool
from harness import Case, cli, find_counter, pins, policy, wait_for, write


class Run:
    """`run --container`, with files of its own."""
    count = 0

    def __init__(self, container, *options, engine=None):
        Run.count += 1
        self.name = f"docker-{os.getpid()}-{Run.count}"
        self.err_path, self.ca = (harness.world.path(self.name + end) for end in (".err", "-ca"))
        self.log_path, self.ready = (harness.world.path(self.name + end)
                                     for end in (".log", ".ready"))
        made = cli("ca", "init", self.ca)
        assert made.returncode == 0, made.stderr
        self.policy_path = write(self.name + ".yaml", policy())
        where = ["--engine", engine] if engine else []
        with open(self.err_path, "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                [harness.world.program, "run", "--policy", self.policy_path, "--container",
                 container, *where, "--name", self.name, "--ca-dir", self.ca, "--log",
                 self.log_path, "--ready-file", self.ready, *options],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=harness.environment(),
                preexec_fn=w.die_with_parent)

    def errors(self):
        with open(self.err_path, encoding="utf-8") as file:
            return file.read()

    def ready_count(self):
        return self.errors().count(": ready; ")

    def wait_ready(self, count=1):
        wait_for(lambda: self.ready_count() >= count or self.process.poll() is not None, 20,
                 f"ready; {self.errors()}")
        assert self.process.poll() is None, self.errors()
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)
        cli("detach", self.name, "--force")
        said = harness.SANITIZER.search(self.errors())
        assert not said, self.errors()


RUNC = os.path.join(os.path.dirname(os.path.dirname(harness.HERE)), "container", "egress-bpf-runc")


def make_hook_files():
    """A CA that the box trusts, a policy, and the tokens."""
    ca = harness.world.path("hook-ca")
    assert cli("ca", "init", ca).returncode == 0
    shutil.copy(os.path.join(ca, "ca-cert.pem"), harness.world.path("hook-ca-cert.pem"))
    os.chmod(harness.world.path("hook-ca-cert.pem"), 0o644)
    tokens = harness.world.path("hook-tokens")
    os.mkdir(tokens, 0o700)
    for name, value in harness.SECRETS.items():
        with open(os.path.join(tokens, name), "w", encoding="utf-8",
                  opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(value)
    write("hook.yaml", policy())


def hook_options():
    return {"policy": harness.world.path("hook.yaml"), "ca-dir": harness.world.path("hook-ca"),
            "state-dir": harness.world.path("hook-run"),
            "run-token-dir": harness.world.path("hook-tokens")}


def start_engine():
    arguments = [f"--egress-{k}={v}" for k, v in hook_options().items()]
    broken = write("hook-broken.yaml", "routes: [{hots: x}]\n")
    engine = Engine({
        "egress": {"path": RUNC, "runtimeArgs": arguments},
        "egress-broken": {"path": RUNC, "runtimeArgs": [f"--egress-policy={broken}"] + [
            x for x in arguments if "policy" not in x]},
        "egress-typo": {"path": RUNC, "runtimeArgs": ["--egress-polcy=x", *arguments]},
    })
    root = make_root(harness.world.path("box-root"))
    engine.import_root(root, "box")
    shutil.rmtree(root)
    return engine


class EngineCase(Case):
    """Tests that share an engine and an image with curl."""
    engine = None
    start_engine = staticmethod(start_engine)

    @classmethod
    def setUpClass(cls):
        make_hook_files()
        cls.engine = cls.start_engine()

    @classmethod
    def tearDownClass(cls):
        if cls.engine:
            cls.engine.stop()
        for name in ("hook-tokens", "hook-ca"):
            shutil.rmtree(harness.world.path(name))

    def container(self, name, *options, command=("sleep", "1000")):
        self.addCleanup(self.engine.docker, "rm", "-f", name, check=False)
        # No init of its own: its first process would not heed SIGTERM.
        return self.engine.out("run", "-d", "--name", name, "--stop-signal", "KILL", *options,
                               "box", *command)

    def run_for(self, *arguments, **options):
        run = Run(*arguments, **{"engine": self.engine.socket, **options})
        self.addCleanup(run.stop)
        return run

    def curl(self, run, name, url, *options):
        """curl inside of the container, with the bottle's CA."""
        with open(os.path.join(run.ca, "ca-cert.pem"), encoding="utf-8") as file:
            self.engine.docker("exec", "-i", name, "sh", "-c", "cat >/tmp/ca.pem", stdin=file)
        return self.engine.docker("exec", name, "curl", "-sS", "--max-time", "10", "--cacert",
                                  "/tmp/ca.pem", *options, url, check=False)

    def judged(self, run, name):
        """What is allowed works and gets its credential, what is not is refused at once."""
        self.ok(self.curl(run, name, "https://api.example.test/echo"))
        self.assertEqual(self.header(self.arrived()[-1], "authorization"),
                         ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        refused = self.curl(run, name, "https://forbidden.example.test/")
        self.assertEqual(refused.returncode, 6, refused.stderr)
        literal = self.curl(run, name, "http://203.0.113.12/")
        self.assertEqual(literal.returncode, 7, literal.stderr)


class Networks(EngineCase):
    def kind(self, name, *options):
        self.container(name, *options)
        run = self.run_for(name).wait_ready()
        self.judged(run, name)
        return run

    def status(self, run):
        result = cli("status", run.name, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)[0]

    def test_none(self):
        run = self.kind("bottle-none", "--network", "none")
        self.assertGreater(find_counter(self.status(run), "address_not_allowed"), 0)

    def test_bridge_with_the_tc_wall(self):
        run = self.kind("bottle-bridge")
        self.assertIn("1 of 1 walled", cli("status", run.name).stdout)
        seen = w.Sniffer(harness.world)
        self.addCleanup(seen.close)
        self.engine.docker("exec", "bottle-bridge", "sh", "-c",
                           "nc -w 1 203.0.113.12 80 </dev/null; echo x | nc -u -w 1 203.0.113.12 53",
                           check=False)
        self.assertEqual([x for x in seen.drain() if x[1] == "203.0.113.12"], [])

    def test_host(self):
        # The engine would lend it this machine's hosts file, with the true addresses.
        hosts = write("box-hosts", "127.0.0.1 localhost\n")
        self.kind("bottle-host", "--network", "host", "-v", f"{hosts}:/etc/hosts:ro")

    def test_by_id_without_an_engine(self):
        """An ID is found among the cgroups when nobody can be asked."""
        identity = self.container("bottle-id", "--network", "none")
        run = self.run_for(identity[:12], engine=None).wait_ready()
        self.judged(run, "bottle-id")

    def test_internal_bridge(self):
        self.engine.docker("network", "create", "--internal", "inner")
        self.addCleanup(self.engine.docker, "network", "rm", "inner")
        run = self.kind("bottle-internal", "--network", "inner")
        self.assertIn("1 of 1 walled", cli("status", run.name).stdout)
        self.engine.docker("rm", "-f", "bottle-internal")

    def test_network_of_another_container(self):
        """The programs are round the cgroup; the wire, which both have, is walled for both."""
        other = self.container("lender")
        run = self.kind("bottle-borrows", "--network", f"container:{other}")
        self.assertIn("1 of 1 walled", cli("status", run.name).stdout)
        lender = ("exec", "lender", "curl", "-sS", "--max-time", "4", "http://203.0.113.20/small")
        self.assertIn(self.engine.docker(*lender, check=False).returncode, (7, 28))
        run.stop()
        self.ok(self.engine.docker(*lender, check=False))

    def test_by_containerds_state(self):
        identity = self.container("bottle-state", "--network", "none")
        run = self.run_for(identity, engine=self.engine.path("exec/containerd/daemon")).wait_ready()
        self.judged(run, "bottle-state")

    def test_nobody_of_that_name(self):
        run = self.run_for("no-such-bottle")
        self.assertEqual(run.process.wait(30), 1)
        self.assertIn("no container 'no-such-bottle' is running", run.errors())
        self.assertNotIn(run.name, pins())

    def test_a_policy_with_an_error_is_told_before_waiting(self):
        path = write("wait-bad.yaml", "routes: [{hots: a.example.test}]\n")
        result = cli("run", "--policy", path, "--container", "later", "--wait", "--engine",
                     self.engine.socket)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("hots", result.stderr)


class Life(EngineCase):
    def test_waits_and_follows_a_restart_and_the_end(self):
        run = self.run_for("bottle-late", "--wait")
        wait_for(lambda: "waiting for" in run.errors(), 5)
        self.container("bottle-late", "--network", "none")
        run.wait_ready()
        self.judged(run, "bottle-late")
        self.engine.docker("restart", "-t", "0", "bottle-late")
        run.wait_ready(2)
        self.judged(run, "bottle-late")
        self.engine.docker("kill", "bottle-late")
        wait_for(lambda: run.name not in pins(), 15, "the wall to be gone")
        self.assertIsNone(run.process.poll(), run.errors())
        self.assertFalse(os.path.exists(run.ready))
        self.engine.docker("start", "bottle-late")
        run.wait_ready(3)
        self.judged(run, "bottle-late")
        run.process.terminate()
        self.assertEqual(run.process.wait(15), 0, run.errors())

    def test_ends_with_the_container(self):
        self.container("bottle-ends", "--network", "none")
        run = self.run_for("bottle-ends").wait_ready()
        self.engine.docker("kill", "bottle-ends")
        self.assertEqual(run.process.wait(15), 0, run.errors())
        self.assertNotIn(run.name, pins())

    def test_engine_that_goes_away_and_comes_back(self):
        self.container("bottle-stays", "--network", "none")
        run = self.run_for("bottle-stays", "--wait").wait_ready()
        self.engine.kill()
        other = self.run_for("bottle-next", "--wait")
        self.assertIsNone(run.process.poll(), run.errors())
        self.engine.start()
        self.judged(run, "bottle-stays")
        self.assertIsNone(other.process.poll(), other.errors())
        self.container("bottle-next", "--network", "none")
        other.wait_ready()
        self.judged(other, "bottle-next")

    def test_sigterm_while_it_waits(self):
        run = self.run_for("bottle-never", "--wait")
        wait_for(lambda: "waiting for" in run.errors(), 5)
        run.process.send_signal(signal.SIGHUP)
        run.process.terminate()
        self.assertEqual(run.process.wait(15), 0, run.errors())


class Hook(EngineCase):
    """The wall is up before the container's first instruction, or there is none."""
    program = ("curl", "-sS", "--max-time", "10", "--cacert", "/ca.pem")

    def box(self, runtime, *command, options=("--network", "none")):
        ca = harness.world.path("hook-ca-cert.pem")
        result = self.engine.docker("run", "--rm", "--runtime", runtime, "-v", f"{ca}:/ca.pem:ro",
                                    *options, "box", *command, check=False)
        wait_for(lambda: not pins(), 15, f"the wall to be gone; {pins()}")
        return result

    def test_first_connect_is_judged(self):
        for options in (("--network", "none"), ()):
            with self.subTest(options=options):
                self.ok(self.box("egress", *self.program, "https://api.example.test/echo",
                                 options=options))
                self.assertEqual(self.header(self.arrived()[-1], "authorization"),
                                 ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        refused = self.box("egress", *self.program, "http://203.0.113.12/", options=())
        self.assertEqual(refused.returncode, 7, refused.stderr)

    def test_restarts_at_once(self):
        name = "hook-restarts"
        ca = harness.world.path("hook-ca-cert.pem")
        self.container(name, "--runtime", "egress", "--network", "none", "-v", f"{ca}:/ca.pem:ro")
        for _ in range(2):
            self.engine.docker("restart", "-t", "0", name)
            self.ok(self.engine.docker("exec", name, *self.program,
                                       "https://api.example.test/echo", check=False))
        self.engine.docker("rm", "-f", name)
        wait_for(lambda: not pins(), 15, "the wall to be gone")

    def test_a_wall_that_fails_starts_nothing(self):
        result = self.box("egress-broken", "echo", "it ran")
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("it ran", result.stdout)
        self.assertIn("hots", result.stderr)

    def test_a_hook_that_cannot_be_written_starts_nothing(self):
        """The engine's error is the one of its runtime's log, and no exit status alone."""
        result = self.box("egress-typo", "echo", "it ran")
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("it ran", result.stdout)
        self.assertIn("unknown option '--polcy=x'", result.stderr)

    def bundle(self, name, command, hook=True, **annotations):
        """A bundle for runc itself, with the hook in it."""
        bundle = harness.world.path(name)
        root = make_root(os.path.join(bundle, "rootfs"))
        self.addCleanup(shutil.rmtree, bundle)
        shutil.copy(harness.world.path("hook-ca-cert.pem"), os.path.join(root, "ca.pem"))
        shutil.copy("/etc/resolv.conf", os.path.join(root, "etc"))
        w.sh([tool("runc"), "spec"], cwd=bundle)
        path = os.path.join(bundle, "config.json")
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        spec["process"].update(terminal=False, args=list(command))
        spec["linux"]["cgroupsPath"] = f"{self.engine.parent}/{name}"
        spec["annotations"] = annotations
        with open(path, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        if not hook:
            return bundle
        files = hook_options()
        more = ["--token-dir", files.pop("run-token-dir")]
        directory = os.path.dirname(files.pop("policy"))
        options = [x for k, v in files.items() for x in (f"--{k}", v)]
        self.ok(cli("hook", "--into", bundle, "--policy-dir", directory, *options, "--", *more))
        return bundle

    def runc(self, name, bundle):
        return subprocess.run([tool("runc"), "--root", harness.world.path("runc"), "run", "-b",
                               bundle, name], text=True, capture_output=True, check=False,
                              timeout=30, stdin=subprocess.DEVNULL, env={"PATH": PATH})

    def test_create_attach_start(self):
        """What an engine has created, but not started, is found, and walled before it is."""
        name = os.urandom(8).hex()
        script = ("curl -sS -o /dev/null -w '%{http_code} ' --max-time 10 http://api.example.test/echo;"
                  "curl -sS --max-time 10 http://203.0.113.12/")
        bundle = self.bundle(name, ("sh", "-c", script), hook=False)
        runc = [tool("runc"), "--root", harness.world.path("runc")]
        with open(write("runc-out", ""), "w", encoding="utf-8") as out:
            subprocess.run([*runc, "create", "-b", bundle, name], check=True, timeout=30, stdout=out,
                           stderr=out, stdin=subprocess.DEVNULL, env={"PATH": PATH})
        self.addCleanup(subprocess.run, [*runc, "delete", "-f", name], check=False, env={"PATH": PATH},
                        capture_output=True)
        run = self.run_for(name, engine=None).wait_ready()
        subprocess.run([*runc, "start", name], check=True, timeout=30, env={"PATH": PATH})
        self.assertEqual(run.process.wait(30), 0, run.errors())
        with open(harness.world.path("runc-out"), encoding="utf-8") as file:
            # The first is refused for its credential, which plain HTTP must not have: by the proxy.
            self.assertRegex(file.read(), r"^403 curl: \(7\) ")
        self.assertEqual(self.arrived(), [])

    def test_runc_with_an_annotation(self):
        bundle = self.bundle("runc-good", (*self.program, "https://api.example.test/echo"),
                             **{"egress-bpf/policy": "hook"})
        self.ok(self.runc("runc-good", bundle))
        self.assertEqual(len(self.arrived()), 1)

    def test_runc_without_an_annotation(self):
        bundle = self.bundle("runc-none", ("echo", "it ran"))
        result = self.runc("runc-none", bundle)
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("it ran", result.stdout)
        self.assertIn("no annotation", result.stderr)

    def test_state_that_is_none(self):
        for text in ("", "[]", "{}", '{"id": "../x", "pid": 1}', '{"id": "x", "pid": 0}', "x" * 2000000):
            result = subprocess.run(
                [harness.world.program, "hook", "--policy", "/none", "--ca-dir", "/none", "--state-dir",
                 harness.world.path("none")], input=text, text=True, capture_output=True, check=False)
            self.assertEqual(result.returncode, 1, text[:50])
            self.assertFalse(os.path.exists(harness.world.path("none")))
