# SPDX-License-Identifier: BSD-2-Clause
"""Work that goes through a proxy, and what it took. A work is a function of a proxy and a number of
seconds and returns a Done; None when the proxy cannot do it."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import peers as p

CLIENTS = 32
FAILURES = 0.01  # of the requests: more, and a proxy does not do the work
notes = []


class Done:
    """count: requests or GiB. cpu: ns of the proxy. fields: what the load client says."""
    def __init__(self, count, cpu, fields=None):
        self.count, self.cpu, self.fields = count, cpu, fields or {}

    @property
    def cost(self):
        return self.cpu / self.count

    def number(self, field):
        return float(self.fields[field])


def load_client():
    """Built beside the program; where whoever runs in a bottle may run it."""
    built = os.path.join(os.path.dirname(p.harness.world.program), "bench-load")
    place = p.harness.world.path("load")
    if not os.path.exists(place):
        shutil.copy(built, place)
        os.chmod(place, 0o755)
    return place


def wait_stopped(process):
    """The client has said its line and stopped itself."""
    def stopped():
        with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] in "TZX"
    p.harness.wait_for(stopped, 60, "the load client to stop")


def read_line(proxy, process):
    line = process.stdout.readline().strip()
    if not line:
        process.wait()
        sys.exit(f"bench: load client, {proxy.name}: {process.stderr.read().strip()}")
    wait_stopped(process)
    return line


class Load:
    """A load client that has its connections and waits to be told to go on; without `wait` only once
    ready() returns."""
    def __init__(self, proxy, options, seconds=1, path="/kib", port=None, wait=True):
        self.proxy = proxy
        self.process = proxy.popen([load_client(), "-d", str(seconds), *options, proxy.address,
                                    str(port or proxy.port), path], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        if wait:
            self.ready()

    def ready(self):
        read_line(self.proxy, self.process)

    def go(self):
        self.process.send_signal(signal.SIGCONT)

    def result(self):
        line, _, error = read_line(self.proxy, self.process).partition(" error=")
        return dict(field.split("=") for field in line.split()) | {"error": error}

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def load(proxy, seconds, *options):
    with proxy.reachable():
        client = Load(proxy, options, seconds)
        time.sleep(0.1)  # what the first requests left to do
        before = proxy.cpu()
        client.go()
        fields = client.result()
        time.sleep(0.05)  # connections that end, lines of the log
        cpu = proxy.used(before)
        client.end()
    count, errors = int(fields["requests"]), int(fields["errors"])
    if errors > FAILURES * count:
        said = (f"{proxy.name}, load {' '.join(options)}: {count} requests, {errors} errors: "
                f"{fields['error']}")
        if isinstance(proxy, (p.Ours, p.Direct)):
            sys.exit("bench: " + said)
        if said not in notes:
            notes.append(said)
        return None
    return Done(count, cpu, fields)


def keep_alive(proxy, seconds, clients=CLIENTS):
    return load(proxy, seconds, "-c", str(clients))


def new_connections(proxy, seconds, clients=CLIENTS):
    """Resumed by the ticket of the last one, where the proxy gives tickets."""
    return load(proxy, seconds, "-c", str(clients), "-n")


def full_handshakes(proxy, seconds, clients=CLIENTS):
    return load(proxy, seconds, "-c", str(clients), "-f")


def http2_streams(proxy, seconds, host="bulk", headers=()):
    """The client insists on HTTP/2: we would rather speak what the upstream does."""
    url = proxy.url.replace("bulk.", host + ".") + "/kib"
    before = proxy.cpu()
    output = proxy.run(["h2load", "-t", "1", "-c", str(CLIENTS), "-m", "10", "-D", str(seconds),
                        "--npn-list=h2", *(f"--header={h}" for h in headers), url])
    cpu = proxy.used(before)
    done = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", output)
    if not done or int(done[1]) == 0 or "Application protocol: h2\n" not in output:
        sys.exit(f"bench: {proxy.name}, HTTP/2: {output}")
    return Done(int(done[1]), cpu)


def http2_both(proxy, seconds):
    """With HTTP/2 to the origin, too. The peers go by the name, which is in no URL of theirs."""
    return http2_streams(proxy, seconds, "bulk2", ["host: bulk2.example.test"])


def bulk(proxy, _seconds):
    with proxy.reachable():
        before = proxy.cpu()
        began = time.monotonic()
        size = proxy.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{size_download}",
                          proxy.url + "/gib"])
        took = time.monotonic() - began
        cpu = proxy.used(before)
    if int(size) != 1 << 30:
        sys.exit(f"bench: {proxy.name} sent {size} bytes")
    return Done(1, cpu, {"seconds": took})


def cost(proxy, work, seconds):
    """ns of CPU for each of what was done; None: the proxy cannot do it."""
    done = work(proxy, seconds)
    return done and done.cost
