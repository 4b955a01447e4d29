# SPDX-License-Identifier: BSD-2-Clause
"""A bottle that keeps a network: the tc wall on the host's end of its wire, judged by a sniffer."""
import json
import os
import select
import signal
import socket
import subprocess
import time

import harness
import world as w
from harness import Bottle, Case, cli, pins, wait_for

BOTTLE, NEIGHBOUR, STRANGER = "198.51.100.1", "198.51.100.2", "198.51.100.3"
DIRECT = f"""
  - cidr: {NEIGHBOUR}/32
    ports: [7000]
    protocol: tcp
    direct: true
"""
MARK = b"EGRESS-TC-MARK"
# Root with every capability, in no cgroup of the bottle's: frames to everybody, until killed.
FRAMES = r"""
import os, socket, sys, time
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
print("up", flush=True)
while True:
    try:
        s.sendto(b"\xff" * 6 + b"\x02\0\0\0\0\xb0" + b"\x88\xb5" + b"EGRESS-TC-MARK", ("eth0", 0))
    except OSError:
        pass
    time.sleep(0.001)
"""
CONNECT = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
s.sendall(b"hello")
print(s.recv(9).decode())
"""


class TcWall(Case):
    def setUp(self):
        super().setUp()
        self.neighbour = subprocess.Popen(["sleep", "infinity"], preexec_fn=lambda: (
            w.die_with_parent(), w.unshare(w.CLONE_NEWNET)))
        self.addCleanup(self.end_neighbour)
        self.far = os.open(f"/proc/{self.neighbour.pid}/ns/net", os.O_RDONLY)
        # an engine that ran here has left rules that drop what is forwarded, bridged frames as well
        w.sh("""for i in /proc/sys/net/bridge/bridge-nf-call-*; do
                    [ -e "$i" ] && echo 0 >"$i"; done; true""")
        w.sh(f"""set -e
        ip link add tcbr type bridge; ip link set tcbr up
        ip link add tcfar type veth peer name far0 netns {self.neighbour.pid}
        ip link set tcfar master tcbr up""")
        with w.InNamespace(self.far, harness.world.home):
            w.sh(f"""set -e
            ip addr add {NEIGHBOUR}/24 dev far0; ip addr add {STRANGER}/24 dev far0
            ip link set far0 up""")
            self.sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sniffer.bind(("far0", 3))
            self.sniffer.setblocking(False)
            self.listener = socket.create_server(("0.0.0.0", 7000))
        self.addCleanup(self.listener.close)
        self.addCleanup(self.sniffer.close)
        self.bottle = Bottle(text=harness.policy(DIRECT))
        self.addCleanup(self.bottle.stop)

    def end_neighbour(self):
        self.neighbour.kill()
        self.neighbour.wait()
        os.close(self.far)
        subprocess.run("ip link del tcfar; ip link del tcb0; ip link del tcbr", shell=True,
                       check=False, capture_output=True)

    def plug_in(self):
        w.sh(f"""set -e
        ip link add tcb0 type veth peer name eth0 address 02:00:00:00:00:b0 \
            netns {self.bottle.holder.pid}
        ip link set tcb0 master tcbr up""")
        with w.InNamespace(self.bottle.netns, harness.world.home):
            w.sh(f"ip addr add {BOTTLE}/24 dev eth0; ip link set eth0 up")

    def walls(self):
        return json.loads(cli("status", self.bottle.name, "--json").stdout)[0]["walls"]

    def start_frames(self):
        process = self.bottle.popen([harness.PYTHON, "-c", FRAMES, harness.world.cgroup], root=True,
                                    stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "up\n")

    def marked(self, seconds=0.1):
        """How many of the marked frames have come to the other side since the last time."""
        time.sleep(seconds)
        count = 0
        while True:
            try:
                count += MARK in self.sniffer.recv(65535)
            except BlockingIOError:
                return count

    def serve_one(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.sendall(connection.recv(9))

    def uses_direct(self):
        inside = self.bottle.popen([harness.PYTHON, "-c", CONNECT, NEIGHBOUR, "7000"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # Until it comes, or has been told that it may not.
        while inside.poll() is None and not select.select([self.listener], [], [], 0.1)[0]:
            pass
        if select.select([self.listener], [], [], 0)[0]:
            self.serve_one()
        output, _ = inside.communicate(timeout=30)
        return output == "hello\n"

    def test_life(self):
        self.assertEqual(self.walls()["wall0"], "no_wire")
        self.assertIn("no wire", cli("status", self.bottle.name).stdout)
        self.plug_in()
        wait_for(lambda: self.walls()["wall0"] == "walled", 5, "the wire to be walled")
        text = cli("status", self.bottle.name).stdout
        self.assertIn("veth: 1 of 1 walled", text)
        self.assertIn("not held: links of its own, by root with the host's CAP_NET_ADMIN\n", text)
        self.assertEqual([(i["name"], i["walled"]) for i in self.walls()["wires"]],
                         [("eth0", True)])
        with w.InNamespace(self.far, harness.world.home):
            self.assertIn("eth0 is a veth, whose outer end has lost or never had its programs, as far as "
                          "can be seen from this network namespace: not", cli("status", self.bottle.name).stdout)
        self.start_frames()
        self.marked()

        self.assertTrue(self.uses_direct())
        self.assertNotEqual(self.bottle.python(CONNECT, STRANGER, "7000").returncode, 0)
        self.bottle.reload(harness.policy())
        wait_for(lambda: "policy reloaded" in self.bottle.errors(), 10, "the reload")
        self.assertFalse(self.uses_direct())

        worker = self.bottle.worker()
        os.kill(self.bottle.process.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        self.bottle.process.wait()
        self.assertEqual(self.marked(1), 0)
        self.assertEqual(self.walls()["wall0"], "walled")
        for _ in range(2):
            self.bottle.start()
            self.assertEqual(self.walls()["wall0"], "walled")
            self.bottle.process.kill()
            self.bottle.process.wait()
        self.assertEqual(self.marked(0.5), 0)
        wait_for(lambda: self.bottle.status()["counters"]["wire_dropped"] > 100, 10, "frames dropped")

        self.assertEqual(cli("detach", self.bottle.name).returncode, 0)
        self.assertNotIn(self.bottle.name, pins())
        wait_for(self.marked, 5, "the frames to come through without a wall")

    def test_added_as_an_engine_does(self):
        """The end inside comes up last: the wire is walled while it is down, whoever floods it."""
        self.start_frames()
        w.sh(f"""set -e
        ip link add tcb0 type veth peer name tcp0; ip link set tcb0 master tcbr up
        ip link set tcp0 netns {self.bottle.holder.pid}""")
        with w.InNamespace(self.bottle.netns, harness.world.home):
            w.sh("ip link set tcp0 name eth0 address 02:00:00:00:00:b0")
        wait_for(lambda: self.walls()["wall0"] == "walled", 5, "the wire to be walled")
        with w.InNamespace(self.bottle.netns, harness.world.home):
            w.sh("ip link set eth0 up")
        self.assertEqual(self.marked(0.5), 0)

    def test_bottle_that_only_seems_to_have_ended(self):
        """Root who leaves the cgroup and removes it has not got rid of the wall on the wire."""
        self.plug_in()
        wait_for(lambda: self.walls()["wall0"] == "walled", 5, "the wire to be walled")
        self.start_frames()
        self.marked()
        self.bottle.holder.kill()
        self.bottle.holder.wait()
        w.remove_cgroup(self.bottle.cgroup)
        self.assertEqual(self.bottle.process.wait(20), 0, self.bottle.errors())
        self.assertIn("wires still stand", self.bottle.errors())
        self.assertEqual(self.marked(0.5), 0)
        self.ok(cli("detach", self.bottle.name))
        wait_for(self.marked, 5, "the frames to come through without a wall")

    def test_detached_from_elsewhere(self):
        """The filters are on ends in the sidecar's network namespace: detach finds them from another one."""
        self.plug_in()
        wait_for(lambda: self.walls()["wall0"] == "walled", 5, "the wire to be walled")
        worker = self.bottle.worker()
        self.bottle.process.kill()
        os.kill(worker, signal.SIGKILL)
        self.bottle.process.wait()
        self.start_frames()
        self.assertEqual(self.marked(0.5), 0)
        self.ok(cli("detach", self.bottle.name, preexec_fn=lambda: w.setns(self.far)))
        self.assertNotIn(self.bottle.name, pins())
        wait_for(self.marked, 5, "the frames to come through without a wall")

    def test_gone_before_it_is_walled(self):
        """As at a pod's end: a wire that is no more leads nowhere, and there is nothing to warn of."""
        there = self.bottle.holder.pid
        pairs = f"link add tcshort type veth peer name eth8 netns {there}\nlink del tcshort\n" * 100
        subprocess.run(["ip", "-batch", "-"], input=pairs, text=True, check=True)
        self.plug_in()
        wait_for(lambda: "eth0 is walled" in self.bottle.errors(), 10, "the wire that stays to be walled")
        self.assertNotIn("No such device", self.bottle.errors())
        self.assertNotIn("NOT WALLED", self.bottle.errors())

    def test_not_walled_is_said(self):
        """A wire that does not end with us cannot be walled by us."""
        with w.InNamespace(self.far, harness.world.home):
            w.sh(f"ip link add tcelse type veth peer name eth7 netns {self.bottle.holder.pid}")
        wait_for(lambda: self.walls()["wall0"] == "open", 5, "the foreign wire to be seen")
        text = cli("status", self.bottle.name).stdout
        self.assertIn("OWN NETWORK NAMESPACE WITH WIRE, NOT WALLED", text)
        self.assertIn("eth7 is a veth, whose outer end is out of our reach", text)
        wait_for(lambda: "wall 0: eth7 is a veth whose other end is not in our" in self.bottle.errors(), 10,
                 "the sidecar's own word")
