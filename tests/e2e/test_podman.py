# SPDX-License-Identifier: BSD-2-Clause
"""Bottles that a real Podman runs: by its Docker-compatible API, and by the OCI hook."""
import json
import os
import shutil
import subprocess

import harness
import test_start
import world as w
from engine import PATH, Client, make_root, tool
from harness import cli, pins, wait_for, write
from test_docker import EngineCase, hook_options

# crun takes no hybrid hierarchy (all is v2, or all is v1), runc does. The limits are those that one
# may set without CAP_SYS_RESOURCE.
CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "{runc}"
events_logger = "none"
tmp_dir = "{directory}/tmp"
"""
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{directory}/store"\nrunroot = "{directory}/run"\n'


class Podman(Client):
    """`podman system service`, with its state below the tests' directory. It speaks as test_docker.py
    knows an engine."""

    def __init__(self):
        self.directory = harness.world.path("podman")
        os.mkdir(self.directory)
        self.socket = os.path.join(self.directory, "sock")
        self.parent = f"/{os.path.basename(harness.world.cgroup)}/podman"
        names = {"directory": self.directory, "runc": tool("runc")}
        write("podman/containers.conf", CONFIG.format(**names))
        write("podman/storage.conf", STORAGE.format(**names))
        self.env = {"PATH": PATH, "HOME": self.directory,
                    "CONTAINERS_CONF": os.path.join(self.directory, "containers.conf"),
                    "CONTAINERS_STORAGE_CONF": os.path.join(self.directory, "storage.conf")}
        with open(os.path.join(self.directory, "log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [tool("podman"), "system", "service", "--time", "0", f"unix://{self.socket}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                preexec_fn=w.die_with_parent)
        wait_for(lambda: os.path.exists(self.socket), 30, "podman's service")

    def docker(self, verb, *arguments, check=True, **options):
        if verb in ("run", "create"):
            # Without this machine's hosts file, which has the true addresses.
            arguments = ("--cgroup-parent", self.parent, "--no-hosts", *arguments)
        result = subprocess.run([tool("podman"), *options.pop("more", ()), verb, *arguments], text=True,
                                capture_output=True, check=False, timeout=60, env=self.env, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"podman {verb} {arguments}: {result.stderr}")
        return result

    def stop(self):
        self.docker("rm", "-fa", "-t", "0", check=False)
        self.process.terminate()
        self.process.wait(20)
        wait_for(lambda: self.unmount() == [], 10, "podman's mounts gone")
        shutil.rmtree(self.directory)
        top = os.path.dirname(self.parent)
        for name in os.listdir("/sys/fs/cgroup"):
            path = "/sys/fs/cgroup/" + name + top
            if path != harness.world.cgroup and os.path.isdir(path):
                for directory, _, _ in os.walk(path, topdown=False):
                    os.rmdir(directory)

    def unmount(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split()[4] for line in file if self.directory in line.split()[4]]
        for path in sorted(mounts, reverse=True):
            subprocess.run(["umount", path], check=False, capture_output=True)
        return mounts


class OnPodman(EngineCase):
    program = ("curl", "-sS", "--max-time", "10", "--cacert", "/ca.pem")

    @classmethod
    def start_engine(cls):
        w.mount("tmpfs", "/dev/shm", "tmpfs")  # its locks; ours, so that the machine's is left alone
        engine = Podman()
        root = make_root(harness.world.path("box-root"))
        engine.import_root(root, "box")
        shutil.rmtree(root)
        return engine

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        w.sh("umount /dev/shm")

    def test_a_container_that_runs(self):
        self.container("pod-runs", "--network", "none")
        run = self.run_for("pod-runs").wait_ready()
        self.judged(run, "pod-runs")
        self.engine.docker("rm", "-f", "-t", "0", "pod-runs")
        self.assertEqual(run.process.wait(15), 0, run.errors())
        self.assertNotIn(run.name, pins())

    def test_create_attach_start(self):
        """`podman init`: the namespaces are there, and no instruction has run."""
        ca = harness.world.path("pod-ca.pem")
        write("pod-ca.pem", "")
        self.addCleanup(self.engine.docker, "rm", "-f", "-t", "0", "pod-later", check=False)
        self.engine.docker("create", "--name", "pod-later", "--network", "none", "-v",
                           f"{ca}:/ca.pem:ro", "box", *self.program, "https://api.example.test/echo",
                           "http://203.0.113.12/")
        self.engine.docker("init", "pod-later")
        run = self.run_for("pod-later").wait_ready()
        with open(os.path.join(run.ca, "ca-cert.pem"), encoding="utf-8") as file:
            write("pod-ca.pem", file.read())
        self.engine.docker("start", "pod-later")
        self.assertEqual(self.engine.out("wait", "pod-later"), "7")
        self.assertEqual(self.header(self.arrived()[-1], "authorization"),
                         ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        self.assertEqual(run.process.wait(15), 0, run.errors())

    def test_hook_by_annotation(self):
        """As docs/containers.md has it; without the annotation it is not ours."""
        files = hook_options()
        directory = harness.world.path("hooks.d")
        os.makedirs(directory)
        arguments = ["egress-bpf", "hook", "--policy-dir", os.path.dirname(files["policy"]), "--ca-dir",
                     files["ca-dir"], "--state-dir", files["state-dir"], "--", "--token-dir",
                     files["run-token-dir"]]
        write("hooks.d/egress-bpf.json", json.dumps({
            "version": "1.0.0", "when": {"annotations": {"^egress-bpf/policy$": ".*"}},
            "stages": ["createRuntime"],
            "hook": {"path": harness.world.program, "args": arguments, "timeout": 42}}))
        ca = harness.world.path("hook-ca-cert.pem")
        run = ("run", "--rm", "--network", "none", "-v", f"{ca}:/ca.pem:ro")
        for name, codes in (("hook", (0,)), ("no-such-policy", (126, 127))):
            result = self.engine.docker(*run, "--annotation", f"egress-bpf/policy={name}", "box",
                                        *self.program, "https://api.example.test/echo", check=False,
                                        more=("--hooks-dir", directory))
            self.assertIn(result.returncode, codes, result.stderr)
            wait_for(lambda: not pins(), 15, f"the wall to be gone; {pins()}")
        self.assertEqual(len(self.arrived()), 1)
        self.ok(self.engine.docker(*run, "box", "true", more=("--hooks-dir", directory)))
        self.assertEqual(cli("status").stdout.strip(), "")

    def test_start_and_stop(self):
        """The same calls as to Docker; who joins is in the bottle."""
        test_start.import_image(self.engine)
        self.addCleanup(self.engine.docker, "rmi", "-f", test_start.IMAGE, check=False)
        plan = harness.world.path("pod-plan")
        manifest = write("pod-manifest.yaml", test_start.MANIFEST.format(name="pod"))
        self.ok(cli("prepare", manifest, "--bottle", "pod", "--out", plan))
        stop = ("stop", "pod", "--engine", self.engine.socket)
        self.addCleanup(cli, *stop)
        hosts = write("box-hosts", "127.0.0.1 localhost\n")
        told = json.loads(self.ok(cli("start", plan, "--image", test_start.IMAGE, "--engine",
                                      self.engine.socket, "--json")))
        joined = subprocess.run(
            [tool("podman"), "run", "--rm", "--network", told["network"], "--cgroup-parent",
             told["cgroup_parent"], "-v", f"{told['ca_cert']}:/ca.pem:ro", "-v",
             f"{hosts}:/etc/hosts:ro", "box", *self.program,
             "https://api.example.test/echo", "http://203.0.113.12/"], env=self.engine.env,
            capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(joined.returncode, 7, joined.stderr)
        self.assertEqual(self.header(self.arrived()[-1], "authorization"),
                         ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        told = self.engine.out("inspect", told["sidecar"])
        self.assertNotIn(harness.MARK, told)
        self.ok(cli(*stop))
        self.assertEqual((self.engine.out("ps", "-aq"), pins()), ("", []))
