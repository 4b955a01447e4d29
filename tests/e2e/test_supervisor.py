# SPDX-License-Identifier: BSD-2-Clause
"""The supervisor's own life: starts that fail, reloads at bad moments, and what a worker is given."""
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import world as w
import harness
from harness import Bottle, BottleCase, Case, alive, children, cli, measures, pins, policy, wait_for, write
from test_events import Follower

ONE_PATH = """
  - host: api.example.test
    path_allowlist: [/status/]
"""
ANY_PATH = """
  - host: api.example.test
"""
OTHER_HOST = """
  - host: second.example.test
"""
SLOW = """
import http.client, ssl, sys, time
c = http.client.HTTPSConnection("second.example.test", context=ssl.create_default_context(cafile=sys.argv[1]))
c.putrequest("POST", "/echo")
c.putheader("Content-Length", "2")
c.endheaders(b"x")
print("begun", flush=True)
time.sleep(3)
c.send(b"y")
print(c.getresponse().status, flush=True)
"""
BROKEN_ROOTS = "upstream: {ca_file: /nonexistent/roots.pem}\nroutes:" + ONE_PATH


def fetch(bottle, path):
    """The status code that a path gives."""
    return bottle.curl("-o", "/dev/null", "-w", "%{http_code}",
                       f"https://api.example.test{path}").stdout


class FailedStart(Case):
    def test_wall_of_a_dotted_name_outlives_a_failed_restart(self):
        """systemd's scopes have dots in their names."""
        bottle = Bottle(dotted=True)
        self.addCleanup(bottle.stop)
        self.assertIn(".", bottle.name)
        bottle.process.kill()
        bottle.process.wait()
        again = subprocess.run([*bottle.command(), "--listen", "192.0.2.77:9099"], text=True,
                               capture_output=True, check=False, timeout=30,
                               env=harness.environment())
        self.assertEqual(again.returncode, 1, again.stderr)
        self.assertIn("cannot listen", again.stderr)
        self.assertEqual(cli("status", bottle.name).returncode, 0)
        with open(harness.world.path("dotted-watch"), "w+", encoding="utf-8") as out:
            watch = subprocess.Popen([harness.world.program, "status", bottle.name, "--watch"],
                                     stdout=out, stdin=subprocess.DEVNULL,
                                     preexec_fn=w.die_with_parent)
            try:
                def pictures():
                    with open(out.name, encoding="utf-8") as file:
                        return file.read().count("SIDECAR DEAD")
                wait_for(lambda: pictures() > 1, 10, "a second picture")
            finally:
                watch.kill()
                watch.wait()

    def test_who_holds_the_control_socket_does_not_answer(self):
        """Another one that hangs, with as many waiting as fit: the start goes on without."""
        bottle = Bottle()
        self.addCleanup(bottle.stop)
        bottle.process.kill()
        bottle.process.wait()
        path = f"/run/egress-bpf/{bottle.name}.sock"
        os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        self.addCleanup(os.unlink, path)
        listener.bind(path)
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(path)
        inode = os.stat(path).st_ino
        with open(harness.world.path("hanging"), "w+", encoding="utf-8") as out:
            again = subprocess.Popen(bottle.command(), stderr=out, stdin=subprocess.DEVNULL,
                                     env=harness.environment(), preexec_fn=w.die_with_parent)
            try:
                def said():
                    with open(out.name, encoding="utf-8") as file:
                        return file.read()
                wait_for(lambda: ": ready;" in said(), 10, "a start")
                self.assertIn(f"control socket {path}: Address already in use", said())
                self.assertEqual(os.stat(path).st_ino, inode)
                self.assertIn("at each SIGHUP", said())
                # What was in its way is gone: it can be asked, and need not begin anew for that.
                listener.close()
                again.send_signal(signal.SIGHUP)
                wait_for(lambda: "policy reloaded" in said(), 10, "the reload")
                self.ok(cli("events", bottle.name))
                self.assertEqual(said().count("control socket"), 1)
            finally:
                again.kill()
                again.wait()

    def start_again(self, bottle):
        """Its process anew, on the wall that stands; not waited for."""
        bottle.process.terminate()
        bottle.process.wait(15)
        with open(bottle.err_path, "a", encoding="utf-8") as err:
            bottle.process = subprocess.Popen(bottle.command(), stdin=subprocess.DEVNULL,
                                              stdout=err, stderr=err,
                                              env=harness.environment(),
                                              preexec_fn=w.die_with_parent)

    def test_sigterm_during_the_start_is_heard(self):
        bottle = Bottle()
        self.addCleanup(bottle.stop)
        self.start_again(bottle)
        # Without a pause: in the 20 ms of wait_for() it may be ready, and the self-test under way.
        while not children(bottle.process.pid) and bottle.process.poll() is None:
            pass
        os.kill(children(bottle.process.pid)[0], signal.SIGSTOP)
        bottle.process.terminate()
        bottle.process.wait(20)
        self.assertIn("told to end before the worker was ready", bottle.errors())
        self.assertEqual(cli("status", bottle.name).returncode, 0)  # the wall was there before

    def test_sigterm_during_the_self_test_is_heard(self):
        """In a cgroup that is frozen the self-test's process does not come to its end."""
        bottle = Bottle()
        self.addCleanup(bottle.stop)
        bottle.freeze(True)
        self.addCleanup(bottle.freeze, False)
        processes = os.path.join(bottle.cgroup, "cgroup.procs")
        before = harness.read(processes)
        self.start_again(bottle)
        wait_for(lambda: harness.read(processes) != before)
        bottle.process.terminate()
        bottle.process.wait(20)
        self.assertIn("told to end before the wall was tested", bottle.errors())
        self.assertEqual(cli("status", bottle.name).returncode, 0)

    def test_worker_that_does_not_start(self):
        """It has no successor then, and no wall stands: none is promised. Root reads those roots, the
        worker's user does not."""
        roots = harness.world.path("roots-of-root.pem")
        shutil.copy(harness.world.path("test-ca.pem"), roots)
        os.chmod(roots, 0o600)
        place = os.path.join(harness.world.cgroup, "unstarted")
        os.mkdir(place)
        self.addCleanup(w.remove_cgroup, place)
        name = f"e2e-unstarted-{os.getpid()}"
        authority = harness.world.path("unstarted-ca")
        self.ok(cli("ca", "init", authority))
        text = f"upstream: {{ca_file: {roots}}}\nroutes:{ONE_PATH}"
        result = cli("run", "--policy", write("unstarted.yaml", text), "--cgroup", place,
                     "--name", name, "--ca-dir", authority)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("the worker ended before it was ready", result.stderr)
        self.assertNotIn("stands", result.stderr)
        self.assertNotIn(name, pins())

    def test_our_own_cgroup_is_refused(self):
        """A wall round ourselves, or round the whole machine, would cut off the proxy first."""
        root = w.cgroup_root()
        place = os.path.join(harness.world.cgroup, "own")
        os.mkdir(place)
        self.addCleanup(w.remove_cgroup, place)

        def enter():
            with open(os.path.join(place, "cgroup.procs"), "w", encoding="utf-8") as file:
                file.write(str(os.getpid()))
        for target in (place, os.path.dirname(place)):
            self.assertTrue(target.startswith(root + "/"), target)
            result = subprocess.run([harness.world.program, "run", "--policy",
                                     write("own.yaml", policy()), "--cgroup", target, "--name",
                                     "e2e-own", "--ca-dir", harness.world.path("own-ca")],
                                    preexec_fn=enter, text=True, capture_output=True, timeout=30,
                                    check=False, env=harness.environment())
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn("egress-bpf itself", result.stderr)
            self.assertNotIn("e2e-own", pins())


class Inherited(Case):
    """What our own caller leaves us with: execve(2) hands it on."""

    def reloads_and_ends(self, leaving):
        bottle = Bottle(policy(ANY_PATH), wrapper=[harness.PYTHON, "-c", "import os, signal, sys; "
                                                   f"{leaving}; os.execv(sys.argv[1], sys.argv[1:])"])
        self.addCleanup(bottle.stop)
        bottle.reload(policy(ANY_PATH + OTHER_HOST))
        wait_for(lambda: "policy reloaded" in bottle.errors(), 15, "a reload")
        bottle.process.terminate()
        self.assertEqual(bottle.process.wait(15), 0)

    def test_blocked_signals(self):
        self.reloads_and_ends("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))")

    def test_nohup(self):
        """The end of its terminal ends it neither way: SIGHUP reads the policy again."""
        self.reloads_and_ends("signal.signal(signal.SIGHUP, signal.SIG_IGN)")


class Reload(Case):
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(self.bottle.stop)
        self.assertEqual(fetch(self.bottle, "/echo"), "200")

    def stopped_successor(self):
        """Kills the worker; the next one, stopped before it is ready."""
        old = self.bottle.worker()
        os.kill(old, signal.SIGKILL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for pid in children(self.bottle.process.pid):
                if pid != old and alive(pid):
                    os.kill(pid, signal.SIGSTOP)
                    return pid
        raise AssertionError("no new worker")

    def reloaded(self):
        return "policy reloaded" in self.bottle.errors()

    def test_a_pipe_that_nobody_writes_to(self):
        """The thread that reads it must come back, or neither a reload nor the end ever would."""
        os.remove(self.bottle.policy_path)
        os.mkfifo(self.bottle.policy_path)
        self.bottle.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "a pipe that nothing comes out of" in self.bottle.errors(), 15, "a word")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")
        self.bottle.process.terminate()
        self.assertEqual(self.bottle.process.wait(15), 0)

    def test_told_to_end_meanwhile(self):
        """The worker says that it has the new policy when the supervisor is about to end."""
        # What is freed turns into another value: it must not be used any more.
        bottle = Bottle(policy(ANY_PATH + OTHER_HOST), env={"MALLOC_PERTURB_": "99"})
        self.addCleanup(bottle.stop)
        worker = bottle.worker()
        # A request that the worker waits for before it ends, so that it goes on with the rest as well.
        slow = bottle.popen([harness.PYTHON, "-c", SLOW, bottle.certificate], stdout=subprocess.PIPE)
        self.addCleanup(slow.communicate)
        self.assertEqual(slow.stdout.readline(), "begun\n")
        address = self.ok(bottle.python("import socket; print(socket.gethostbyname('api.example.test'))"))
        connect = ("import socket, sys; socket.create_connection((sys.argv[1], 443), 5).close()",
                   address.strip())
        self.ok(bottle.python(*connect))
        os.kill(worker, signal.SIGSTOP)
        bottle.reload(policy(OTHER_HOST))
        wait_for(lambda: bottle.python(*connect).returncode != 0, 20, "the kernel to have it")
        threads = f"/proc/{bottle.process.pid}/task"
        self.assertEqual(len(os.listdir(threads)), 2)
        bottle.process.terminate()
        wait_for(lambda: len(os.listdir(threads)) == 1, 10, "the end of the thread that reads policies")
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(bottle.process.wait(20), 0)
        self.assertEqual(slow.stdout.readline(), "200\n")

    def test_while_a_worker_starts(self):
        """That worker was given the old policy: it must not go on with it."""
        for _ in range(3):
            worker = self.stopped_successor()
            self.bottle.reload(policy(ONE_PATH))
            time.sleep(0.2)
            os.kill(worker, signal.SIGCONT)
            wait_for(self.reloaded, 10, "the reload")
            self.assertEqual(fetch(self.bottle, "/status/200"), "200")
            self.assertEqual(fetch(self.bottle, "/echo"), "403")
            open(self.bottle.err_path, "w", encoding="utf-8").close()
            self.bottle.reload(policy(ANY_PATH))
            wait_for(self.reloaded, 10, "the way back")
            open(self.bottle.err_path, "w", encoding="utf-8").close()

    def test_refused_by_the_worker_is_forgotten(self):
        self.bottle.reload(BROKEN_ROOTS)
        wait_for(lambda: "stays in force" in self.bottle.errors(), 10, "the refusal")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")
        old = self.bottle.worker()
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: self.bottle.workers() not in ([], [old]), 10, "a new worker")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")

    def test_worker_cannot_start_with_it(self):
        """A policy that no worker starts with must not end the service."""
        worker = self.stopped_successor()
        os.kill(worker, signal.SIGKILL)
        self.bottle.reload(BROKEN_ROOTS)
        wait_for(lambda: "stays in force" in self.bottle.errors(), 15, "the refusal")
        self.assertEqual(fetch(self.bottle, "/echo"), "200")

    def test_bottle_cannot_delay_it(self):
        """A flood of refusals is work that must not keep the supervisor from all else."""
        flood = self.bottle.popen([harness.PYTHON, "-c", """if 1:
            import os, socket
            for _ in range(3):
                os.fork()
            print("up", flush=True)
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            while True:
                try:
                    s.sendto(b"x", ("203.0.113.2", 9))
                except OSError:
                    pass"""], stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(lambda: (flood.kill(), flood.communicate()))
        self.addCleanup(lambda: w.sh(f"echo 1 > {self.bottle.cgroup}/cgroup.kill || true"))
        flood.stdout.readline()
        time.sleep(0.5)
        self.bottle.reload(policy(ONE_PATH))
        wait_for(self.reloaded, 15, "a reload under a flood of refusals")


class Given(Case):
    """What a worker inherits, and what the outside sees of our processes."""

    def setUp(self):
        super().setUp()
        self.secret = open(write("other-secret", "not the worker's"), encoding="utf-8")
        self.addCleanup(self.secret.close)
        os.set_inheritable(self.secret.fileno(), True)
        self.bottle = Bottle(close_fds=False)
        self.addCleanup(self.bottle.stop)

    def test_descriptors(self):
        worker = self.bottle.worker()
        held = {int(n): os.readlink(f"/proc/{worker}/fd/{n}")
                for n in os.listdir(f"/proc/{worker}/fd")}
        allowed = re.compile(r"socket:|anon_inode:bpf-map|anon_inode:\[eventpoll\]|/dev/null"
                             r"|anon_inode:\[eventfd\]|/memfd:egress-bpf|pipe:")
        for fd, target in held.items():
            if target not in (self.bottle.log_path, self.bottle.err_path):
                self.assertRegex(target, allowed, f"descriptor {fd}")
        self.assertEqual(held[0], "/dev/null")
        self.assertEqual(held[1], "/dev/null")

    def status(self, pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def test_worker_is_nobody(self):
        worker = self.bottle.worker()
        status = self.status(worker)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertEqual(status["Groups"].strip(), "")
        self.assertNotIn("0", status["Uid"].split() + status["Gid"].split())
        self.assertEqual(status["NoNewPrivs"], "1")
        with open(f"/proc/{worker}/stat", encoding="utf-8") as file:
            session, terminal = file.read().rpartition(")")[2].split()[3:5]
        self.assertEqual((session, terminal), (str(worker), "0"))

    def test_memory_is_guarded(self):
        for pid in (self.bottle.process.pid, self.bottle.worker()):
            # Files of what is not dumpable belong to root, whoever runs it.
            self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0)
            with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
                core = [line for line in file if line.startswith("Max core file size")][0]
            self.assertEqual(core.split()[4:6], ["0", "0"])
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                self.assertNotIn(harness.MARK, file.read())
        with open(f"/proc/{self.bottle.worker()}/environ", encoding="utf-8") as file:
            self.assertEqual(file.read(), "")

    def test_our_ports_are_reserved(self):
        """Else the bottle's connections could take them while we are away."""
        with w.InNamespace(self.bottle.netns, harness.world.home):
            with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="utf-8") as file:
                self.assertIn("9099", file.read().strip().split(","))


class Endurance(Case):
    def setUp(self):
        super().setUp()
        self.bottle = Bottle(policy(ANY_PATH))
        self.addCleanup(self.bottle.stop)

    def reload(self, text):
        before = self.bottle.errors().count("reload")
        self.bottle.reload(text)
        wait_for(lambda: self.bottle.errors().count("reload") > before, 10, "the reload")

    @measures
    def test_descriptors_and_memory_do_not_pile_up(self):
        """Reloads that work, are refused by the parser, by the worker, and workers that die."""
        pid = self.bottle.process.pid

        def round_of_everything():
            for text in (policy(ONE_PATH), "routes: 5\n", BROKEN_ROOTS, policy(ANY_PATH)):
                self.reload(text)
            old = self.bottle.worker()
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: self.bottle.workers() not in ([], [old]), 10, "a new worker")
            self.assertEqual(fetch(self.bottle, "/echo"), "200")
        round_of_everything()
        self.bottle.settle()
        held, size = os.listdir(f"/proc/{pid}/fd"), harness.memory_kib(pid)
        for _ in range(8):
            round_of_everything()
        # Not at once: who died a moment ago may still be known.
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) == len(held), 5,
                 lambda: f"descriptors: {len(held)} before, {os.listdir(f'/proc/{pid}/fd')}")
        self.assertLess(harness.memory_kib(pid), size + 1024)

    def test_storm_of_signals(self):
        """SIGHUP all the time, workers killed in between: the last word holds."""
        for i in range(60):
            write(os.path.basename(self.bottle.policy_path),
                  policy(ONE_PATH if i % 2 else ANY_PATH))
            self.bottle.process.send_signal(signal.SIGHUP)
            if i % 12 == 0:
                for pid in self.bottle.workers():
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        wait_for(lambda: fetch(self.bottle, "/echo") == "403", 20, "the last policy")
        self.assertEqual(fetch(self.bottle, "/status/200"), "200")

    def remove_cgroup(self):
        self.bottle.holder.kill()
        self.bottle.holder.wait()
        w.remove_cgroup(self.bottle.cgroup)

    def test_cgroup_removed_when_we_are_dead(self):
        """Nothing is walled any more: status must say so, and detach clears up."""
        self.bottle.process.kill()
        self.bottle.process.wait()
        self.remove_cgroup()
        # The links may stay for as long as a socket of the cgroup lives.
        status = cli("status", self.bottle.name)
        self.assertEqual(status.returncode, 1, status.stdout)
        self.assertIn("cgroup is gone", status.stdout)
        self.assertEqual(cli("detach", self.bottle.name).returncode, 0)
        self.assertNotIn(self.bottle.name, pins())

    def test_cgroup_removed(self):
        """The bottle has ended: we end, too, and leave nothing."""
        self.remove_cgroup()
        self.assertEqual(self.bottle.process.wait(15), 0, self.bottle.errors())
        self.assertIn("the bottle's cgroup is gone", self.bottle.errors())
        self.assertNotIn(self.bottle.name, pins())

    def test_cgroup_made_anew(self):
        """Another cgroup of the same name is another bottle."""
        self.bottle.holder.kill()
        self.bottle.holder.wait()
        wait_for(lambda: not w.cgroup_pids(self.bottle.cgroup), 5, "an empty cgroup")
        os.rmdir(self.bottle.cgroup)
        os.mkdir(self.bottle.cgroup)
        self.assertEqual(self.bottle.process.wait(15), 0, self.bottle.errors())
        self.assertNotIn(self.bottle.name, pins())


class Destroyed(BottleCase):
    """SOCK_DESTROY of sock_diag(7), by root that has CAP_NET_ADMIN over the bottle's namespace."""

    def destroy(self):
        """With the supervisor's next pulse they listen again, which may come before we have looked."""
        code = "ss -K state listening > /dev/null; ss -u -a -K > /dev/null; ss -tlnH"
        wait_for(lambda: self.ok(self.bottle.run(["sh", "-c", code], root=True)) == "", 10,
                 "no listening socket")

    def ask(self):
        return self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}", "https://api.example.test/echo")

    def test_listening_sockets(self):
        worker = self.bottle.worker()
        for _ in range(2):
            self.destroy()
            self.assertLess(harness.runnable(worker, 1), 0.5)
            wait_for(lambda: self.ask().stdout == "200", 10, lambda: f"an answer; {self.bottle.errors()}")
        self.assertEqual(self.bottle.worker(), worker)
        self.assertEqual(self.bottle.errors().count("was closed from within the bottle"), 1)


class LogPipe(Case):
    def test_reader_that_dies(self):
        """The log's reader is not what decides whether the bottle is served."""
        read_end, write_end = os.pipe()
        bottle = Bottle(policy(ANY_PATH), options=["--log", "-"], stdout=write_end)
        self.addCleanup(bottle.stop)
        os.close(write_end)
        self.assertEqual(fetch(bottle, "/echo"), "200")
        self.assertIn(b'"verdict"', os.read(read_end, 65536))
        os.close(read_end)
        for _ in range(3):
            self.assertEqual(fetch(bottle, "/echo"), "200")
            self.assertNotEqual(bottle.python("import socket; socket.create_connection("
                                              "('203.0.113.2', 9))").returncode, 0)
        self.assertIsNone(bottle.process.poll())


class LogOnAFullDisk(Case):
    def test_told_and_counted(self):
        """Service goes on, and who looks reads that records are missing."""
        disk = harness.world.path("small-disk")
        os.mkdir(disk)
        w.mount("tmpfs", disk, "tmpfs")
        self.addCleanup(w.sh, f"umount -l {disk}")
        bottle = Bottle(policy(ANY_PATH), options=["--log", disk + "/log"])
        self.addCleanup(bottle.stop)
        self.assertEqual(fetch(bottle, "/echo"), "200")
        w.sh(f"mount -o remount,size=64k {disk}; head -c 1M /dev/zero > {disk}/filler || true")
        # What is left of the last page takes a few.
        for _ in range(40):
            self.assertEqual(fetch(bottle, "/echo"), "200")
        self.assertEqual(bottle.errors().count("the log cannot be written (No space left on device)"), 1)
        self.assertRegex(self.ok(cli("status", bottle.name)), r"\n  log     \d+ records LOST")
        self.assertRegex(self.ok(cli("metrics", bottle.name)), r"\negress_log_lost_records_total\{.*\} [1-9]")
        os.remove(disk + "/filler")
        self.assertEqual(fetch(bottle, "/echo"), "200")
        wait_for(lambda: "the log is written again" in bottle.errors(), 5, "a word")
        with open(disk + "/log", encoding="utf-8") as file:
            self.assertIn('"lost":', file.read())


class FewDescriptors(Case):
    def test_start(self):
        """Said at once and in those words, not by whatever happens to fail first; and as few as it says do."""
        few = lambda count: ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh"]
        for count in (20, 127):
            result = harness.run_exec_under(few(count), ["true"])
            self.assertEqual((result.returncode, result.stdout, result.stderr),
                             (125, "", f"egress-bpf: {count} files may be open at once (ulimit -n): at least "
                              "128 are needed\n"))
        bottle = Bottle(wrapper=few(128))
        self.addCleanup(bottle.stop)
        self.ok(bottle.curl("https://api.example.test/echo"))


class Control(Case):
    def test_its_socket_is_deleted(self):
        """Nobody could ask any more: it is made again, and who follows stays."""
        bottle = Bottle()
        self.addCleanup(bottle.stop)
        path = f"/run/egress-bpf/{bottle.name}.sock"
        following = Follower(bottle, "--since", "1h")
        self.addCleanup(following.end)
        for host in ("one", "two"):
            bottle.curl(f"https://{host}.unheard-of.test/")
            wait_for(lambda: f"{host}.unheard-of" in following.text(), 10, "its line")
            if host == "one":
                os.unlink(path)
                wait_for(lambda: os.path.exists(path), 10, "the socket")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.ok(cli("events", bottle.name))
        self.assertEqual(bottle.errors().count("was deleted"), 1)

    def test_no_descriptor_for_who_asks(self):
        """The supervisor does not spin while somebody waits whom it cannot accept, and answers later."""
        bottle = Bottle()
        self.addCleanup(bottle.stop)
        pid = bottle.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX) as asking:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, limits[1]))
            asking.settimeout(10)
            asking.connect(f"/run/egress-bpf/{bottle.name}.sock")
            asking.sendall(b'{"command":"status"}\n')
            self.assertLess(harness.runnable(pid, 1), 0.7)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            self.assertIn(b'{', asking.recv(1 << 20))


class Unprivileged(Case):
    def test_status_says_that_it_cannot_see(self):
        """'No bottle has a wall' would be false."""
        bottle = Bottle()
        self.addCleanup(bottle.stop)

        def nobody():
            os.setgroups([])
            os.setgid(harness.UID)
            os.setuid(harness.UID)
        result = cli("status", preexec_fn=nobody)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("root", result.stderr)
