# SPDX-License-Identifier: BSD-2-Clause
"""The node agent where something is half done, slow, scarce or forged: whatever it is, a labelled pod
is behind its wall or does not run."""
import fcntl
import glob
import os
import resource
import subprocess
import time

import harness
import test_node
import world as w
from harness import read, wait_for
from test_node import Pod


def frozen(pod):
    return "frozen 1" in read(os.path.join(pod.path, "cgroup.events"))


def freeze(pod):
    """Asked for; the file that asks for it."""
    path = os.path.join(pod.path, "cgroup.freeze")
    with open(path, "w", encoding="utf-8") as file:
        file.write("1")
    return path


class Closed(test_node.NodeCase):
    def limit_files(self, soft):
        """A low soft limit, as containerd 2 gives to containers; the hard one stays."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, before)

    def test_half_a_wall(self):
        """An agent that was killed between the maps' pins and the programs' links."""
        self.start_agent()
        pod = Pod(self, "web")  # no sandbox yet, so no wall on its wire either
        wait_for(lambda: (pod.listed() or {}).get("wall") == "closed" and not frozen(pod), 20,
                 "the wall")
        self.kill_agent()
        for link in glob.glob(f"/sys/fs/bpf/egress-bpf/{pod.wall}/link-*"):
            os.unlink(link)
        pod.start()
        wait_for(lambda: pod.connect() == ["out"], 20, "the links to go")
        # With no `run` that could mend it.
        self.start_agent("--", "--no-such-option", ready=False)
        self.says("its 'run' ended")
        self.assertEqual(pod.connect(), ["refused"])

    def test_killed_with_pods_frozen(self):
        """What an agent had frozen when it was killed, the next one lets go: behind a wall where there is
        to be one, and without one where it is known that there is to be none."""
        self.start_agent()
        pod, plain = Pod(self, "web").start().served(), Pod(self).start()
        self.says("tells of")
        self.kill_agent()
        unknown = Pod(self, tell=False)
        pods = (pod, plain, unknown)
        for one in pods:
            freeze(one)
        wait_for(lambda: all(frozen(one) for one in pods), 20, "the freeze")
        self.start_agent()
        wait_for(lambda: not any(frozen(one) for one in pods), 20,
                 lambda: "the pods to go on; " + self.errors())
        self.assertTrue(unknown.walled())
        self.assertFalse(plain.walled())
        self.assertEqual(plain.connect(), ["out"])
        self.assertEqual(pod.connect(), ["refused"])
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode == 0, 20, "the pod's service")

    def freeze_for_good(self, pod):
        """Until what is returned is unmounted."""
        freezer = freeze(pod)
        w.sh(f"mount --bind {freezer} {freezer} && mount -o remount,bind,ro {freezer}")
        self.addCleanup(subprocess.run, ["umount", "-q", freezer], check=False)
        wait_for(lambda: frozen(pod), 20, "the freeze")
        return freezer

    def test_cannot_be_let_go(self):
        """A pod that waits for its wall was frozen for good when it could not be let go at once."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        self.kill_agent()
        freezer = self.freeze_for_good(pod)
        self.start_agent()
        self.says(f"{pod.name}: it stays frozen: Read-only file system; trying it again")
        w.sh(f"umount {freezer}")
        wait_for(lambda: not frozen(pod), 20, lambda: "the pod to go on; " + self.errors())
        self.assertEqual(pod.connect(), ["refused"])

    def test_cannot_be_let_go_and_needs_no_wall(self):
        """The next question to the kubelet may be an hour away."""
        self.start_agent()
        plain = Pod(self).start()
        self.says("tells of")
        self.kill_agent()
        freezer = self.freeze_for_good(plain)
        self.start_agent("--interval", "3600")
        self.says("it stays frozen: Read-only file system; trying it again")
        time.sleep(2)  # what else there was to look at has been
        w.sh(f"umount {freezer}")
        wait_for(lambda: not frozen(plain), 5, lambda: "the pod to go on; " + self.errors())

    @staticmethod
    def is_held(pid):
        """By a tracer, and for longer than at any system call: strace delays it."""
        for _ in range(20):
            try:
                if read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] != "t":
                    return False
            except OSError:
                return False
            time.sleep(0.01)
        return True

    def test_ended_while_its_run_starts(self):
        """Told to end between fork(2) and execve(2), where it still has the agent's handlers, which
        write to the agent's own loop: the agent took the word for its own and ended, and the wall of
        the pod that was gone stayed for good."""
        path = harness.world.path("node-strace")
        # The child opens it first of all.
        self.start_agent(wrapper=["strace", "-D", "-f", "-qq", "-o", path, "-e", "signal=none",
                                  "-P", "/dev/null", "-e", "inject=openat:delay_exit=1500000"])
        before = set(harness.children(self.process.pid))
        pod = Pod(self, "web").start()
        wait_for(lambda: any(self.is_held(child) for child in harness.children(self.process.pid)
                             if child not in before), 20, "the child that opens it")
        pod.end()
        wait_for(lambda: not pod.walled() or self.process.poll() is not None, 20, "the wall to go")
        self.assertIsNone(self.process.poll(), self.errors())
        self.assertRegex(read(path), r"/dev/null.*\(DELAYED\)")
        late = Pod(self, "web")
        wait_for(late.walled, 20, "the next pod's wall")

    def test_two_agents(self):
        """One to a node: a second would freeze, wall and serve the same pods."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        second = harness.cli("node", *self.options(), timeout=20)
        self.assertEqual(second.returncode, 1)
        self.assertRegex(second.stderr, r"(?s)^egress-bpf: node: another agent is at work here: it holds "
                         r"\S*/state/agent\.lock\n$")
        self.ok(pod.curl("https://api.example.test/echo"))
        self.assertTrue(os.path.exists(os.path.join(self.directory, "ready")))
        self.stop_agent()
        self.start_agent()

    def test_wall_that_stays(self):
        """A wall that cannot be taken down is tried again, by the pod that ended or by the one that comes
        under its uid."""
        self.start_agent()
        pods = [Pod(self, "web") for _ in range(2)]  # no sandbox: nobody else takes their walls down
        for pod in pods:
            wait_for(lambda p=pod: (p.listed() or {}).get("wall") == "closed", 20, "the wall")
        held = [os.open(f"/sys/fs/bpf/egress-bpf/{pod.wall}", os.O_DIRECTORY) for pod in pods]
        for fd in held:
            fcntl.flock(fd, fcntl.LOCK_EX)
        for pod in pods:
            pod.end()
            self.says(f"{pod.name}: its wall stays for now: .* in use by process .*; trying it again")
        self.assertEqual(pods[0].listed()["wall"], "ended")
        again = Pod(self, "web", uid=pods[1].uid)
        self.says(f"{again.name}: frozen, for no wall")
        for fd in held:
            os.close(fd)
        wait_for(lambda: not pods[0].walled() and not pods[0].listed(), 20, "the wall to go")
        wait_for(lambda: again.listed()["wall"] == "closed" and not frozen(again), 20, "its own wall")
        self.assertEqual(self.errors().count(f"{pods[0].name}: its wall stays"), 1, self.errors())

    def test_slow_kubelet(self):
        """One that takes connections and does not answer: long before it is given up."""
        self.start_agent()
        self.kubelet.slow = True
        self.addCleanup(setattr, self.kubelet, "slow", False)
        began = time.monotonic()
        pod = Pod(self, "web")
        wait_for(pod.walled, 9, "a wall before the kubelet's time is over")
        self.assertLess(time.monotonic() - began, 9)
        pod.start()
        self.assertEqual(pod.connect(), ["refused"])

    def test_many_at_once(self):
        """Walls take their time, one after the other: who waits for one does not run."""
        self.start_agent("--unknown", "ignore")
        self.kubelet.away = True
        pods = [Pod(self, "web") for _ in range(8)]
        self.says("left alone")
        self.kubelet.away = False
        wait_for(lambda: any(p.walled() for p in pods), 40, "the first wall")
        # In the order in which they change: a wall stands before its pod is let go.
        for pod in pods:
            self.assertTrue(frozen(pod) or pod.walled(), pod.name)
        wait_for(lambda: all(p.walled() for p in pods), 60, "all walls")
        wait_for(lambda: not any(frozen(p) for p in pods), 20, "all pods to go on")

    def test_few_files(self):
        """Two descriptors a pod: a soft limit is no limit to the pods of a node."""
        back = self.limit_files(40)
        try:
            self.start_agent()
        finally:
            back()
        pod = Pod(self, "web").start().served()
        self.assertEqual(pod.connect(), ["refused"])
        self.assertNotIn("Too many open files", self.errors())

    def test_no_files_left(self):
        """What cannot be looked at is not gone: no wall is taken down for that."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        used = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (used, hard))
        Pod(self)
        self.says("Too many open files; trying it again")
        self.assertEqual(pod.connect(), ["refused"])
        self.ok(pod.curl("https://api.example.test/echo"))
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        late = Pod(self, "web")
        wait_for(late.walled, 20, "pods to be seen again")
        self.ok(pod.curl("https://api.example.test/echo"))

    def test_tokens_of_their_own(self):
        """A Secret mounted at TOKENS/NAME itself: a token that was taken back is not used on."""
        os.unlink(os.path.join(self.tokens, "web"))
        own = os.path.join(self.tokens, "web")
        os.makedirs(os.path.join(own, "..1"))
        os.symlink("..1", os.path.join(own, "..data"))
        for variable, value in harness.SECRETS.items():
            self.write_token(os.path.join(own, "..1", variable), value)
            os.symlink("..data/" + variable, os.path.join(own, variable))
        self.start_agent()
        pod = Pod(self, "web").start().served()
        os.makedirs(os.path.join(own, "..2"))
        for variable in harness.SECRETS:
            self.write_token(os.path.join(own, "..2", variable), "another-" + harness.MARK)
        os.symlink("..2", os.path.join(own, "..data_tmp"))
        os.rename(os.path.join(own, "..data_tmp"), os.path.join(own, "..data"))

        def arrives():
            mark = len(harness.origin_requests())
            self.ok(pod.curl("https://api.example.test/echo"))
            return self.header(harness.origin_requests(mark)[0], "Authorization") == [
                "Bearer another-" + harness.MARK]
        wait_for(arrives, 20, "the new token")

    @staticmethod
    def write_token(path, value):
        with open(path, "w", encoding="utf-8") as file:
            file.write(value)
        os.chmod(path, 0o400)

    def test_empty_authorities(self):
        """An empty --kubelet-ca is not the system's roots."""
        empty = harness.write("node-empty-ca", "")
        self.start_agent("--kubelet-ca", empty, ready=False)
        self.says("node-empty-ca is empty")
        self.assertEqual(self.kubelet.asked, 0)

    def test_other_authorities(self):
        """With --kubelet-ca nobody else may sign, not even who the node itself trusts."""
        store = os.path.join(self.directory, "store")
        os.mkdir(store)
        w.sh(f"cp {harness.world.path('test-ca.pem')} {store}/ca.pem; openssl rehash {store}")
        other = os.path.join(self.directory, "other")
        self.ok(harness.cli("ca", "init", other))
        options = self.options

        def changed():
            given = options()
            given[given.index("--kubelet-ca") + 1] = os.path.join(other, "ca-cert.pem")
            return given
        self.options = changed
        names = ",".join("+" + c for c in self.capabilities)

        def preexec():
            w.die_with_parent()
            w.unshare(w.CLONE_NEWNS)
            w.mount("none", "/", None, w.MS_REC | w.MS_PRIVATE)
            w.mount(store, "/etc/ssl/certs", None, w.MS_BIND)
        with open(self.err_path, "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                ["unshare", "--cgroup", "setpriv", "--bounding-set", "-all," + names,
                 "--inh-caps", "-all", harness.world.program, "node", *self.options()],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=harness.environment(),
                preexec_fn=preexec)
        self.says("the kubelet")
        self.assertEqual(self.kubelet.asked, 0, self.errors())
        self.says("--kubelet-ca")
