# SPDX-License-Identifier: BSD-2-Clause
"""What a reload does to connections that are under way: ends what is gone, keeps the rest."""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import world as w
import harness
from harness import BottleCase, PYTHON, ROUTES, policy, wait_for, write

HOLD = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7000), 5)
s.sendall(b"ping")
print(s.recv(4).decode(), flush=True)
s.settimeout(60)
try:
    print("end" if s.recv(1) == b"" else "bytes", flush=True)
except ConnectionResetError:
    print("end", flush=True)
"""
# The longest that a request, and a new name with its certificate, has to wait.
PACE = r"""
import http.client, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[1])
kept = http.client.HTTPSConnection("bulk.example.test", context=context)
worst, until, n = 0, time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < until:
    began = time.monotonic()
    kept.request("GET", "/small")
    kept.getresponse().read()
    worst = max(worst, time.monotonic() - began)
    time.sleep(0.002)
print(worst, flush=True)
"""
INNER = "inner.example.test"
PRIVATE = ROUTES + f"""
  - host: {INNER}
    ports: [7000]
    protocol: tcp
    allow_private: true
"""


class Reload(BottleCase):
    @classmethod
    def setUpClass(cls):
        """One more name, at an address that needs allow_private: an echo on our own loopback."""
        cls.echo = socket.create_server(("127.0.0.1", 7000))
        threading.Thread(target=cls.serve, args=(cls.echo,), daemon=True).start()
        with open("/etc/hosts", encoding="utf-8") as file:
            cls.hosts = file.read()
        with open("/etc/hosts", "w", encoding="utf-8") as file:
            file.write(cls.hosts + f"127.0.0.1 {INNER}\n")
        cls.options = {"text": policy(PRIVATE)}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        with open("/etc/hosts", "w", encoding="utf-8") as file:
            file.write(cls.hosts)
        cls.echo.shutdown(socket.SHUT_RDWR)
        cls.echo.close()

    @staticmethod
    def serve(listener):
        held = []
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return
            held[-1].sendall(held[-1].recv(64))

    def reload(self, text):
        before = self.bottle.errors().count("policy reloaded")
        self.bottle.reload(text)
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > before, 40, "the reload")

    def hold(self, host):
        process = self.bottle.popen([PYTHON, "-c", HOLD, host], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ping\n")
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    @harness.measures
    def test_large_policy_delays_nobody(self):
        """100,000 routes take half a second or more to read; no request waits for that. Once of three times:
        the machine may be busy with something else, and what waits for a policy waits each time."""
        routes = "".join(f"\n  - host: h{i}.example.com\n    path_allowlist: [/a/]"
                         for i in range(100000))
        for _ in range(3):
            took, worst = self.paced(policy(PRIVATE + routes + "\n"))
            if worst < took / 4:
                break
        self.assertGreater(took, 0.1)
        self.assertLess(worst, took / 4)

    def paced(self, large):
        """How long a reload took, and the longest that a request had to wait meanwhile."""
        client = self.bottle.popen([PYTHON, "-c", PACE, self.bottle.certificate, "6"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.5)
        began = time.monotonic()
        self.reload(large)
        took = time.monotonic() - began
        self.reload(policy(PRIVATE))
        out, err = client.communicate(timeout=20)
        self.assertEqual(client.returncode, 0, err)
        print(f"# reload took {took:.3f} s, a request at most {float(out):.3f} s")
        return took, float(out)

    @harness.measures
    def test_read_ahead_in_vain(self):
        """The worker reads routes while the supervisor judges them. When these are refused, what it
        has read is gone, and the old ones hold."""
        def memory(field):
            with open(f"/proc/{worker}/status", encoding="utf-8") as file:
                return int(re.search(rf"(?m)^{field}:\s*(\d+) kB$", file.read())[1])
        self.reload(policy(PRIVATE))
        worker, said = self.bottle.workers()[0], len(self.bottle.errors())
        # What an earlier test's policy took is given back by and by.
        wait_for(lambda: memory("VmRSS") < 40 * 1024, 20, "the policy before to go")
        with open(f"/proc/{worker}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # VmHWM begins anew (proc(5))
        before = memory("VmRSS")
        routes = "".join(f"\n  - host: h{i}.example.com" for i in range(30000))
        self.bottle.reload(policy(PRIVATE + routes + """
  - host: last.example.com
    auth: {scheme: Bearer, token_file: /nonexistent/token}
"""))
        wait_for(lambda: "the old policy stays" in self.bottle.errors()[said:], 20, "the refusal")
        self.assertIn("/nonexistent/token", self.bottle.errors()[said:])
        wait_for(lambda: memory("VmHWM") > before + 8192, 20, "the worker to read")
        wait_for(lambda: memory("VmRSS") < before + 4096, 20, "the worker to forget")
        self.assertEqual(self.bottle.workers()[0], worker)

    def test_private_address_is_let_go(self):
        """The route stays, but not its allow_private: the tunnel to loopback ends, others do not."""
        self.reload(policy(PRIVATE))
        gone, kept = self.hold(INNER), self.hold("tcp.example.test")
        self.reload(policy(PRIVATE))
        self.assertIsNone(gone.poll())
        self.reload(policy(PRIVATE.replace("    allow_private: true\n", "")))
        self.assertEqual(gone.stdout.readline(), "end\n")
        self.assertIsNone(kept.poll())
        self.assertNotIn("ping", self.bottle.python(HOLD, INNER).stdout)
        self.assertIn("private_address", {line["reason"] for line in self.bottle.log()})
        self.assertIsNone(kept.poll())

    def test_credential_is_replaced_while_dialling(self):
        """The origin is not there yet when the request is judged; the new credential is what goes."""
        token = write("reload-token", "OLD-" + harness.MARK, 0o600)
        routes = ROUTES.replace("  - host: dead.example.test\n", "") + f"""
  - host: dead.example.test
    ports: [80]
    allow_plaintext: true
    auth: {{header: x-api-key, token_file: {token}}}
"""
        self.reload(policy(routes))
        arrived = []
        with harness.world.in_origin():
            # Bound before its address exists: the SYN waits for a neighbour until then.
            listener = socket.socket()
            listener.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
            listener.bind((w.HOSTS["dead.example.test"], 80))
            listener.listen()
        self.addCleanup(listener.close)

        def serve():
            connection = listener.accept()[0]
            arrived.append(connection.recv(65536).decode("latin-1"))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.close()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = self.bottle.popen(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                                    "--max-time", "20", "http://dead.example.test/x"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        address = w.HOSTS["dead.example.test"]
        wait_for(lambda: address in w.sh("ip neigh show"), 5, "the proxy's SYN")
        write("reload-token", "NEW-" + harness.MARK, 0o600)
        self.reload(policy(routes))
        with harness.world.in_origin():
            w.sh(f"ip addr add {address}/24 dev wire")
        try:
            out, err = client.communicate(timeout=25)
            self.assertEqual(out, "200", err)
            thread.join(5)
            self.assertIn("NEW-" + harness.MARK, arrived[0])
            self.assertNotIn("OLD-", arrived[0])
        finally:
            with harness.world.in_origin():
                w.sh(f"ip addr del {address}/24 dev wire")
            os.remove(token)


class Linked(harness.Bottle):
    """Its routes and tokens are below one link, as a started sidecar's are."""
    def __init__(self, link):
        self.link = link
        super().__init__(options=["--token-dir", link + "/tokens"])

    def command(self):
        self.policy_path = self.link + "/routes.yaml"
        return super().command()


class OneMoment(harness.Case):
    def generation(self, name, token):
        """A directory whose only slot is one host's or the other's."""
        at = harness.world.path(name)
        os.makedirs(at + "/tokens")
        self.addCleanup(shutil.rmtree, at)  # test_secrets looks for such tokens
        with open(at + "/tokens/EGRESS_TOKEN_0", "w", encoding="utf-8") as file:
            file.write(token)
        os.chmod(at + "/tokens/EGRESS_TOKEN_0", 0o600)
        return at

    def test_a_link_that_moves_between_routes_and_tokens(self):
        """The slot's name is in both plans: no host ever gets what the other plan has in it."""
        routes = "\n  - {host: %s.example.test, auth_scheme: Bearer, token_env: EGRESS_TOKEN_0}\n"
        link, slow = harness.world.path("moment-current"), None
        first, slow, third = (self.generation("moment-" + n, "of-" + n + "-" + harness.MARK)
                              for n in ("first", "slow", "third"))
        for at, host in ((first, "api"), (third, "second")):
            write(os.path.basename(at) + "/routes.yaml", policy(routes % host))
        os.mkfifo(slow + "/routes.yaml")

        def switch(to):
            os.symlink(to, link + ".new")
            os.rename(link + ".new", link)
        switch(first)
        bottle = Linked(link)
        self.addCleanup(bottle.stop)
        switch(slow)
        bottle.process.send_signal(signal.SIGHUP)
        # Opened for writing when it is for reading: the sidecar has looked up where its routes are.
        with open(slow + "/routes.yaml", "w", encoding="utf-8") as file:
            switch(third)
            file.write(policy(routes % "api"))
        wait_for(lambda: "policy reloaded" in bottle.errors() or "reload:" in bottle.errors(), 10)
        bottle.curl("https://api.example.test/echo")
        self.assertEqual(self.header(self.arrived()[-1], "authorization"),
                         ["Bearer of-slow-" + harness.MARK])
