# SPDX-License-Identifier: BSD-2-Clause
"""`metrics`: Prometheus' text format, printed and served, and what the dashboard asks of it."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import harness
import world as w
from harness import Bottle, Case, alive, children, cli, wait_for

TOP = os.path.dirname(os.path.dirname(harness.HERE))
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="[^"\\\n]*",?)*)\})? ([0-9.e+-]+)$')
ADDRESS = "127.0.0.1:9469"


def parse(case, text):
    """{(name, labels): value}; fails on what the format does not allow, or convention does not."""
    kinds, samples, family, seen = {}, {}, None, set()
    case.assertTrue(text.endswith("\n"))
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            case.assertNotIn(family, seen, "a family in two parts")
            seen.add(family)
            case.assertTrue(line.endswith("."), line)
        elif line.startswith("# TYPE "):
            case.assertEqual(line.split()[2], family)
            kinds[family] = line.split()[3]
        else:
            match = SAMPLE.match(line)
            case.assertTrue(match, line)
            name = match[1]
            base = re.sub("_(bucket|sum|count)$", "", name) if kinds[family] == "histogram" else name
            case.assertEqual(base, family, line)
            labels = tuple(re.findall(r'([a-z_]+)="([^"]*)"', match[2] or ""))
            case.assertEqual(len(dict(labels)), len(labels), line)
            case.assertNotIn((name, labels), samples, "twice")
            samples[name, labels] = float(match[3])
    for name, kind in kinds.items():
        case.assertTrue(name.startswith("egress_"), name)
        case.assertEqual(kind == "counter", name.endswith("_total"), name)
    return kinds, samples


class Metrics(Case):
    @classmethod
    def setUpClass(cls):
        cls.socket = harness.world.path("metrics.sock")
        cls.bottle = Bottle(options=["--metrics", ADDRESS])
        cls.bottle.curl("https://api.example.test/echo", "https://api.example.test/elsewhere")
        cls.bottle.run(["bash", "-c", "echo >/dev/tcp/203.0.113.12/443"])

    @classmethod
    def tearDownClass(cls):
        cls.bottle.stop()

    def get(self, *arguments):
        return subprocess.run(["curl", "-sS", "--max-time", "10", *arguments], capture_output=True,
                              text=True, check=False)

    def test_text(self):
        name = self.bottle.name
        kinds, samples = parse(self, self.ok(cli("metrics", name)))

        def value(metric, **labels):
            return samples[metric, (("bottle", name), *labels.items())]
        self.assertEqual(value("egress_up"), 1)
        self.assertEqual(value("egress_worker_up"), 1)
        self.assertEqual(value("egress_wall_programs", state="missing"), 0)
        self.assertGreater(value("egress_wall_programs", state="attached"), 9)
        self.assertEqual(value("egress_verdicts_total", source="proxy", reason="path_not_allowed"), 1)
        self.assertEqual(value("egress_verdicts_total", source="kernel", reason="address_not_allowed"), 1)
        self.assertEqual(value("egress_host_verdicts_total", host="api.example.test",
                               verdict="allowed"), 1)
        self.assertGreater(value("egress_host_bytes_total", host="api.example.test", direction="down"), 0)
        buckets = [v for (n, _), v in samples.items() if n == "egress_added_latency_seconds_bucket"]
        self.assertEqual(buckets, sorted(buckets))
        self.assertEqual(buckets[-1], value("egress_added_latency_seconds_count"))
        self.assertGreater(buckets[-1], 0)
        # One with the bottle, at least; one with the host, and its connection waits for another request.
        self.assertGreaterEqual(value("egress_tls_handshakes_total", side="client", result="full"), 1)
        self.assertEqual(value("egress_tls_handshakes_total", side="upstream", result="full"), 1)
        self.assertEqual(value("egress_tls_handshakes_total", side="client", result="failed"), 0)
        self.assertEqual(value("egress_upstream_requests_total", connection="new"), 1)
        # The dial was of the handshake, which had to know what the host speaks.
        self.assertEqual(value("egress_upstream_requests_total", connection="reused"), 1)
        self.assertEqual(value("egress_upstream_idle_connections"), 1)
        self.assertGreaterEqual(value("egress_map_entries", map="addresses"), 1)
        for table, limit in (("addresses", 131072), ("cidrs", 4096), ("flows", 65536)):
            self.assertEqual(value("egress_map_max_entries", map=table), limit)
            self.assertLess(value("egress_map_entries", map=table), limit / 2)
        self.assertEqual(value("egress_ring_buffer_lost_total"), 0)
        # What the dashboard asks for is there.
        with open(os.path.join(TOP, "container/grafana/egress-bpf.json"), encoding="utf-8") as file:
            board = json.load(file)
        asked = set(re.findall(r"egress_[a-z_]+", json.dumps(board["panels"])))
        self.assertGreater(len(asked), 8)
        for metric in asked:
            self.assertIn(re.sub("_bucket$", "", metric), kinds)

    def test_served(self):
        wait_for(lambda: self.get(f"http://{ADDRESS}/metrics").returncode == 0, 10, "an answer")
        got = self.get("-i", f"http://{ADDRESS}/metrics")
        self.assertIn("Content-Type: text/plain; version=0.0.4", got.stdout)
        _, samples = parse(self, got.stdout.replace("\r", "").split("\n\n", 1)[1])
        self.assertIn(("egress_up", (("bottle", self.bottle.name),)), samples)
        code = ["-o", "/dev/null", "-w", "%{http_code}"]
        self.assertEqual(self.get(*code, f"http://{ADDRESS}/").stdout, "404")
        self.assertNotEqual(self.get(*code, "-d", "x", f"http://{ADDRESS}/metrics").stdout, "200")
        inside = self.bottle.run(["curl", "-sS", "--max-time", "5", f"http://{ADDRESS}/metrics"])
        self.assertNotEqual(inside.returncode, 0)
        # Who speaks HTTP is nobody, and has no capability.
        metrics = [p for p in children(self.bottle.process.pid) if children(p)][0]
        with open(f"/proc/{children(metrics)[0]}/status", encoding="utf-8") as file:
            status = file.read()
        self.assertRegex(status, r"Uid:\t65534\t65534\t65534\t65534")
        self.assertRegex(status, r"CapPrm:\t0+\n")

    def test_unix_socket_and_end(self):
        server = subprocess.Popen([harness.world.program, "metrics", "--listen", self.socket],
                                  preexec_fn=w.die_with_parent, stderr=subprocess.DEVNULL)
        try:
            # It is there a moment before anybody listens at it.
            wait_for(lambda: self.get("--unix-socket", self.socket, "http://x/metrics").returncode == 0, 5,
                     "an answer")
            self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600)
            got = self.get("--unix-socket", self.socket, "http://x/metrics")
            self.assertIn("egress_build_info", self.ok(got))
            speaker = children(server.pid)[0]
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(10), 0)
            self.assertFalse(os.path.exists(self.socket))
            wait_for(lambda: not alive(speaker), 5, "the end of who spoke HTTP")
        finally:
            server.kill()
            server.wait()

    def test_no_descriptor_for_who_asks(self):
        """Who speaks HTTP neither spins meanwhile nor fills the log, and answers afterwards."""
        path, held = harness.world.path("metrics-stderr"), []
        with open(path, "w", encoding="utf-8") as file:
            server = subprocess.Popen([harness.world.program, "metrics", "--listen", self.socket],
                                      preexec_fn=w.die_with_parent, stderr=file)
        try:
            wait_for(lambda: self.get("--unix-socket", self.socket, "http://x/metrics").returncode == 0, 5,
                     "an answer")
            speaker = children(server.pid)[0]
            for _ in range(256):
                held.append(socket.socket(socket.AF_UNIX))
                held[-1].connect(self.socket)
                held[-1].settimeout(10)
            wait_for(lambda: len(os.listdir(f"/proc/{speaker}/fd")) == 256, 5, "as many as it takes")
            self.assertLess(harness.runnable(speaker, 1), 0.7)
            held[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            for asking in held[:-1]:
                asking.close()
            self.assertIn(b" 200 ", held[-1].recv(64))
            with open(path, encoding="utf-8") as file:
                self.assertLessEqual(len(file.readlines()), 2)
        finally:
            for asking in held:
                asking.close()
            server.kill()
            server.wait()

    def test_sidecars_that_hang(self):
        """They are dead, after one wait for all of them, and spoil nothing of the others."""
        hanging = [Bottle(), Bottle(), Bottle()]
        try:
            for bottle in hanging:
                bottle.process.send_signal(signal.SIGSTOP)
            before = time.monotonic()
            _, samples = parse(self, self.ok(cli("metrics")))
            self.assertLess(time.monotonic() - before, 9)
            for bottle, up in [(self.bottle, 1), *((b, 0) for b in hanging)]:
                self.assertEqual(samples["egress_up", (("bottle", bottle.name),)], up)
                self.assertIn(("egress_wall_programs", (("bottle", bottle.name), ("state", "attached"))),
                              samples)
        finally:
            for bottle in hanging:
                bottle.process.send_signal(signal.SIGCONT)
                bottle.stop()

    def test_wrong_uses(self):
        for bad in (["--listen", "nonsense"], ["--listen", "127.0.0.1"], ["--listen", "/nonexistent/x"]):
            result = cli("metrics", *bad)
            self.assertEqual(result.returncode, 1, bad)
            self.assertRegex(result.stderr, r"^egress-bpf: metrics: .*(neither ADDR:PORT|cannot listen)")
        self.assertEqual(cli("metrics", "--frobnicate").returncode, 2)
        self.assertEqual(cli("metrics", "a", "b").returncode, 2)
