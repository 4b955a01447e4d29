# SPDX-License-Identifier: BSD-2-Clause
"""The rows of bench's table. A row's measure() gives, for one round, ratios by column: "main" is what
the goal is for, beside it the ratios to other peers. Within a round all that is compared is measured
in turn, every other round in the opposite order, we always next to haproxy."""
import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import peers as p
import work as k

GIB = 1 << 30


class Row:
    """to: what the ratio is to. limit: more than that fails the run; the goal does not."""
    def __init__(self, name, to, goal, measure, limit=None, quick=True, clients=""):
        self.name, self.to, self.goal, self.measure = name, to, goal, measure
        self.limit, self.quick, self.clients = limit, quick, clients


def in_turn(bench, names, turn):
    order = [bench.bottle("ours"), *filter(None, map(bench.peers.get, names))]
    return order if turn % 2 == 0 else order[::-1]


def ratios(values, ours):
    found = {name: ours / value for name, value in values.items() if value}
    if "haproxy" in found:
        found["main"] = found.pop("haproxy")
    return found


# ---- beside peers --------------------------------------------------------------------------------

ALL = ("haproxy", "nginx", "squid", "sslsplit", "mitmproxy")


def compared(work, names):
    def measure(bench, seconds, turn):
        costs = {x.name: k.cost(x, work, seconds) for x in in_turn(bench, names, turn)}
        ours = costs.pop("egress-bpf")
        return ratios(costs, ours)
    return measure


def cpu(name, work, goal, limit=None, names=ALL, quick=True):
    return Row("CPU, " + name, "haproxy", goal, compared(work, names), limit, quick)


def with_clients(name, work, goal, limits, names=ALL, quick=(1, 32, 1000)):
    """The same work with one, 32 and 1,000 clients."""
    def at(count):
        def bound(proxy, seconds):
            return work(proxy, seconds, count)
        return bound
    return [Row("CPU, " + name, "haproxy", goal, compared(at(n), names), limit, n in quick,
                f"{n:,}")
            for n, limit in limits.items()]


def added(name, options, goal_us):
    """What the median of one client has more than without a proxy. No difference is a microsecond."""
    def median(proxy, seconds):
        done = k.load(proxy, seconds, *options)
        return done and done.number("p50_us")

    def measure(bench, seconds, turn):
        direct = median(bench.direct, seconds)
        values = {}
        for proxy in in_turn(bench, ALL, turn):
            value = median(proxy, seconds)
            values[proxy.name] = value and max(value - direct, 1)
        ours = values.pop("egress-bpf")
        return {"main": ours / goal_us} | {name: ours / value for name, value in values.items()
                                           if value}
    return Row("added latency, " + name, f"{goal_us} us", 1.0, measure, clients="1")


# ---- beside a goal in units ----------------------------------------------------------------------

def spliced_time(bench, seconds, turn):
    """The issue's goal is 0.9 of direct throughput: as times, 1.11. A first download is not counted: the
    origin reads its file then."""
    spliced = bench.bottle("spliced")
    order = [bench.direct, spliced] if turn % 2 == 0 else [spliced, bench.direct]
    if turn == 0:
        for proxy in order:
            k.bulk(proxy, seconds)
    took = {x.name: k.bulk(x, seconds).number("seconds") for x in order}
    return {"main": took["egress-bpf"] / took["direct"]}


def spliced_cpu(bench, seconds, _turn):
    seconds_per_gb = k.cost(bench.bottle("spliced"), k.bulk, seconds) / 1e9 * 1e9 / GIB
    return {"main": seconds_per_gb / 0.45}


def spliced_beside_intercepted(bench, seconds, turn):
    order = [bench.bottle("spliced"), bench.peers.get("haproxy")]
    costs = {x.name: k.cost(x, k.bulk, seconds) for x in order[::-1 if turn % 2 else 1]}
    return {"main": costs["egress-bpf"] / costs["haproxy"]}


def two(first, second, times=1):
    """CPU of a request through one bottle, which has so many times the clients, to that through another."""
    def measure(bench, seconds, turn):
        clients = {bench.bottle(first): times * k.CLIENTS, bench.bottle(second): k.CLIENTS}
        costs = {x: k.keep_alive(x, seconds, clients[x]).cost
                 for x in list(clients)[::-1 if turn % 2 else 1]}
        return {"main": costs[bench.bottle(first)] / costs[bench.bottle(second)]}
    return measure


def reload_time(bench, _seconds, turn):
    return {"main": reloaded(bench, turn)[0] / 1.0}


def reload_delay(bench, _seconds, turn):
    return {"main": reloaded(bench, turn)[1] / 10e3}


def waits(ours, meanwhile):
    """The longest wait, in us, of four clients' requests in three seconds."""
    client = k.Load(ours, ["-c", "4"], 3)
    client.go()
    time.sleep(0.3)
    told = meanwhile()
    fields = client.result()
    client.end()
    if int(fields["errors"]):
        sys.exit(f"bench: reload: {fields['errors']} errors: {fields['error']}")
    return float(fields["max_us"]), told


def reloaded(bench, turn):
    """Seconds that a reload of 100,000 routes takes, and the longest wait meanwhile; both rows tell of
    the same reloads. The file has one route more each time. Beside it what the machine alone does."""
    if turn in bench.reloads:
        return bench.reloads[turn]
    ours = bench.bottle("large")
    text = p.harness.policy(p.many_routes(100000 + turn + 1))
    before = ours.bottle.errors().count("policy reloaded")

    def reload():
        began = time.monotonic()
        ours.bottle.reload(text)
        p.harness.wait_for(lambda: ours.bottle.errors().count("policy reloaded") > before, 30,
                           "the reload")
        return time.monotonic() - began
    alone, _ = waits(ours, lambda: None)
    longest, took = waits(ours, reload)
    k.notes.append(f"longest wait: {alone / 1000:.1f} ms without a reload, {longest / 1000:.1f} ms "
                   f"with one, of {took:.2f} s")
    bench.reloads[turn] = took, longest
    return bench.reloads[turn]


def command_time(command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def exec_time(_bench, _seconds, _turn):
    bare, ours = [], []
    command = p.harness.exec_command(["true"], "-q", policy_text="routes: []\n")
    for _ in range(7):
        bare.append(command_time(["unshare", "-n", "-m", "-p", "-f", "true"]))
        ours.append(command_time(command))
    return {"main": (statistics.median(ours) - statistics.median(bare)) / 0.040}


def ready_once(bottle):
    """Seconds from the start of `run` to its word that it is ready, self-test included."""
    began = time.monotonic()
    process = subprocess.Popen(bottle.command(), stdin=subprocess.DEVNULL, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=p.harness.environment(), preexec_fn=p.w.die_with_parent)
    for line in process.stderr:
        if ": ready; " in line:
            break
    else:
        sys.exit("bench: run did not get ready")
    took = time.monotonic() - began
    process.terminate()
    process.stderr.read()
    process.wait()
    p.harness.cli("detach", bottle.name)
    return took


def ready_time(bench, _seconds, _turn):
    bottle = bench.bottle("idle").bottle
    bottle.process.terminate()
    bottle.process.wait()
    p.harness.cli("detach", bottle.name)
    median = statistics.median(ready_once(bottle) for _ in range(5))
    bottle.start()
    return {"main": median / 0.100}


def memory_kib(pids, field="Pss"):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            total += int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.M)[1])
    return total


def memory_at_rest(bench, _seconds, _turn):
    """Of both processes, what they share with others divided among all."""
    ours = p.Ours(p.ROUTE + p.OTHERS + "\n")
    try:
        return {"main": memory_kib(ours.pids()) / (12 << 10)}
    finally:
        ours.stop()


def idle_kib(ours, count):
    """Memory of each of so many connections that made one request and wait."""
    def descriptors():
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in ours.pids())
    time.sleep(2)
    before, had = memory_kib(ours.pids(), "Private_Dirty"), descriptors()
    client = k.Load(ours, ["-c", str(count)])
    time.sleep(3)
    each = (memory_kib(ours.pids(), "Private_Dirty") - before) / count
    if descriptors() - had < count:
        sys.exit(f"bench: {descriptors() - had} descriptors more with {count} idle connections")
    client.end()
    return each


def idle_memory(which, limit_kib):
    def measure(bench, _seconds, _turn):
        ours = p.Ours(p.SPLICED if which == "spliced" else p.ROUTE + p.OTHERS + "\n")
        try:
            return {"main": idle_kib(ours, 3000) / limit_kib}
        finally:
            ours.stop()
    return measure


def binary_size(_bench, _seconds, _turn):
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, p.harness.world.program], check=True)
        return {"main": os.path.getsize(stripped.name) / (1 << 20)}


# ---- the kernel's side, by bench_wall -------------------------------------------------------------

def wall_values(output):
    """By what bench_wall calls it."""
    return dict(re.findall(r"^(\S.*?) {2,}([\d.]+) .* limit [\d.]+: ", output, re.M))


def wall(pattern, goal):
    """One run of bench_wall, which takes its own rounds, gives four rows."""
    def measure(bench, _seconds, _turn):
        if bench.wall is None:
            program = os.path.join(os.path.dirname(p.harness.world.program), "tests", "bench_wall")
            done = subprocess.run([program], capture_output=True, text=True, check=False)
            bench.wall = wall_values(done.stdout)
            bench.wall_failed = done.returncode != 0
        for name, value in bench.wall.items():
            if re.search(pattern, name):
                return {"main": float(value) / goal}
        sys.exit(f"bench: bench_wall said nothing of {pattern}")
    return measure


# ---- the floor --------------------------------------------------------------------------------------

@functools.lru_cache
def speed(name):
    """Operations a second of one core, by `openssl speed`."""
    output = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", name],
                            capture_output=True, text=True, check=True).stdout
    # +F4: ECDSA, index, bits, seconds of a signature, of a verification; +F5: ECDH, ..., of one.
    found = re.search(r"^\+F[45]:\d+:\d+:([\d.]+)", output, re.M)
    return 1 / float(found[1]) if float(found[1]) < 1 else float(found[1])


def floor(work):
    """What nobody who intercepts can leave out: a signature, and X25519 twice, key and secret; of a
    resumed connection X25519 alone."""
    def measure(bench, seconds, _turn):
        exchange = 2e9 / speed("ecdhx25519")
        least = exchange + (1e9 / speed("ecdsap256") if work is k.full_handshakes else 0)
        return {"main": k.cost(bench.bottle("ours"), work, seconds) / least}
    return measure


def every_row():
    return [
        *with_clients("new connection, resumed", k.new_connections, 0.75,
                      {1: None, 32: 1.0, 1000: None}),
        *with_clients("new connection, full", k.full_handshakes, 0.75,
                      {1: None, 32: None, 1000: None}, quick=(32,)),
        *with_clients("keep-alive request", k.keep_alive, 0.85, {1: None, 32: 1.1, 1000: None}),
        cpu("HTTP/2 stream to HTTP/1.1", k.http2_streams, 0.80, 1.2, ("haproxy", "nginx")),
        cpu("HTTP/2 stream to HTTP/2", k.http2_both, 0.80, 1.0, ("haproxy",)),
        cpu("GiB intercepted", k.bulk, 0.75, 1.0, ("haproxy", "nginx", "squid", "sslsplit")),
        added("keep-alive request", (), 120),
        added("new connection, resumed", ("-n",), 400),
        added("new connection, full", ("-f",), 400),
        # On two cores that the ends keep busy nobody who is between them comes below some 1.3.
        Row("time, GiB passed through", "direct", 1 / 0.9, spliced_time, 2.0),
        Row("CPU, GB passed through", "0.45 s", 1.0, spliced_cpu),
        Row("CPU, GiB passed through", "haproxy's interc.", None, spliced_beside_intercepted, 0.5,
            False),
        Row("CPU, request, 100,000 routes", "10 routes", 1.05, two("large", "small"), 1.2, False),
        # Twice the loops are to do 1.8 times as much; of as many clients each, who come in batches.
        Row("CPU, request, 2 workers", "1 worker", 2 / 1.8, two("workers", "ours", 2), None, False,
            "32 each"),
        Row("time, reload of 100,000 routes", "1 s", 1.0, reload_time, None, False),
        Row("longest wait while it reloads", "10 ms", 1.0, reload_delay, None, False),
        Row("time, exec -- true less unshare", "40 ms", 1.0, exec_time),
        Row("time, run until it is ready", "100 ms", 1.0, ready_time),
        Row("memory at rest, PSS", "12 MiB", 1.0, memory_at_rest),
        Row("memory, idle intercepted", "20 KiB", 1.0, idle_memory("intercepted", 20), None, False,
            "3,000"),
        Row("memory, idle tunnel", "4 KiB", 1.0, idle_memory("spliced", 4), None, False, "3,000"),
        Row("size, stripped", "1 MiB", 1.0, binary_size),
        Row("time, connect() steered", "none", 1.15, wall("steered", 1), None, False),
        Row("CPU, connect() refused", "1.5 us", 1.0, wall("refused", 1.5), None, False),
        Row("time, egress hook, TCP", "150 ns", 1.0, wall("packet", 150), None, False),
        Row("time, egress hook, UDP", "150 ns", 1.0, wall("datagram", 150), None, False),
        Row("CPU, new connection, resumed", "the floor", None, floor(k.new_connections), None,
            False),
        Row("CPU, new connection, full", "the floor", None, floor(k.full_handshakes), None,
            False),
    ]
