# SPDX-License-Identifier: BSD-2-Clause
"""What `exec`'s launcher leaves alone: builds, servers of one's own, debuggers; and what it lets in
when asked."""
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import unittest

import harness
from harness import Case, PYTHON, UID, run_exec


def project(name, files):
    """A directory of `files` that the bottle's user may write to."""
    top = os.path.join(harness.world.path("home"), name)
    for path, text in files.items():
        path = os.path.join(top, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    for directory, _, _ in os.walk(top):
        os.chmod(directory, 0o777)
    return top


class Builds(Case):
    def script(self, text, *options, **more):
        return self.ok(run_exec(["sh", "-ec", text], *options, timeout=120, **more))

    def test_make_in_parallel(self):
        files = {f"f{i}.c": f"int f{i}(void) {{ return {i}; }}\n" for i in range(24)}
        calls = "+".join(f"f{i}()" for i in range(24))
        declared = "".join(f"int f{i}(void);" for i in range(24))
        files["main.c"] = ("#include <stdio.h>\n" + declared +
                           f"int main(void) {{ printf(\"%d\\n\", {calls}); return 0; }}\n")
        files["Makefile"] = ("O := $(patsubst %.c,%.o,$(wildcard *.c))\n"
                             "sum: $O\n\tcc -o $@ $^\n%.o: %.c\n\tcc -c -o $@ $<\n")
        top = project("parallel", files)
        out = self.script(f"cd {top} && make -s -j4 && ./sum")
        self.assertEqual(out.split()[-1], str(sum(range(24))))

    @unittest.skipUnless(shutil.which("npm"), "npm is not installed")
    def test_npm_ci(self):
        top = project("npm", {
            "package.json": '{"name":"app","version":"1.0.0","dependencies":{"dep":"file:dep"},'
                            '"scripts":{"postinstall":"echo ran > installed"}}',
            "package-lock.json": '{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{'
                                 '"":{"name":"app","version":"1.0.0","hasInstallScript":true,'
                                 '"dependencies":{"dep":"file:dep"}},"dep":{"version":"1.0.0"},'
                                 '"node_modules/dep":{"resolved":"dep","link":true}}}',
            "dep/package.json": '{"name":"dep","version":"1.0.0","main":"index.js"}',
            "dep/index.js": "module.exports = () => 'from dep';\n"})
        out = self.script(f"cd {top} && npm ci --no-audit --no-fund --loglevel=error && "
                          "node -p 'require(\"dep\")()' && cat installed")
        self.assertEqual(out.split("\n")[-3:-1], ["from dep", "ran"])

    @unittest.skipUnless(os.access("/usr/bin/pip3", os.X_OK), "pip is not installed")
    def test_pip_install(self):
        top = project("pip", {
            "setup.py": "from setuptools import setup\n"
                        "setup(name='tiny', version='1', py_modules=['tiny'])\n",
            "tiny.py": "print('tiny is here')\n"})
        out = self.script(f"cd {top} && pip3 install -q --no-index --no-build-isolation --no-deps "
                          f"--target=out . >&2 && PYTHONPATH=out {PYTHON} -c 'import tiny'")
        self.assertEqual(out, "tiny is here\n")

    @unittest.skipUnless(shutil.which("go"), "go is not installed")
    def test_go_build(self):
        top = project("go-tiny", {
            "go.mod": "module tiny\n\ngo 1.19\n",
            "main.go": "package main\n\nfunc main() {\n\tc := make(chan int)\n"
                       "\tfor i := 0; i < 50; i++ {\n\t\tgo func(n int) { c <- n }(i)\n\t}\n"
                       "\tsum := 0\n\tfor i := 0; i < 50; i++ {\n\t\tsum += <-c\n\t}\n"
                       "\tprintln(sum)\n}\n"})
        # Shared with the other tests of this build directory: the library is compiled once.
        cache = os.path.join(top, "cache")
        self.assertIn("1225", self.script(
            f"cd {top} && GOCACHE={cache} GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local "
            "CGO_ENABLED=0 go build -o tiny . && ./tiny 2>&1"))

    @unittest.skipUnless(shutil.which("javac"), "no JDK is installed")
    def test_java_compile_and_run(self):
        top = project("java", {
            "Tiny.java": "import java.util.stream.*;\npublic class Tiny {\n"
                         "  public static void main(String[] a) {\n"
                         "    System.out.println(IntStream.range(0, 1000).parallel().sum());\n"
                         "    var bean = java.lang.management.ManagementFactory.getOperatingSystemMXBean();\n"
                         "    var own = (com.sun.management.OperatingSystemMXBean) bean;\n"
                         "    System.out.println(own.getTotalMemorySize() > 0);\n"
                         "  }\n}\n"})
        self.assertEqual(self.script(f"cd {top} && javac Tiny.java && java -cp . Tiny"),
                         "499500\ntrue\n")

    def test_no_trace_of_cgroups(self):
        """Java, and others that ask what they may use, take what mountinfo lists for their own."""
        out = self.script("cat /proc/self/mountinfo")
        self.assertRegex(out, r" /sys [^\n]* sysfs ")
        self.assertNotRegex(out, r"(?m) - (cgroup2?|bpf|debugfs|tracefs) ")

    def test_python_multiprocessing_and_threads(self):
        top = project("python", {"work.py": """
import concurrent.futures as f, multiprocessing as m, threading
def square(n):
    return n * n
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with m.get_context(method).Pool(3) as pool:
            print(method, sum(pool.map(square, range(100))))
    with f.ThreadPoolExecutor(8) as pool:
        print("threads", sum(pool.map(square, range(100))))
    q = m.get_context("spawn").Manager().Queue()
    q.put(7)
    print("manager", q.get())
"""})
        out = self.script(f"cd {top} && {PYTHON} work.py")
        self.assertEqual(out, "fork 328350\nspawn 328350\nforkserver 328350\nthreads 328350\n"
                              "manager 7\n")

    def test_node_workers_and_children(self):
        code = """
const {Worker} = require("worker_threads"), {fork, execFileSync} = require("child_process");
let left = 4, sum = 0;
for (let i = 0; i < 4; i++)
  new Worker("require('worker_threads').parentPort.postMessage(" + i + " * 10)", {eval: true})
    .on("message", n => { sum += n; if (--left === 0)
      console.log(sum, execFileSync("echo", ["child"]).toString().trim()); });
"""
        self.assertEqual(self.ok(run_exec(["node", "-e", code])), "60 child\n")

    def test_server_of_its_own(self):
        code = """
import http.server, threading, urllib.request, socket
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"mine")
    def log_message(self, *a): pass
for host, url in (("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("0.0.0.0", "127.9.9.9")):
    s = http.server.ThreadingHTTPServer((host, 0), H)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    print(urllib.request.urlopen(f"http://{url}:{s.server_port}/").read().decode())
s = socket.socket(socket.AF_INET6); s.bind(("::1", 0)); s.listen()
c = socket.create_connection(s.getsockname()[:2]); print("six")
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b"udp", u.getsockname())
print(u.recv(9).decode())
"""
        self.assertEqual(self.ok(run_exec([PYTHON, "-c", code])).split(),
                         ["mine", "mine", "mine", "six", "udp"])

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_strace(self):
        out = self.script("cd $(mktemp -d) && strace -f -e trace=execve,write -o trace "
                          "sh -c 'echo traced; :' && cat trace && rm -r $PWD")
        self.assertRegex(out, r'execve\(".*sh"')
        self.assertRegex(out, r'write\(1, "traced\\n", 7\) += 7')

    @unittest.skipUnless(shutil.which("gdb"), "gdb is not installed")
    def test_gdb(self):
        top = project("gdb", {"a.c": "int number = 40;\nint main(void) { number += 2; return 0; }\n"})
        out = self.script(f"cd {top} && cc -g -o a a.c && gdb -nx -batch -ex 'break main' -ex run "
                          "-ex next -ex 'print number' ./a")
        self.assertIn("$1 = 42", out)


class HostSockets(Case):
    """A socket at a path on the host, answering "host"."""

    def setUp(self):
        super().setUp()
        self.path = harness.world.path("host.sock")
        self.server = subprocess.Popen(
            [PYTHON, "-c", "import os, socket, sys\n"
             "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777)\n"
             "s.listen()\n"
             "while True: s.accept()[0].send(b'host')", self.path], stdin=subprocess.DEVNULL)
        harness.wait_for(lambda: self.ask_here() == "host", what="the socket")

    def tearDown(self):
        self.server.kill()
        self.server.wait()
        os.unlink(self.path)

    def ask_here(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.recv(9).decode() if s.connect_ex(self.path) == 0 else None

    def ask_inside(self, *options, **more):
        code = ("import socket, sys\n"
                "s = socket.socket(socket.AF_UNIX)\n"
                "print(s.connect_ex(sys.argv[1]) or s.recv(9).decode())")
        return self.ok(run_exec([PYTHON, "-c", code, self.path], *options, **more)).strip()

    def test_out_of_reach(self):
        self.assertEqual(self.ask_inside(), "111")
        self.assertEqual(self.ask_inside(root=True), "111")

    def test_let_in(self):
        self.assertEqual(self.ask_inside("--bind-socket", self.path), "host")

    def test_usage(self):
        for path, said in (("/etc/passwd", "not a unix socket"), ("/nonexistent", "No such file")):
            result = run_exec(["true"], "--bind-socket", path)
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"--bind-socket {path}: {said}", result.stderr)


class OtherKernels(Case):
    """Exec in a mount namespace whose machine looks different."""

    def run_in(self, setup, command, *options):
        os.makedirs(harness.world.path("home"), exist_ok=True)
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", setup + "\nexec \"$@\"",
             "sh", *harness.exec_command(command, *options)], text=True, capture_output=True,
            check=False, stdin=subprocess.DEVNULL, timeout=60, env=harness.environment(), cwd="/")

    # Linux 6.7 has programs on the cgroup for unix sockets, which need no BTF.
    BROKER = tuple(int(x) for x in os.uname().release.split(".")[:2]) >= (6, 7)
    NO_BTF = "! test -e /sys/kernel/btf/vmlinux || mount --bind /dev/null /sys/kernel/btf/vmlinux"

    def test_no_wall_for_unix_sockets(self):
        said = "unix sockets that are bound outside later are not refused"
        loud = self.run_in(self.NO_BTF, ["true"])
        self.assertEqual((loud.returncode, loud.stderr.count(said)), (0, 0 if self.BROKER else 1),
                         loud.stderr)
        quiet = self.run_in(self.NO_BTF, ["true"], "-q")
        self.assertEqual((quiet.returncode, quiet.stderr), (0, ""))

    def test_no_wall_for_unix_sockets_but_required(self):
        pins = harness.pins()
        result = self.run_in(self.NO_BTF, ["echo", "ran"], "--require", "unix")
        if self.BROKER:
            self.assertEqual((result.returncode, result.stdout), (0, "ran\n"), result.stderr)
            return
        self.assertEqual((result.returncode, result.stdout), (125, ""), result.stderr)
        self.assertIn("no wall for unix sockets: this kernel", result.stderr)
        self.assertLessEqual(set(harness.pins()), set(pins))

    def test_what_this_kernel_can(self):
        """Both forms agree: it is required and there, or missing and told."""
        required = run_exec(["true"], "--require", "unix")
        plain = run_exec(["true"])
        missing = "unix sockets that are bound outside later are not refused" in plain.stderr
        self.assertEqual((plain.returncode, required.returncode), (0, 125 if missing else 0),
                         required.stderr)

    def test_usage(self):
        result = run_exec(["true"], "--require", "everything")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--require: 'unix' is all there is to require, not 'everything'", result.stderr)

    def test_network_devices(self):
        """RDMA and vsock for virtual machines, open to everybody as udev has it: no socket is made there."""
        dev = harness.world.path("dev")
        os.makedirs(dev)
        setup = (f"mount -t tmpfs dev {dev}; cp -a /dev/null /dev/zero /dev/urandom {dev}; cd {dev};"
                 "mkdir infiniband vfio; for name in infiniband/uverbs0 vfio/vfio vhost-net vhost-vsock; do "
                 "mknod -m 666 $name c 1 5; done; cd /; mount --move " + dev + " /dev")
        command = ["sh", "-c", "cd /dev; for name in zero infiniband/* vfio/* vhost-net vhost-vsock; do "
                   "head -c 1 $name 2> /dev/null | wc -c; done"]
        for options in ((), ("--user", "nobody")):
            result = self.run_in(setup, command, *options)
            self.assertEqual(result.stdout.split(), ["1", "0", "0", "0", "0"], result.stderr)

    def test_proc_and_sys_of_a_chroot(self):
        """They show the host's processes, whose memory and sockets are outside."""
        top = harness.world.path("chroot")
        os.makedirs(os.path.join(top, "proc"))
        os.makedirs(os.path.join(top, "sys"))
        result = self.run_in(f"mount -t proc proc {top}/proc; mount -t sysfs sys {top}/sys; "
                             f"mount --bind /proc/sys {top}/sys",
                             ["sh", "-c", f"ls {top}/proc {top}/sys; test -d /proc/self && "
                                          "test -d /sys/class/net/lo && ls /proc/sys/kernel/ostype"],
                             "-q")
        self.assertEqual(result.stdout.split(), [f"{top}/proc:", f"{top}/sys:",
                                                 "/proc/sys/kernel/ostype"], result.stderr)


class Who(Case):
    SHOW = ["sh", "-c", "id -u; id -g; echo $HOME $USER $LOGNAME $SHELL; pwd; grep Groups: "
                        "/proc/self/status; echo ${SUDO_USER-none}"]

    def test_root_names_a_user(self):
        out = self.ok(run_exec(self.SHOW, "--user", "daemon", root=True)).splitlines()
        entry = subprocess.run(["getent", "passwd", "daemon"], capture_output=True, text=True,
                               check=True).stdout.strip().split(":")
        self.assertEqual(out[:3], [entry[2], entry[3],
                                   f"{entry[5]} daemon daemon {entry[6]}"])
        self.assertEqual(out[3], harness.world.path("home"))
        self.assertEqual(out[4].split()[1:], [entry[3]])

    def test_number_without_an_entry(self):
        out = self.ok(run_exec(self.SHOW, "--user", str(UID + 1), root=True)).splitlines()
        self.assertEqual(out[:2], [str(UID + 1)] * 2)
        self.assertEqual(out[2].split()[0], harness.world.path("home"))

    def test_user_beats_sudo(self):
        out = self.ok(run_exec(self.SHOW, "--user", "daemon", env={"SUDO_USER": "somebody"}))
        self.assertEqual(out.split()[0], "1")
        self.assertEqual(out.splitlines()[-1], "none")

    def test_root_stays_root_without_privileges(self):
        out = self.ok(run_exec(["sh", "-c", "id -u; grep CapEff /proc/self/status; "
                                            "mount -t tmpfs x /mnt 2>/dev/null || echo refused"],
                               root=True))
        self.assertEqual(out.split(), ["0", "CapEff:", "0000000000000000", "refused"])

    def test_unknown_user(self):
        result = run_exec(["true"], "--user", "no-such-user", root=True)
        self.assertEqual(result.returncode, 125)
        self.assertIn("there is no user 'no-such-user'", result.stderr)

    def test_name_of_the_locks(self):
        """Files of ours lie beside the directories of the bottles: no NAME is one of theirs."""
        self.ok(run_exec(["true"]))
        result = run_exec(["echo", "ran"], "--name", "execs")
        self.assertEqual(self.ok(result), "ran\n")

    def test_name_of_a_file_of_ours(self):
        """Refused before anything is made, and by its name: not a mount that fails."""
        result = run_exec(["true"], "--name", "worker-uids")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("--name: 'worker-uids' is a file of egress-bpf's own", result.stderr)

    def test_name_of_the_socket_of_another(self):
        """Its directory would lie where a bottle 'x' is asked: that one could not be, or this not begin."""
        result = run_exec(["true"], "--name", "x.sock")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("--name: 'x.sock' is where a bottle 'x' is asked: no NAME of exec ends in '.sock'",
                      result.stderr)
        self.ok(run_exec(["true"], "--name", "x.socket"))


class Inherited(Case):
    """What our own caller leaves us with, and forgets."""

    def test_ignored_children(self):
        """With SIGCHLD ignored the kernel reaps by itself, and nobody would be told that COMMAND ended."""
        ignoring = ("import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
                    "os.execvp(sys.argv[1], sys.argv[1:])")
        result = harness.run_exec_under([PYTHON, "-c", ignoring], ["sh", "-c", "exit 3"])
        self.assertEqual(result.returncode, 3, result.stderr)

    def test_blocked_signals(self):
        """Blocked by our caller, what ends `exec` would not reach it. COMMAND has the caller's mask."""
        waiting = ("import signal; signal.alarm(30); "
                   "print(*sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))), flush=True); "
                   "raise SystemExit(int(signal.sigwait([signal.SIGTERM, signal.SIGALRM])))")
        blocked = sorted([signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGTERM])
        blocking = (f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {list(map(int, blocked))}); "
                    "os.execv(sys.argv[1], sys.argv[1:])")
        os.makedirs(harness.world.path("home"), exist_ok=True)
        with subprocess.Popen(
                [PYTHON, "-c", blocking, *harness.exec_command([PYTHON, "-c", waiting])],
                text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                cwd=harness.world.path("home"),
                env=harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID))) as process:
            mask = process.stdout.readline().split()
            process.terminate()
            self.assertEqual(process.wait(60), signal.SIGTERM)
        self.assertEqual(mask, [str(int(number)) for number in blocked])

    def after_boot(self, script, *arguments):
        """Of a hardened machine: /run is empty, and root's umask is 077."""
        os.makedirs(harness.world.path("home"), exist_ok=True)
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
             "mount -t tmpfs -o mode=755 none /run; umask 077\n" + script, "sh", *arguments],
            text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
            env=harness.environment(), cwd="/")

    def test_strict_umask(self):
        """The command's user reads the roots where the variables say, whoever made /run/egress-bpf."""
        command = harness.exec_command(
            ["sh", "-c", "umask; ls /etc/ssl/certs >/dev/null && head -c 5 $SSL_CERT_FILE"],
            "--user", "daemon")
        for first in ("", "mkdir -m 700 /run/egress-bpf\n"):
            result = self.after_boot(first + 'exec "$@"', *command)
            self.assertEqual((result.returncode, result.stdout), (0, "0077\n-----"), result.stderr)

    def test_strict_umask_of_run(self):
        """The certificate is for all who are to trust it; the unit's umask is 0077."""
        result = self.after_boot(
            "mount -t tmpfs -o mode=755 none /var/lib\necho 'routes: []' >/run/p.yaml\n"
            "\"$1\" run --no-kernel --name umask --policy /run/p.yaml --listen 127.0.0.1:19471 "
            "--ready-file /run/ready & pid=$!\n"
            "while ! test -e /run/ready && kill -0 $pid; do sleep 0.05; done\n"
            "cd /var/lib/egress-bpf\nstat -c '%a %n' . umask umask/*\nkill $pid\nwait $pid\n",
            harness.exec_command(["true"])[0])
        self.assertEqual(result.stdout, "755 .\n755 umask\n644 umask/ca-cert.pem\n600 umask/ca.pem\n",
                         result.stderr)


class Directory:
    """As subprocess takes a file; Python opens no directory as one."""
    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def fileno(self):
        return self.descriptor

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)


class StandardStreams(Case):
    """Sockets that the caller gives: made outside, they are in its network namespace for ever."""
    CODE = ("import ctypes, os, socket, sys\n"
            "ctypes.CDLL(None).connect(0, ctypes.create_string_buffer(16), 16)\n"  # AF_UNSPEC
            "s = socket.socket(fileno=0)\n"
            "s.connect(('127.0.0.1', int(sys.argv[1])))\n"
            "s.send(b'out')\n")

    def run_with(self, stream, *command):
        with stream:
            return subprocess.run(harness.exec_command(command), text=True, capture_output=True,
                                  check=False, stdin=stream, timeout=60, cwd="/",
                                  env=harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID)))

    def assert_refused(self, stream, target):
        result = self.run_with(stream, PYTHON, "-c", self.CODE, str(target.getsockname()[1]))
        self.assertEqual(select.select([target], [], [], 0)[0], [], "it got out")
        self.assertEqual(result.returncode, 125, result.stderr)
        self.assertIn("standard stream 0 is a network socket", result.stderr)

    def test_network_sockets(self):
        with socket.create_server(("127.0.0.1", 0)) as caller, \
                socket.create_server(("127.0.0.1", 0)) as target:
            self.assert_refused(socket.create_connection(caller.getsockname()), target)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            self.assert_refused(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), target)

    def test_directories(self):
        """Of the caller's mounts: with what is hidden inside, and cgroupfs."""
        result = self.run_with(Directory("/"), "stat", "/proc/self/fd/0/etc")
        self.assertEqual((result.returncode, result.stdout), (125, ""), result.stderr)
        self.assertIn("standard stream 0 is a directory", result.stderr)

    def test_connected_unix_socket(self):
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(b"word\n")
            ours.shutdown(socket.SHUT_WR)
            self.assertEqual(self.ok(self.run_with(theirs, "cat")), "word\n")


class HostPorts(Case):
    """A service on the host's loopback, such as CI has."""
    SERVICE = ("import socketserver\n"
               "class H(socketserver.BaseRequestHandler):\n"
               "    def handle(self):\n"
               "        while (data := self.request.recv(65536)):\n"
               "            self.request.sendall(data.swapcase())\n"
               "class S(socketserver.ThreadingTCPServer): daemon_threads = True\n"
               "s = S(('127.0.0.1', 0), H)\n"
               "print(s.server_address[1], flush=True)\n"
               "s.serve_forever()")
    ASK = ("import socket, sys\n"
           "s = socket.socket(); s.settimeout(10)\n"
           "error = s.connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
           "if error: sys.exit(str(error))\n"
           "sent = b'x' * int(sys.argv[2])\n"
           "import threading\n"
           "threading.Thread(target=lambda: (s.sendall(sent), s.shutdown(1))).start()\n"
           "got = b''.join(iter(lambda: s.recv(65536), b''))\n"
           "print(len(got), got == sent.upper())")

    @classmethod
    def setUpClass(cls):
        cls.service = subprocess.Popen([PYTHON, "-c", cls.SERVICE], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.service.stdout.readline())

    @classmethod
    def tearDownClass(cls):
        cls.service.kill()
        cls.service.wait()
        cls.service.stdout.close()

    def ask(self, port, *options, size=4, **more):
        return run_exec([PYTHON, "-c", self.ASK, str(port), str(size)], *options, **more)

    def test_closed_by_default(self):
        result = self.ask(self.port)
        self.assertIn("111", result.stderr)

    def test_same_port(self):
        log = harness.world.path("host-port.log")
        result = self.ask(self.port, "--host-port", str(self.port), "--log", log)
        self.assertEqual(self.ok(result), "4 True\n")
        self.assertIn("1 allowed", result.stderr)
        with open(log, encoding="utf-8") as file:
            record = [json.loads(line) for line in file][-1]
        self.assertEqual({k: record.get(k) for k in ("source", "host", "port", "protocol", "reason")},
                         {"source": "proxy", "host": "host-loopback", "port": self.port,
                          "protocol": "tcp", "reason": "allowed"})
        self.assertEqual((record["bytes_up"], record["bytes_down"]), (4, 4))

    def test_other_port_and_several(self):
        options = ("--host-port", f"80:{self.port}", "--host-port", f"7777:{self.port}")
        self.assertEqual(self.ok(self.ask(80, *options)), "4 True\n")
        self.assertEqual(self.ok(self.ask(7777, *options)), "4 True\n")
        self.assertIn("111", self.ask(self.port, *options).stderr)

    def test_much(self):
        self.assertEqual(self.ok(self.ask(80, "--host-port", f"80:{self.port}", size=20000000)),
                         "20000000 True\n")

    def test_without_any_route(self):
        result = self.ask(80, "--host-port", f"80:{self.port}", policy_text=False)
        self.assertEqual(self.ok(result), "4 True\n")

    def test_nobody_there(self):
        log = harness.world.path("nobody.log")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            closed = s.getsockname()[1]
            result = self.ask(80, "--host-port", f"80:{closed}", "--log", log)
        self.assertNotIn("True", result.stdout)
        with open(log, encoding="utf-8") as file:
            self.assertIn('"reason":"upstream_unreachable"', file.read().replace('": "', '":"'))

    def test_usage(self):
        for text in ("0", "80:", "x", "70000"):
            result = run_exec(["true"], "--host-port", text)
            self.assertEqual(result.returncode, 2)
            self.assertIn("--host-port", result.stderr)
        many = [x for i in range(9) for x in ("--host-port", str(100 + i))]
        self.assertEqual(run_exec(["true"], *many).returncode, 2)

    def test_port_taken(self):
        result = run_exec(["true"], "--host-port", str(harness.PROXY_PORT))
        self.assertEqual(result.returncode, 125)
        self.assertIn("cannot listen on 127.0.0.1 port 9099", result.stderr)
