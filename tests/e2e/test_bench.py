# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench: that those who are compared do the same work, and that it is counted right."""
import os
import re
import shutil
import signal
import subprocess
import sys

import harness
from harness import Case, measures

TOP = os.path.dirname(os.path.dirname(harness.HERE))
sys.path.insert(0, os.path.join(TOP, "tools", "bench"))
import peers as p  # noqa: E402
import rows  # noqa: E402
import work as k  # noqa: E402

LOOK = re.compile(r"(\S+) (\S+) (\S+) (\d+) ([^|]*)\|(.*)")


class Bench:
    """As much of bench's as a row needs."""
    def __init__(self, names):
        self.peers, self.direct = p.Peers(harness.world, names), p.Direct()
        self.ours = p.Ours(p.ROUTE + p.OTHERS + "\n")

    def bottle(self, which):
        assert which == "ours"
        return self.ours


@measures
class HungUp(Case):
    def test_leaves_nothing(self):
        """Its terminal is closed while a bottle of it runs. We may be running under nohup(1)."""
        with subprocess.Popen(["env", "--default-signal=HUP", os.path.join(TOP, "tools", "bench", "bench"),
                               harness.world.program, "--peers", "haproxy",
                               "--only", "memory, idle intercepted"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
            cgroup = os.path.join(p.w.cgroup_root(), f"egress-e2e-{bench.pid}")
            harness.wait_for(lambda: p.w.cgroup_pids(cgroup), 30, "the bench at work")
            bench.send_signal(signal.SIGHUP)
            self.assertEqual(bench.wait(60), 1)
        self.assertFalse(os.path.exists(cgroup))


@measures
class Compared(Case):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench(("haproxy", "nginx"))
        cls.proxies = [cls.bench.ours, cls.bench.peers.get("haproxy"), cls.bench.peers.get("nginx")]

    @classmethod
    def tearDownClass(cls):
        cls.bench.ours.stop()
        # It holds the credentials that arrived, and other tests look everywhere for them.
        os.truncate(harness.world.path("look.log"), 0)

    def look(self, work, count):
        """What work() returns, and what the origin has seen of it, count(that) lines: it writes them when
        its answers have left."""
        path = harness.world.path("look.log")
        before = os.path.getsize(path)
        done = work()

        def lines():
            with open(path, encoding="utf-8") as file:
                file.seek(before)
                return file.read().splitlines(keepends=True)
        harness.wait_for(lambda: len(lines()) >= count(done) and lines()[-1].endswith("\n"), 10,
                         "the origin's lines")
        return done, [LOOK.fullmatch(line.rstrip("\n")).groups() for line in lines()]

    def seen(self, proxy, *arguments, host="bulk"):
        said, lines = self.look(lambda: proxy.run([
            "curl", "-sk", "-H", "Authorization: Bearer stranger", *arguments,
            proxy.url.replace("bulk.", host + ".") + "/kib/look"]), lambda _: 1)
        self.assertEqual((said, len(lines)), ("look", 1), proxy.name)
        return lines[0]

    def test_all_do_the_same(self):
        for proxy in self.proxies:
            tls, cipher, http, _, host, credential = self.seen(proxy)
            self.assertEqual((tls, cipher, http, host), (
                "TLSv1.3", "TLS_AES_128_GCM_SHA256", "HTTP/1.1", "bulk.example.test"), proxy.name)
            self.assertEqual(credential, "Bearer " + (
                harness.SECRETS["E2E_TOKEN_0"] if proxy is self.bench.ours else "bench"))
            refused = proxy.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}",
                                 proxy.url + "/other"])
            self.assertIn(refused, ("403", "404"), proxy.name)

    def test_upstream_connections_are_used_again(self):
        def work():
            client = k.Load(proxy, ["-c", "4", "-n"], seconds, "/kib/look")
            client.go()
            fields = client.result()
            client.end()
            return int(fields["requests"])
        for proxy in self.proxies:
            for seconds in (0.3, 1, 3, 9):  # on a busy machine few requests are made in a short time
                requests, lines = self.look(work, lambda done: done + 4)
                self.assertEqual(len(lines), requests + 4, proxy.name)
                if requests >= 200:
                    break
            # Far fewer than requests; some more than clients, when one begins before another's end.
            self.assertLessEqual(len({line[3] for line in lines}), max(12, requests // 2), proxy.name)

    def test_http2_on_both_sides(self):
        for proxy in self.proxies[:2]:
            seen = self.seen(proxy, "--http2", "-H", "Host: bulk2.example.test", host="bulk2")
            self.assertEqual(seen[2], "HTTP/2.0", proxy.name)

    def test_load_client(self):
        for proxy in self.proxies[:2]:
            kept = k.keep_alive(proxy, 0.3, 4)
            self.assertEqual(kept.fields["connections"], "0", proxy.name)
            self.assertIn("TLSv1.3,TLS_AES_128_GCM_SHA256", kept.fields["tls"], proxy.name)
            anew = k.new_connections(proxy, 0.3, 4)
            self.assertEqual(int(anew.fields["resumed"]), anew.count, proxy.name)
            full = k.full_handshakes(proxy, 0.3, 4)
            self.assertEqual((full.fields["resumed"], int(full.fields["connections"])),
                             ("0", full.count), proxy.name)
            self.assertGreater(full.cost, kept.cost, proxy.name)

    def test_all_requests_are_counted(self):
        before = len(self.bench.ours.bottle.log())
        done = k.keep_alive(self.bench.ours, 0.3, 8)
        # One each to make the connections; a line may still be on its way.
        harness.wait_for(lambda: len(self.bench.ours.bottle.log()) - before >= done.count + 8, 5,
                         "a line for each request")
        self.assertEqual(len(self.bench.ours.bottle.log()) - before, done.count + 8)

    def test_what_is_refused_is_no_work(self):
        script = shutil.copy(k.load_client(), harness.world.path("load-refused"))
        process = self.bench.ours.popen([script, "-c", "2", "-d", "0.1", p.HOST, "443", "/other"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        k.read_line(self.bench.ours, process)
        process.send_signal(k.signal.SIGCONT)
        line = k.read_line(self.bench.ours, process)
        process.kill()
        process.communicate()
        self.assertRegex(line, r"^requests=0 errors=[1-9]\d* .* error=not 200$")

    def test_a_row(self):
        found = rows.cpu("keep-alive", k.keep_alive, 0.85, names=("haproxy", "nginx")).measure(
            self.bench, 0.3, 1)
        self.assertEqual(sorted(found), ["main", "nginx"])
        for value in found.values():
            self.assertTrue(0.02 < value < 50, found)

    def test_what_bench_wall_says(self):
        """As its tell() writes it."""
        path = os.path.join(TOP, "tests", "kernel", "bench_wall.c")
        with open(path, encoding="utf-8") as file:
            self.assertIn('printf("%-44s %8.2f %-7s limit %.2f: %s\\n"', file.read())
        said = "1..1\n" + "".join("%-44s %8.2f %-7s limit %.2f: %s\n" % line for line in (
            ("connect(), steered and recorded", 1.14, "x none", 1.2, "met"),
            ("connect(), refused, counted and recorded", 12.6, "us", 1.5, "NOT met"),
            ("egress hook, a packet of a TCP connection", 109, "ns", 250, "met"))) + "ok 1 - bench\n"
        self.assertEqual(rows.wall_values(said), {
            "connect(), steered and recorded": "1.14",
            "connect(), refused, counted and recorded": "12.60",
            "egress hook, a packet of a TCP connection": "109.00"})

    def test_the_table(self):
        """One row that needs no load, to its verdict."""
        done = subprocess.run([os.path.join(TOP, "tools", "bench", "bench"), harness.world.program,
                               "--only", "size*", "--markdown"], capture_output=True, text=True,
                              check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^\| size, stripped \|  \| 1 MiB \| 1.00 \| [\d.]+ \| - "
                                      r"\| (met|missed) \|")
        self.assertIn("haproxy 2", done.stdout)
