# SPDX-License-Identifier: BSD-2-Clause
"""Unix sockets inside of `exec`: what the kernel does is what a program sees, whether the kernel tells
the bottle's own from others by itself or a broker binds and connects them."""
import errno
import json
import os
import signal
import socket
import subprocess

import harness
from harness import Case, PYTHON, UID, run_exec, wait_for

PRELUDE = """
import errno, os, signal, socket, struct, sys, threading, time
S, D, Q = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
def new(kind=S): return socket.socket(socket.AF_UNIX, kind)
def bound(path, kind=S, backlog=8):
    s = new(kind); s.bind(path)
    if kind != D: s.listen(backlog)
    return s
def code(call, *arguments):
    try: call(*arguments)
    except OSError as e: return errno.errorcode[e.errno]
    return 'ok'
def cred(s): return struct.unpack('3i', s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
top = sys.argv[1]
os.chdir(top)
"""


class UnixSockets(Case):
    count = 0

    def directory(self):
        UnixSockets.count += 1
        top = harness.world.path(f"broker-{self.count}")
        os.mkdir(top)
        os.chmod(top, 0o777)
        return top

    def inside(self, text, *options, **more):
        top = self.directory()
        return self.ok(run_exec([PYTHON, "-c", PRELUDE + text, top], *options, **more))

    def agree(self, text):
        """The same within as without."""
        plain = subprocess.run([PYTHON, "-c", PRELUDE + text, self.directory()], text=True,
                               capture_output=True, check=True, timeout=60, user=UID, group=UID,
                               extra_groups=[])
        self.assertEqual(self.inside(text).replace("\n", " | "), plain.stdout.replace("\n", " | "))

    def test_who_calls(self):
        out = self.inside("""
server = bound('s'); client = new(); client.connect('s'); peer, _ = server.accept()
print(cred(peer)[1:], cred(client)[1:], client.getpeername(), peer.getsockname())""")
        self.assertEqual(out, f"({UID}, {UID}) ({UID}, {UID}) s s\n")

    def test_errors(self):
        self.agree("""
open('file', 'w').close(); os.mkdir('shut'); bound('shut/s'); os.chmod('shut', 0)
shut = bound('no'); os.chmod('no', 0); os.symlink('loop', 'loop'); bound('left').close()
s = bound('s'); d = bound('d', D); q = bound('q', Q)
for path in ('none', 'file', 'shut/s', 'no', 'loop', 'left', 'file/x', '', 'd', 's', top, 'x' * 107):
    print(path[:8], code(new().connect, path), code(new(Q).connect, path))
c = new(); c.connect('s'); print(code(c.connect, 's'))
for path in ('s', 'file', 'shut/x', 'none/x', 'file/x', 'loop', '/', 'x/', '.', 'y' * 107):
    print(path[:8], code(new().bind, path))
b = new(); b.bind('b1'); print(code(b.bind, 'b2'), os.path.exists('b2'))
import ctypes
libc, null, u = ctypes.CDLL(None, use_errno=True), os.open('/dev/null', os.O_RDONLY), new()
name = struct.pack('H', 1) + b'none'
for call in (libc.connect, libc.bind):
    for a in ((null, name, 6), (999, name, 6), (-1, name, 6), (u.fileno(), None, 6), (u.fileno(), name, -1),
              (u.fileno(), name * 40, 200), (u.fileno(), name * 40, 111), (u.fileno(), name, 1),
              (u.fileno(), struct.pack('H', 2) + b'none', 6), (u.fileno(), bytes(8), 8)):
        ctypes.set_errno(0); print(call(*a), errno.errorcode.get(ctypes.get_errno()))
""")

    def test_names(self):
        self.agree("""
long = 'd' * 100; os.mkdir(long); os.chdir(long); s = bound('../' + 's' * 60); os.chdir(top)
new().connect('s' * 60); fd = os.open(long, os.O_PATH)
new().connect(f'/proc/self/fd/{fd}/../' + 's' * 60)
e = bound(f'/proc/self/fd/{fd}/inner'); os.chdir(long); new().connect('inner'); os.chdir(top)
os.rename('s' * 60, 'moved'); new().connect('moved'); os.link('moved', 'hard'); new().connect('hard')
os.symlink('moved', 'soft'); new().connect('soft'); print(s.getsockname())
full = bound('f' * 107); new().connect('f' * 107)
a = bound('\\0abstract'); new().connect('\\0abstract')
auto = new(); auto.bind(''); print(len(auto.getsockname()))
os.unlink('moved'); os.unlink('hard'); print(code(new().connect, 'soft')); again = bound('moved')
new().connect('soft')""")

    def test_modes(self):
        self.agree("""
os.umask(0o027); s = bound('a'); print(oct(os.stat('a').st_mode), os.stat('a').st_uid == os.getuid())
t = new(); os.fchmod(t.fileno(), 0o600); t.bind('b'); print(oct(os.stat('b').st_mode))""")

    def test_modes_that_shut_out(self):
        """Given when it is bound, taken back afterwards; and nothing of it stays for the next."""
        self.agree("""
old = os.umask(0o777); s = new(); print(code(s.bind, top + '/u')); os.umask(old); s.listen()
os.chmod('u', 0o777); print(code(new().connect, 'u')); v = bound(top + '/v')
print(code(new().connect, top + '/v'))
s = new(); os.fchmod(s.fileno(), 0); s.bind('m'); s.listen(); os.chmod('m', 0o700)
print(code(new().connect, 'm')); os.mkdir('up'); bound('up/../w'); os.rmdir('up'); print(code(bound, 'up'))""")

    def test_few_descriptors(self):
        """Socket files take the broker's descriptors, but never the last ones."""
        text = """
rc = 'ok'; count = 0
while rc == 'ok' and count < 2000: rc = code(new().bind, f's{count}'); count += 1
print(count > 100, rc in ('ok', 'ENOBUFS'), code(socket.socket().connect, ('127.0.0.1', 1)))
for i in range(count - 1): os.unlink(f's{i}')
print(code(new().bind, 'again'))"""
        command = harness.exec_command([PYTHON, "-c", PRELUDE + text, self.directory()])
        result = subprocess.run(["prlimit", "--nofile=1024", *command], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, check=False, timeout=60,
                                env=harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID)),
                                cwd=harness.world.path("home"))
        self.assertEqual(self.ok(result), "True True ECONNREFUSED\nok\n")

    def test_datagrams(self):
        self.agree("""
d = bound('d', D); c = new(D); c.connect('d'); c.send(b'one'); print(d.recv(9))
a, b = socket.socketpair(socket.AF_UNIX, D); a.send(b'two'); print(b.recv(9))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.connect(c.fileno(), bytes(16), 16), code(c.send, b'x'))""")

    def test_full_queue(self):
        self.agree("""
s = bound('s', backlog=0); first = new(); first.connect('s')
c = new(); c.setblocking(False); print(code(c.connect, 's'))
c = new(); c.setsockopt(1, 21, struct.pack('qq', 0, 200000)); print(code(c.connect, 's'))
def alarm(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, alarm); signal.setitimer(signal.ITIMER_REAL, 0.2)
try: new().connect('s')
except KeyboardInterrupt: print('interrupted')
late = new(); thread = threading.Thread(target=late.connect, args=('s',)); thread.start()
time.sleep(0.3); s.accept(); s.accept(); thread.join(); print('through')""")

    def test_a_thousand_that_wait(self):
        """They keep nobody from other connections, and end when their processes do."""
        out = self.inside("""
s = bound('s', backlog=0); new().connect('s')
children = []
for i in range(20):
    pid = os.fork()
    if pid == 0:
        for _ in range(50): threading.Thread(target=lambda: new().connect('s')).start()
        time.sleep(100)
    children.append(pid)
other = bound('other'); new().connect('other')
lo = socket.create_server(('127.0.0.1', 0)); socket.create_connection(lo.getsockname()); print('free')
for pid in children: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
while s.accept() and code(new().connect, 'other') != 'ok': pass
print('free')""", timeout=120)
        self.assertEqual(out, "free\nfree\n")

    def test_storm_of_signals(self):
        """A call is made once, however often it is interrupted: Go's runtime sends itself many."""
        self.agree("""
signal.signal(signal.SIGURG, lambda *_: None); signal.siginterrupt(signal.SIGURG, False)
signal.signal(signal.SIGALRM, lambda *_: None); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001); bad = set()
for i in range(300):
    s = new(); bad.add(code(s.bind, f's{i}')); s.listen(); bad.add(code(new().connect, f's{i}'))
    i = socket.socket(); bad.add(code(i.bind, ('127.0.0.1', 0)))
signal.setitimer(signal.ITIMER_REAL, 0); print(bad)""")

    def test_not_dumpable(self):
        self.agree("""
import ctypes
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); s = bound('s'); print(code(new().connect, 's'))""")

    def test_covered_and_not_counted(self):
        """A socket of the host's from before has no one behind it in here: programs ask nscd, resolved
        or D-Bus in passing, and whoever runs `id` is not to read of refusals."""
        path = self.directory() + "/host"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            os.chmod(path, 0o777)
            server.listen()
            log = harness.write("covered.log", "")
            result = run_exec([PYTHON, "-c", "import socket, sys\nprint(socket.socket(socket.AF_UNIX)."
                               "connect_ex(sys.argv[1]))", path], "--log", log)
        self.assertEqual(self.ok(result), f"{errno.ECONNREFUSED}\n")
        self.assertIn("0 allowed, 0 refused", result.stderr)
        with open(log, encoding="utf-8") as file:
            self.assertEqual(file.read(), "")

    def test_not_reachable_from_outside(self):
        top = self.directory()
        process = subprocess.Popen(
            harness.exec_command([PYTHON, "-c", PRELUDE + "s = bound('s'); os.chmod('s', 0o777)\n"
                                  "os.rename('s', 'ready'); sys.stdin.read()", top]),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=harness.world.path("home"), text=True,
            env=harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID)))
        try:
            wait_for(lambda: os.path.exists(f"{top}/ready"), 20, "a socket inside")
            result = subprocess.run([PYTHON, "-c", "import socket, sys\ns = socket.socket("
                                     "socket.AF_UNIX)\nprint(s.connect_ex(sys.argv[1]))",
                                     f"{top}/ready"], capture_output=True, text=True, check=True)
            self.assertIn(result.stdout.strip(), ("1", "111"))
        finally:
            process.communicate()


def end(process):
    """Also one that waits for ever, whose test has failed by then."""
    process.kill()
    process.communicate()


class Broker(Case):
    """Where the kernel needs one: such a bottle says so in its status."""

    def start(self, code):
        self.name = f"broker-{os.getpid()}-{self._testMethodName}"[:60]
        self.process = subprocess.Popen(
            harness.exec_command([PYTHON, "-c", code], "--name", self.name), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=harness.environment(),
            cwd=harness.world.path("home"))
        self.addCleanup(end, self.process)
        self.process.stdout.readline()
        walls = json.loads(harness.cli("status", self.name, "--json").stdout)[0]["walls"]
        if walls["unix_sockets"] != "brokered":
            self.skipTest("this kernel needs no broker")
        self.assertTrue(walls["whole"], walls)
        self.assertLessEqual({"unix_connect", "unix_send"}, set(walls["attached"]))

    def brokers(self):
        found = []
        for pid in harness.children(self.process.pid):
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read() == "egress-broker\n":
                    found.append(pid)
        return found

    def test_killed(self):
        self.start("import socket, sys\nprint('up', flush=True)\nsys.stdin.readline()\n"
                   "for f in (socket.AF_UNIX, socket.AF_INET):\n  s = socket.socket(f)\n"
                   "  print(s.connect_ex('x' if f == socket.AF_UNIX else ('127.0.0.1', 1)))\n")
        broker, = self.brokers()
        os.kill(broker, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{broker}"), 10, "the broker's end")
        out, err = self.process.communicate("go\n", timeout=20)
        self.assertEqual(out, "38\n38\n")
        self.assertIn("the broker for unix sockets has died", err)

    def test_answer_that_fails(self):
        """Its caller would wait for ever: it is given once more or, when it cannot be, nobody is served any
        more, and what waits fails. The broker's second ioctl(2) is its answer."""
        for error, said in (("EINTR", "111\n2\n"), ("EINVAL", "38\n38\n"), ("ENOENT", "")):
            with self.subTest(error=error):
                self.start("import signal, socket, sys, time\nprint('up', flush=True)\nsys.stdin.readline()\n"
                           "signal.alarm(8)\n"
                           "print(socket.socket().connect_ex(('127.0.0.1', 1)), flush=True)\n"
                           "print(socket.socket(socket.AF_UNIX).connect_ex('x'), flush=True)\n"
                           "time.sleep(1)\n")  # strace, which must let go of the broker first, may be slow
                broker, = self.brokers()
                strace = subprocess.Popen(["strace", "-p", str(broker), "-f", "-e", "trace=ioctl", "-e",
                                           f"inject=ioctl:error={error}:when=2"], text=True,
                                          stderr=subprocess.PIPE)
                self.addCleanup(end, strace)
                self.assertIn("attached", strace.stderr.readline())
                out, err = self.process.communicate("go\n", timeout=20)
                self.assertEqual(out, said)
                self.assertEqual("the broker for unix sockets has died" in err, error == "EINVAL", err)

    def test_gone_afterwards(self):
        self.start("print('up', flush=True)\nimport sys; sys.stdin.readline()")
        broker, = self.brokers()
        with open(f"/proc/{broker}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
        self.assertEqual(int(status["CapEff"], 16), 1 << 19 | 1 << 18)  # SYS_PTRACE, SYS_CHROOT
        self.assertEqual(status["NoNewPrivs"], "1")
        self.process.communicate("go\n", timeout=20)
        wait_for(lambda: not harness.alive(broker), 10, "the broker's end")

    def test_counted_and_logged(self):
        log = harness.world.path("broker.log")
        with harness.w.InNamespace(harness.world.home, harness.world.home):
            result = run_exec([PYTHON, "-c", "import socket\nprint(socket.socket(socket.AF_UNIX)."
                               "connect_ex('/run/nobody'))"], "--log", log)
        self.assertEqual(self.ok(result), "2\n")
