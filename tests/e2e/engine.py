# SPDX-License-Identifier: BSD-2-Clause
"""A real Docker engine for the tests: dockerd by hand, in the tests' own network and mount
namespaces, with its state below the tests' directory and images made of this machine's files."""
import glob
import json
import os
import re
import shutil
import signal
import subprocess

import harness
import world as w
from harness import wait_for

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOX = ["/bin/busybox", "/usr/bin/curl"]
APPLETS = "sh sleep cat ls echo true nc kill ip id env wget"


def tool(name):
    path = shutil.which(name, path=PATH)
    if not path:
        raise RuntimeError(f"{name} is not installed: tools/bootstrap")
    return path


def libraries(program):
    """The shared libraries of a program, with the loader."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", said)


def copy_into(root, path):
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        shutil.copy(path, target)


def make_root(root, programs=BOX):
    """busybox, curl and what they load, for `docker import` or runc."""
    for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "var"):
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    for program in programs:
        for path in [program, *libraries(program)]:
            copy_into(root, path)
    for applet in APPLETS.split():
        os.symlink("busybox", os.path.join(root, "bin", applet))
    with open(os.path.join(root, "etc/passwd"), "w", encoding="utf-8") as file:
        file.write("root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    with open(os.path.join(root, "etc/nsswitch.conf"), "w", encoding="utf-8") as file:
        file.write("hosts: files dns\n")
    return root


class Client:
    """What docker() of a subclass is enough for, whichever engine it speaks to."""

    def out(self, *arguments, **options):
        return self.docker(*arguments, **options).stdout.strip()

    def import_root(self, root, image, *changes):
        flags = [x for change in changes for x in ("--change", change)]
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            self.docker("import", *flags, "-", image, stdin=tar.stdout)


class Engine(Client):
    """dockerd with a containerd of its own. Everything of it is gone after stop()."""
    count = 0

    def __init__(self, runtimes=None):
        self.runtimes = runtimes or {}
        self.live_restore = True  # heeded by the next start()
        Engine.count += 1
        self.directory = harness.world.path(f"engine-{Engine.count}")
        os.mkdir(self.directory)
        # A unix socket's path has room for 107 characters.
        self.socket = os.path.join(self.directory, "sock")
        self.parent = f"/{os.path.basename(harness.world.cgroup)}/docker"
        # A dockerd that has to allow forwarding itself has iptables drop all that is not its own, for good:
        # other tests' namespaces are routed here, too.
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="utf-8") as file:
            file.write("1")
        self.process = None
        self.start()

    def start(self, *more):
        with open(os.path.join(self.directory, "log"), "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [tool("dockerd"), "--data-root", self.path("data"), "--exec-root", self.path("exec"),
                 "--pidfile", self.path("pid"), "-H", f"unix://{self.socket}", "--group", "root",
                 "--bip", "198.51.100.1/24", "--exec-opt", "native.cgroupdriver=cgroupfs",
                 "--cgroup-parent", self.parent, "--config-file", self.config(), *more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=w.die_with_parent,
                env={"PATH": PATH, "HOME": self.directory, "EGRESS_BPF": harness.world.program})
        wait_for(lambda: self.answers() or self.process.poll() is not None, 30, "dockerd")
        if self.process.poll() is not None:
            raise AssertionError(f"dockerd ended: {self.log()[-3000:]}")

    def config(self):
        path = self.path("daemon.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"live-restore": self.live_restore, "runtimes": self.runtimes}, file)
        return path

    def path(self, name):
        return os.path.join(self.directory, name)

    def log(self):
        with open(self.path("log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def answers(self):
        return os.path.exists(self.socket) and self.docker("version", check=False).returncode == 0

    def docker(self, *arguments, check=True, timeout=60, **options):
        result = subprocess.run([tool("docker"), *arguments], text=True, capture_output=True,
                                check=False, timeout=timeout,
                                env={"PATH": PATH, "DOCKER_HOST": f"unix://{self.socket}",
                                     "HOME": self.directory}, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"docker {arguments}: {result.stderr}")
        return result

    def kill(self):
        """Ends dockerd alone; with live-restore its containers go on."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def stop(self):
        if self.process.poll() is not None:
            self.start()
        for name in self.out("ps", "-aq").split():
            self.docker("rm", "-f", name, check=False)
        self.kill()
        self.end_containerd()
        self.reap()
        self.remove_cgroups()
        wait_for(lambda: not self.mounts() or not self.unmount(), 5, "mounts of the engine gone")
        shutil.rmtree(self.directory)

    def end_containerd(self):
        """Live-restore leaves it running."""
        try:
            with open(self.path("exec/containerd/containerd.pid"), encoding="utf-8") as file:
                pid = int(file.read())
        except OSError:
            return
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            if self.directory in file.read():
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not harness.alive(pid), 10, "containerd to end")

    def reap(self):
        """Shims outlive who started them, and we are the subreaper."""
        for pid in harness.children(os.getpid()):
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read().startswith("containerd-shim") and not harness.alive(pid):
                    os.waitpid(pid, 0)

    def mounts(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return [line.split()[4] for line in file if self.directory in line.split()[4]]

    def unmount(self):
        for path in sorted(self.mounts(), reverse=True):
            subprocess.run(["umount", path], check=False, capture_output=True)
        return self.mounts()

    def remove_cgroups(self):
        """runc makes the parent in each hierarchy; the v2 one the tests remove themselves."""
        for top in glob.glob("/sys/fs/cgroup/*" + os.path.dirname(self.parent)):
            if not top.startswith(harness.world.cgroup):
                for directory, _, _ in os.walk(top, topdown=False):
                    os.rmdir(directory)
