# SPDX-License-Identifier: BSD-2-Clause
"""The node agent: a kubepods tree of real cgroups with real processes in real network namespaces,
each with a wire, and a kubelet that is ours, over real TLS. Only the API server is missing."""
import contextlib
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
import uuid

import yaml

import harness
import world as w
from harness import Case, alive, children, cli, environment, pins, policy, read, wait_for, write

TOKEN = "kubelet-token-" + harness.MARK
NODE = "node-1.example.test"
# What container/kubernetes/daemonset.yaml grants, and nothing else.
CAPABILITIES = ("sys_admin", "net_admin", "net_raw", "setuid", "setgid", "setpcap", "sys_ptrace")
SIDECAR_CAPABILITIES = ("sys_admin", "net_admin", "net_raw", "setuid", "setgid", "setpcap")
LIBC = w.LIBC
TOP = os.path.dirname(os.path.dirname(harness.HERE))
ROUTE = """
  - host: api.example.test
    path_allowlist: [/echo]
    auth_scheme: Bearer
    token_env: E2E_TOKEN_0
"""
OTHER_ROUTE = """
  - host: second.example.test
"""
# Any connection past the proxy: to the host's end of the pod's own wire.
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 7777), 3).close()
    print("out")
except OSError as error:
    print("refused", error.errno)
"""
SERVE = """
import socket, time
sockets = [socket.create_server(("0.0.0.0", port)) for port in (8080, 8081)]
print("up", flush=True)
time.sleep(60)
"""


def join(cgroup):
    w.die_with_parent()
    with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="utf-8") as file:
        file.write("0")


class Kubelet(http.server.ThreadingHTTPServer):
    """GET /pods for whoever has the token. `away` closes connections without an answer, `slow` holds
    them without one."""
    daemon_threads = True

    def __init__(self, certificate, key):
        super().__init__(("127.0.0.1", 0), KubeletHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.context = context
        self.pods, self.token, self.away, self.asked, self.raw = {}, TOKEN, False, 0, None
        self.slow = False

    def finish_request(self, request, client_address):
        if self.away:
            return
        request.settimeout(10)
        try:
            with self.context.wrap_socket(request, server_side=True) as secure:
                self.RequestHandlerClass(secure, client_address, self)
        except OSError:
            pass

    def body(self):
        return self.raw or json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {},
                                       "items": list(self.pods.values())}).encode()


class KubeletHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        while self.server.slow:
            time.sleep(0.05)
        right = self.headers["Authorization"] == "Bearer " + self.server.token
        body = self.server.body() if right and self.path == "/pods" else b"Unauthorized"
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Pod:
    """What a kubelet and a container runtime make: a cgroup, then a sandbox with a network namespace
    and a wire in it, then containers."""
    count = 0

    def __init__(self, case, label=None, name=None, driver="systemd", labels=None, uid=None,
                 tell=True):
        Pod.count += 1
        self.number, self.case = Pod.count, case
        self.uid = uid or str(uuid.uuid4())
        self.wall = "pod-" + self.uid
        self.name = name or f"app-{self.number}"
        self.sandbox, self.netns = None, -1
        labels = dict(labels or {})
        if label is not None:
            labels["egress-bpf/policy"] = label
        self.object = {
            "metadata": {"uid": self.uid, "name": self.name, "namespace": "default",
                         "labels": labels,
                         "annotations": {"egress-bpf/policy": "open", "uid": "x"}},
            "spec": {"containers": [{"name": "app", "ports": [
                {"containerPort": 8080, "protocol": "TCP"}, {"containerPort": 53,
                                                             "protocol": "UDP"}]}]},
        }
        if tell:
            self.tell()
        self.path = case.place(self.uid, driver)
        os.mkdir(self.path)
        case.addCleanup(self.remove)

    def tell(self):
        """The kubelet knows of a pod before it makes its cgroup."""
        self.case.kubelet.pods[self.uid] = self.object

    def enter(self, container):
        def preexec():
            w.die_with_parent()
            with open(os.path.join(container, "cgroup.procs"), "w", encoding="utf-8") as file:
                file.write("0")
            if self.netns >= 0:
                w.setns(self.netns)
            else:
                w.unshare(w.CLONE_NEWNET)
            w.unshare(w.CLONE_NEWNS)
            w.mount("none", "/", None, w.MS_REC | w.MS_PRIVATE)
            w.mount(harness.world.path("node-hosts"), "/etc/hosts", None, w.MS_BIND)
        return preexec

    def container(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def start(self):
        """The sandbox: the pause process, with the wire."""
        self.sandbox = subprocess.Popen(["sleep", "infinity"],
                                        preexec_fn=self.enter(self.container("sandbox")))
        self.netns = os.open(f"/proc/{self.sandbox.pid}/ns/net", os.O_RDONLY)
        base = 4 * (self.number % 64)  # of those that live at once no two are so far apart
        self.outside, self.inside = f"198.51.100.{base + 1}", f"198.51.100.{base + 2}"
        w.sh(f"""set -e
        ip link add nodepod{self.number} type veth peer name eth0 netns {self.sandbox.pid}
        ip addr add {self.outside}/30 dev nodepod{self.number}
        ip link set nodepod{self.number} up""")
        with w.InNamespace(self.netns, harness.world.home):
            w.sh(f"""set -e
            ip link set lo up; ip addr add {self.inside}/30 dev eth0; ip link set eth0 up
            ip route add default via {self.outside}""")
        return self

    def run(self, command):
        return subprocess.run(command, preexec_fn=self.enter(self.container("app")), text=True,
                              capture_output=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})

    def connect(self):
        return self.run([harness.PYTHON, "-c", CONNECT, self.outside]).stdout.split()[:1]

    def curl(self, url, *options):
        return self.run(["curl", "-sS", "--max-time", "20", "--cacert",
                         self.case.certificate, *options, url])

    def walled(self):
        return self.wall in pins()

    def listed(self):
        out = cli("node", "--list", "--json", "--state-dir", self.case.state).stdout
        return next((x for x in map(json.loads, out.splitlines()) if x["uid"] == self.uid), None)

    def denied(self):
        """Why it is refused everything; nothing of who is not listed yet."""
        return (self.listed() or {}).get("denied", "")

    def served(self):
        wait_for(lambda: (self.listed() or {}).get("wall") == "served" and self.answers(), 30,
                 lambda: f"{self.name} to be served; {self.case.errors()[-3000:]}")
        return self

    def answers(self):
        """`run` is ready: its last words of this wall."""
        return f"{self.wall}: ready;" in self.case.errors()

    def end(self):
        """As a runtime does it: processes, wire and namespace, then the cgroup."""
        self.end_sandbox()
        w.remove_cgroup(self.path)
        self.case.kubelet.pods.pop(self.uid, None)

    def end_sandbox(self):
        if self.sandbox:
            self.sandbox.kill()
            self.sandbox.wait()
            self.sandbox = None
            os.close(self.netns)
            self.netns = -1
            subprocess.run(["ip", "link", "del", f"nodepod{self.number}"], check=False,
                           capture_output=True)

    def remove(self):
        self.end()
        if self.wall in pins():
            wait_for(lambda: not self.walled(), 20, lambda: f"the wall of {self.name} to go; "
                     + self.case.errors()[-2000:])


class NodeCase(Case):
    """An agent, its kubelet and its directories for each test."""
    more = ()
    capabilities = CAPABILITIES

    def setUp(self):
        super().setUp()
        self.root = os.path.join(harness.world.cgroup, f"node-{self._testMethodName}")
        os.makedirs(os.path.join(self.root, "kubepods.slice/kubepods-burstable.slice"))
        os.makedirs(os.path.join(self.root, "kubelet/kubepods/besteffort"))
        self.addCleanup(w.remove_cgroup, self.root)
        self.directory = harness.world.path(self._testMethodName)
        os.mkdir(self.directory)
        self.addCleanup(shutil.rmtree, self.directory)  # tokens are in it, which test_secrets looks for
        self.state = os.path.join(self.directory, "state")
        self.err_path = os.path.join(self.directory, "err")
        self.process, self.versions = None, 0
        write("node-hosts", "127.0.0.1 localhost\n")
        self.make_authority()
        self.make_tokens()
        self.policies = {"web": policy(ROUTE)}
        self.swap()
        self.start_kubelet()
        self.listener = socket.create_server(("0.0.0.0", 7777))
        self.addCleanup(self.listener.close)
        self.addCleanup(self.stop_agent)

    def make_authority(self):
        """A volume of a Secret, mode 0400, as all of them by way of links."""
        self.ca = harness.world.path("node-ca")
        self.certificate = harness.world.path("node-ca-cert.pem")
        if os.path.exists(self.ca):
            return
        data = os.path.join(self.ca, "..2026_11_22")
        os.mkdir(self.ca)
        self.ok(cli("ca", "init", data))
        os.symlink("..2026_11_22", os.path.join(self.ca, "..data"))
        for name in "ca.pem", "ca-cert.pem":
            os.chmod(os.path.join(data, name), 0o400)
            os.symlink(f"..data/{name}", os.path.join(self.ca, name))
        shutil.copy(os.path.join(self.ca, "ca-cert.pem"), self.certificate)

    def make_tokens(self):
        """A projected volume of a Secret, mode 0400: NAME/VARIABLE, by way of links."""
        self.tokens = os.path.join(self.directory, "tokens")
        data = os.path.join(self.tokens, "..2026_11_22", "web")
        os.makedirs(data)
        for variable, value in harness.SECRETS.items():
            with open(os.path.join(data, variable), "w", encoding="utf-8") as file:
                file.write(value)
            os.chmod(os.path.join(data, variable), 0o400)
        os.symlink("..2026_11_22", os.path.join(self.tokens, "..data"))
        os.symlink("..data/web", os.path.join(self.tokens, "web"))
        self.token_path = write(self._testMethodName + "/kubelet-token", TOKEN + "\n", 0o600)

    def swap(self, **changes):
        """A ConfigMap volume's update: a new directory, then one rename of the link `..data`."""
        self.policies.update(changes)
        mounted = os.path.join(self.directory, "policies")
        self.versions += 1
        version = f"..2026_11_22_{self.versions}"
        os.makedirs(os.path.join(mounted, version))
        for name, text in self.policies.items():
            link = os.path.join(mounted, name + ".yaml")
            if text is None:
                if os.path.islink(link):
                    os.unlink(link)
                continue
            with open(os.path.join(mounted, version, name + ".yaml"), "w",
                      encoding="utf-8") as file:
                file.write(text)
            if not os.path.islink(link):
                os.symlink(f"..data/{name}.yaml", link)
        os.symlink(version, os.path.join(mounted, "..data_tmp"))
        os.rename(os.path.join(mounted, "..data_tmp"), os.path.join(mounted, "..data"))

    def start_kubelet(self):
        d = harness.world.path("node-kubelet")
        if not os.path.exists(d):
            self.make_certificate(d)
        self.kubelet = Kubelet(os.path.join(d, "kubelet.pem"), os.path.join(d, "kubelet.key"))
        threading.Thread(target=self.kubelet.serve_forever, args=(0.05,), daemon=True).start()
        self.addCleanup(self.kubelet.server_close)
        self.addCleanup(self.kubelet.shutdown)

    @staticmethod
    def make_certificate(d):
        os.mkdir(d)
        w.sh(f"""set -e; cd {d}
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=kubelet' \
            -keyout kubelet.key -out kubelet.csr
        printf 'subjectAltName=DNS:{NODE}\\nextendedKeyUsage=serverAuth\\n' >ext
        openssl x509 -req -in kubelet.csr -CA {harness.world.path('test-ca.pem')} \
            -CAkey {harness.world.path('test-ca.key')} -days 3 -set_serial {os.getpid()} \
            -extfile ext -out kubelet.pem""")

    def place(self, uid, driver):
        if driver == "systemd":
            return os.path.join(self.root, "kubepods.slice/kubepods-burstable.slice",
                                f"kubepods-burstable-pod{uid.replace('-', '_')}.slice")
        return os.path.join(self.root, "kubelet/kubepods/besteffort", "pod" + uid)

    def options(self):
        return ["--policies", os.path.join(self.directory, "policies"), "--tokens", self.tokens,
                "--ca-dir", self.ca, "--kubelet",
                f"https://{NODE}:{self.kubelet.server_address[1]}",
                "--kubelet-address", "127.0.0.1",
                "--kubelet-ca", harness.world.path("test-ca.pem"),
                "--kubelet-token", self.token_path, "--state-dir", self.state,
                "--kubepods", os.path.join(self.root, "kubepods.slice"),
                "--kubepods", os.path.join(self.root, "kubelet/kubepods"),
                "--ready-file", os.path.join(self.directory, "ready"), *self.more]

    def start_agent(self, *options, ready=True, wrapper=()):
        names = ",".join("+" + c for c in self.capabilities)
        env = environment()
        if wrapper:  # no leak check under ptrace
            env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        with open(self.err_path, "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                ["unshare", "--cgroup", "setpriv", "--bounding-set", "-all," + names,
                 "--inh-caps", "-all", *wrapper, harness.world.program, "node", *self.options(),
                 *options],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=env,
                preexec_fn=w.die_with_parent)
        if ready:
            wait_for(lambda: os.path.exists(os.path.join(self.directory, "ready")) or
                     self.process.poll() is not None, 20,
                     lambda: f"the agent to be ready; {self.errors()}")
            self.assertIsNone(self.process.poll(), self.errors())
        return self

    def stop_agent(self):
        if not self.process or self.process.poll() is not None:
            return
        self.process.terminate()
        self.assertEqual(self.process.wait(30), 0, self.errors())
        self.assertNotRegex(self.errors(), harness.SANITIZER)

    def kill_agent(self):
        """By force, and then its children, as when a container ends: only pins are left."""
        orphans = children(self.process.pid)
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(alive(p) for p in orphans), 20, "the children to end")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "ready"))  # the next one's word is waited for

    def errors(self):
        with open(self.err_path, encoding="utf-8") as file:
            return file.read()

    def says(self, pattern, seconds=20):
        wait_for(lambda: re.search(pattern, self.errors()), seconds,
                 lambda: f"{pattern}; {self.errors()[-3000:]}")


class Node(NodeCase):
    def test_wires_that_outlive_their_pods(self):
        """Whose runtime is slow to clean up: nobody waits for them, and their walls go with them."""
        self.start_agent()
        pods = [Pod(self, "web").start() for _ in range(4)]
        for pod in pods:
            pod.served()
        for pod in pods:
            pod.sandbox.kill()  # the namespace and its wire stay: we hold them
            pod.sandbox.wait()
            w.remove_cgroup(pod.path)
        began = time.monotonic()
        late = Pod(self, "web")
        wait_for(late.walled, 20, "the wall of a pod that comes meanwhile")
        self.assertLess(time.monotonic() - began, 6)  # three seconds for each of the four it was
        late.start().served()
        self.gone_with_their_wires(pods[:2], pods[2:])
        wait_for(lambda: len(children(self.process.pid)) == 1, 20, "those who served the others to end")
        self.kill_agent()
        self.start_agent("--interval", "1")
        self.gone_with_their_wires(pods[2:], [late])

    def gone_with_their_wires(self, pods, others):
        self.assertTrue(all(pod.walled() for pod in pods))
        for pod in pods:
            pod.end()
        wait_for(lambda: not any(pod.walled() for pod in pods), 20,
                 lambda: f"their walls to go; {self.errors()[-2000:]}")
        self.assertTrue(all(pod.walled() for pod in others))

    def names_its_source(self, pod):
        """What is to be edited is the ConfigMap's file, and not the agent's copy of it."""
        refused = json.loads(pod.curl("https://api.example.test/other").stdout)
        source = os.path.join(self.directory, "policies", "web.yaml")
        self.assertRegex(refused["hint"], r"\(web\.yaml:\d+\)$")
        wait_for(lambda: f'"route":"api.example.test ({source}:' in self.errors(), 10, "the record")
        self.assertIn(source, cli("status", pod.wall).stdout)
        kept = cli("allow", pod.wall, refused["id"], "--persist")
        self.assertEqual(kept.returncode, 1, kept)
        self.assertIn(f"the policy is a copy of {source}, and would be written over", kept.stderr)
        self.ok(cli("allow", pod.wall, refused["id"]))
        self.assertNotIn("egress_denied", pod.curl("https://api.example.test/other").stdout)
        self.ok(cli("deny", pod.wall, refused["id"]))

    def test_pods_come_and_go(self):
        self.start_agent()
        for driver in "systemd", "cgroupfs":
            with self.subTest(driver):
                pod = Pod(self, "web", driver=driver)
                wait_for(pod.walled, 20, "the wall before any process")
                plain = Pod(self, driver=driver).start()
                self.assertEqual(plain.connect(), ["out"])  # the wire is one
                self.assertFalse(plain.walled())
                pod.start()
                # Served or not yet: never out.
                self.assertEqual(pod.connect(), ["refused"])
                pod.served()
                mark = len(harness.origin_requests())
                self.assertIn("/echo", self.ok(pod.curl("https://api.example.test/echo")))
                request = harness.origin_requests(mark)[0]
                self.assertEqual(self.header(request, "Authorization"),
                                 ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
                self.assertIn("egress_denied",
                              pod.curl("https://api.example.test/other").stdout)
                self.assertNotEqual(pod.curl("https://second.example.test/").returncode, 0)
                self.names_its_source(pod)
                self.assertEqual(pod.connect(), ["refused"])
                pod.end()
                wait_for(lambda: not pod.walled(), 20, "the wall to go with the pod")
                wait_for(lambda: not pod.listed(), 20, "its state to go as well")
        self.assertNotIn(harness.MARK, self.errors())

    def test_policies_change(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        missing = Pod(self, "later").start().served()
        self.assertIn("later.yaml", missing.listed()["denied"])
        self.assertEqual(missing.connect(), ["refused"])
        self.assertNotEqual(missing.curl("https://second.example.test/echo").returncode, 0)
        # Another policy by one rename: the missing one is there, the other is another.
        self.swap(later=policy(OTHER_ROUTE), web=policy(ROUTE.replace("/echo", "/headers")))
        wait_for(lambda: missing.curl("https://second.example.test/echo").returncode == 0, 20,
                 "the new policy")
        self.assertEqual(missing.listed()["denied"], "")
        wait_for(lambda: "egress_denied" in pod.curl("https://api.example.test/echo").stdout, 20,
                 "the changed policy")
        # Broken by an edit: the old one stays, and is said to.
        self.swap(web="routes: [{hots: x}]\n")
        wait_for(lambda: "old policy stays" in pod.listed()["note"], 20, "the note")
        self.assertIn("web.yaml:1", pod.listed()["note"])
        self.ok(pod.curl("https://api.example.test/headers"))
        # What its pod would only find out by not starting.
        for key, more in (("ca_file", ""), ("proxy_ca_file", "proxy: 'https://a:1', ")):
            self.swap(web=f"upstream: {{{more}{key}: /nonexistent.pem}}\nroutes: []\n")
            wait_for(lambda key=key: f"web.yaml: upstream.{key}: cannot load certificates from "
                     "/nonexistent.pem" in pod.listed()["note"], 20, "the note")
        self.swap(web="routes: [{hots: x}]\n")
        wait_for(lambda: "web.yaml:1" in pod.listed()["note"], 20, "the note")
        # A pod that comes now has no old one.
        late = Pod(self, "web").start().served()
        self.assertIn("web.yaml:1", late.listed()["denied"])
        self.assertNotEqual(late.curl("https://api.example.test/headers").returncode, 0)
        # Neither does an agent that comes now forget the old one.
        self.kill_agent()
        self.start_agent()
        wait_for(lambda: (pod.listed() or {}).get("wall") == "served", 20)
        wait_for(lambda: pod.curl("https://api.example.test/headers").returncode == 0, 20,
                 "the old policy after a restart")

    def test_policy_that_cannot_be_read_for_now(self):
        """It heals by itself: of what failed there is no news when it has passed."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        self.ok(pod.curl("https://api.example.test/echo"))
        before = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (1, before[1]))
        self.swap(web=policy(ROUTE.replace("/echo", "/headers")))
        self.says("web.yaml: Too many open files; the old policy stays")
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, before)
        wait_for(lambda: pod.curl("https://api.example.test/headers").returncode == 0 and
                 "egress_denied" in pod.curl("https://api.example.test/echo").stdout, 40,
                 lambda: f"the new policy; {self.errors()[-3000:]}")
        self.assertEqual(self.errors().count("the old policy stays"), 1, self.errors())

    def test_policy_taken_away(self):
        """Who takes a policy away wants it to end, for what runs as for what comes."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        self.ok(pod.curl("https://api.example.test/echo"))
        self.swap(web=None)
        wait_for(lambda: "web.yaml" in pod.denied(), 20, "the refusal")
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode != 0, 20, "its effect")
        self.assertEqual(self.errors().count("everything is refused"), 1, self.errors())
        # Neither does an agent that comes now find the old one again.
        self.kill_agent()
        self.start_agent()
        wait_for(lambda: (pod.listed() or {}).get("wall") == "served", 20)
        self.assertIn("web.yaml", pod.listed()["denied"])
        self.assertNotEqual(pod.curl("https://api.example.test/echo").returncode, 0)
        self.swap(web=policy(ROUTE))
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode == 0, 20,
                 "the policy that came back")
        self.assertEqual(pod.listed()["denied"], "")

    def test_agent_killed(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        plain = Pod(self).start()
        self.assertEqual(plain.connect(), ["out"])
        self.kill_agent()
        self.assertEqual(pod.connect(), ["refused"])
        self.assertNotEqual(pod.curl("https://api.example.test/echo").returncode, 0)
        gone = Pod(self, "web").start()
        gone.end()
        # Without a kubelet the next agent knows its pods by what the last one noted.
        self.kubelet.away = True
        self.start_agent(ready=False)
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode == 0, 30,
                 "the next agent to serve; " + self.errors()[-2000:])
        self.assertEqual(pod.connect(), ["refused"])
        # What was there before it is left alone.
        self.assertEqual(plain.connect(), ["out"])

    def test_child_killed(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        for child in children(self.process.pid):
            os.kill(child, signal.SIGKILL)
        self.assertEqual(pod.connect(), ["refused"])
        self.says(r"its 'run' ended \(signal 9\)")
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode == 0, 30,
                 "another child")

    def test_sandbox_made_anew(self):
        """The pause process died: the same pod and cgroup, another network namespace."""
        self.start_agent()
        pod = Pod(self, "web").start().served()
        self.ok(pod.curl("https://api.example.test/echo"))
        pod.end_sandbox()
        pod.start()
        self.assertEqual(pod.connect(), ["refused"])
        wait_for(lambda: pod.curl("https://api.example.test/echo").returncode == 0, 20,
                 "the new sandbox to be served")
        self.assertEqual(pod.connect(), ["refused"])
        self.says("another sandbox")

    def test_no_wall(self):
        """What no wall can be put round does not run: its name is another wall's."""
        uid = str(uuid.uuid4())
        other = harness.Bottle(by="cgroup", shared=True, options=["--name", "pod-" + uid])
        self.addCleanup(other.stop)
        pod = Pod(self, "web", uid=uid)
        inside = pod.container("app")
        held = subprocess.Popen([harness.PYTHON, "-c", "input()\n" + CONNECT, "203.0.113.10"],
                                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                preexec_fn=lambda: join(inside))
        self.addCleanup(held.wait)
        self.addCleanup(held.kill)
        self.start_agent()
        wait_for(lambda: "frozen 1" in read(os.path.join(pod.path, "cgroup.events")), 20,
                 "the pod's freeze")
        wait_for(lambda: "no wall can be put up" in pod.denied(), 20, "the reason")
        held.stdin.write("\n")
        held.stdin.flush()
        other.process.terminate()
        other.process.wait(20)
        self.ok(cli("detach", pod.wall))
        self.assertEqual(held.communicate(timeout=30)[0].split()[:1], ["refused"])
        pod.start().served()
        self.assertEqual(pod.listed()["denied"], "")

    def test_without_ptrace(self):
        """A right that is missing is said; the wall stands."""
        self.capabilities = tuple(c for c in CAPABILITIES if c != "sys_ptrace")
        self.start_agent()
        pod = Pod(self, "web").start()
        self.says("network namespace of process [0-9]+: Permission denied")
        self.assertEqual(pod.connect(), ["refused"])

    def test_tokens_change(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        data = os.path.join(self.tokens, "..2026_11_23", "web")
        shutil.copytree(os.path.join(self.tokens, "..2026_11_22", "web"), data)
        with open(os.path.join(data, "E2E_TOKEN_0"), "w", encoding="utf-8") as file:
            file.write("another-" + harness.MARK)
        os.symlink("..2026_11_23", os.path.join(self.tokens, "..data_tmp"))
        os.rename(os.path.join(self.tokens, "..data_tmp"), os.path.join(self.tokens, "..data"))

        def arrives():
            mark = len(harness.origin_requests())
            self.ok(pod.curl("https://api.example.test/echo"))
            return self.header(harness.origin_requests(mark)[0], "Authorization") == [
                "Bearer another-" + harness.MARK]
        wait_for(arrives, 20, "the new token")
        self.assertNotIn(harness.MARK, self.errors())

    def test_kubelet_away(self):
        self.start_agent()
        self.kubelet.away = True
        labelled, plain = Pod(self, "web"), Pod(self)
        for pod in labelled, plain:
            wait_for(pod.walled, 20, "a wall round what nobody told of")
            pod.start()
            self.assertEqual(pod.connect(), ["refused"])
        self.says("new pods are refused everything")
        self.kubelet.away = False
        labelled.served()
        wait_for(lambda: not plain.walled(), 20, "the wall round the plain pod to go")
        self.assertEqual(plain.connect(), ["out"])

    def test_unknown_ignored(self):
        self.start_agent("--unknown", "ignore")
        asked = self.kubelet.asked
        pod = Pod(self, "web", tell=False).start()
        wait_for(lambda: self.kubelet.asked > asked + 1, 20, "the kubelet to be asked")
        self.assertFalse(pod.walled())
        self.assertEqual(pod.connect(), ["out"])
        pod.tell()
        pod.served()
        self.assertEqual(pod.connect(), ["refused"])

    def test_pods_that_lie(self):
        self.start_agent()
        victim = Pod(self, "web").start().served()
        # A label that is a path; an annotation that is a policy (each pod has one); no label.
        for label in "../policies/web", "", ".web", "web\n", "a b":
            with self.subTest(label=label):
                pod = Pod(self, label).start().served()
                self.assertIn("names no policy", pod.listed()["denied"])
                self.assertEqual(pod.connect(), ["refused"])
                pod.end()
        # Who may change its own labels may not change its policy so, nor shed it.
        for labels in {"egress-bpf/policy": "open"}, {}:
            victim.object["metadata"]["labels"] = labels
            self.swap(open=policy(OTHER_ROUTE))
            asked = self.kubelet.asked
            other = Pod(self)  # makes the agent ask
            wait_for(lambda: self.kubelet.asked > asked, 20)
            self.says("it stays with policy 'web'")
            self.assertNotEqual(victim.curl("https://second.example.test/").returncode, 0)
            self.assertEqual(victim.connect(), ["refused"])
            other.end()
        # A directory in a pod's own cgroup is no pod, whatever its name.
        stranger = str(uuid.uuid4())
        for name in f"pod{stranger}", f"kubepods-burstable-pod{stranger.replace('-', '_')}.slice":
            os.mkdir(os.path.join(victim.path, name))
        # Nor does a process whose namespace is its own move the sockets of the pod.
        hostile = subprocess.Popen(["unshare", "-n", "sleep", "infinity"],
                                   preexec_fn=victim.enter(victim.container("a")))
        self.addCleanup(hostile.wait)
        self.addCleanup(hostile.kill)
        self.kill_agent()
        self.start_agent()
        wait_for(lambda: victim.curl("https://api.example.test/echo").returncode == 0, 20,
                 "the agent to find the sandbox's namespace")
        self.assertNotIn("pod-" + stranger, pins())

    def test_wrong_answers(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        for raw, said in ((b"{", "no PodList"), (b'{"kind":"PodList","items":{}}', "no PodList"),
                          (b'{"kind":"Status"}', "no PodList")):
            with self.subTest(raw):
                self.kubelet.raw = raw
                new = Pod(self)
                wait_for(new.walled, 20, "unknown is refused")
                self.says(said)
                self.ok(pod.curl("https://api.example.test/echo"))
                self.kubelet.raw = None
                wait_for(lambda: not new.walled(), 20, "a right answer")
                new.end()
        self.kubelet.raw = json.dumps({"kind": "PodList", "items": [{
            "metadata": {"uid": str(uuid.uuid4()), "namespace": "n" * 60, "name": "p" * 250},
            "spec": {}} for _ in range(12000)]}).encode()
        Pod(self)
        self.says("it tells of more pods than 4 MiB of lines hold; walls stay")
        self.ok(pod.curl("https://api.example.test/echo"))
        self.kubelet.raw = None
        self.kubelet.token = "another"
        wait_for(Pod(self).walled, 20, "unknown is refused")
        self.says(r"does not know our token \(status 401\)")
        self.assertNotIn(TOKEN, self.errors())

    def test_wrong_certificate(self):
        self.start_agent("--kubelet", f"https://node-2.example.test:{self.kubelet.server_address[1]}",
                         ready=False)
        self.says("its certificate is not signed by --kubelet-ca, or is of another name")
        self.assertEqual(self.kubelet.asked, 0)


class Published(NodeCase):
    more = ("--publish-declared",)

    def test_declared_ports(self):
        self.start_agent()
        pod = Pod(self, "web").start().served()
        server = subprocess.Popen([harness.PYTHON, "-c", SERVE], stdout=subprocess.PIPE, text=True,
                                  preexec_fn=pod.enter(pod.container("app")))
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.assertEqual(server.stdout.readline(), "up\n")
        socket.create_connection((pod.inside, 8080), 5).close()
        with self.assertRaises(OSError):
            socket.create_connection((pod.inside, 8081), 1)


class Sidecar(NodeCase):
    """`run --pod`: in the pod's cgroup and network itself, as container/kubernetes/sidecar.yaml."""

    def setUp(self):
        super().setUp()
        w.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")  # of a namespace of the tests' own
        with harness.world.in_origin():
            w.sh(f"ip route replace 198.51.100.0/24 via {w.HOST_V4}")
        self.pod = Pod(self, tell=False).start()
        self.sidecar = None
        self.addCleanup(lambda: cli("detach", self.pod.wall, "--force"))
        self.addCleanup(self.stop_sidecar)

    def start_sidecar(self, *options):
        names = ",".join("+" + c for c in SIDECAR_CAPABILITIES)
        enter = self.pod.enter(self.pod.container("sidecar"))

        def preexec():
            enter()
            # Its hosts file is the node's, so to say: it knows the origins.
            LIBC.umount2(b"/etc/hosts", 2)
        with open(self.err_path, "a", encoding="utf-8") as err:
            self.sidecar = subprocess.Popen(
                # As in a container: its own cgroup namespace and process ids.
                ["unshare", "--cgroup", "--pid", "--fork", "--mount-proc", "setpriv",
                 "--bounding-set", "-all," + names, "--inh-caps", "-all",
                 harness.world.program, "run", "--pod", self.pod.uid, "--kubepods",
                 os.path.join(self.root, "kubepods.slice"), "--policy",
                 os.path.join(self.directory, "policies/web.yaml"), "--token-dir",
                 os.path.join(self.tokens, "web"), "--ca-dir", self.ca, "--ready-file",
                 os.path.join(self.directory, "ready"), *options],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=environment(),
                preexec_fn=preexec)
        wait_for(lambda: os.path.exists(os.path.join(self.directory, "ready")) or
                 self.sidecar.poll() is not None, 20, "the sidecar")
        self.assertIsNone(self.sidecar.poll(), self.errors())

    def stop_sidecar(self, number=signal.SIGTERM):
        if self.sidecar and self.sidecar.poll() is None:
            os.kill(children(self.sidecar.pid)[0], number)
            self.sidecar.wait(20)
        if os.path.exists(os.path.join(self.directory, "ready")):
            os.unlink(os.path.join(self.directory, "ready"))

    def probe(self):
        try:
            url = f"http://{self.pod.inside}:9464/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def test_walls_the_others(self):
        self.assertEqual(self.pod.connect(), ["out"])
        self.start_sidecar("--metrics", "0.0.0.0:9464")
        # The kubelet's probe: from outside, and past the wall.
        wait_for(self.probe, 20, "the metrics to be served")
        self.assertEqual(self.pod.connect(), ["refused"])
        mark = len(harness.origin_requests())
        self.ok(self.pod.curl("https://api.example.test/echo"))
        self.assertEqual(self.header(harness.origin_requests(mark)[0], "Authorization"),
                         ["Bearer " + harness.SECRETS["E2E_TOKEN_0"]])
        self.assertIn("egress_denied", self.pod.curl("https://api.example.test/other").stdout)
        # An address instead of a name, and the wire's other end by a datagram.
        self.assertNotEqual(self.pod.curl("https://api.example.test/echo", "--resolve",
                                          "api.example.test:443:203.0.113.10").returncode, 0)
        # What is below the sidecar's own cgroup is not spared with it.
        below = os.path.join(self.pod.container("sidecar"), "below")
        os.mkdir(below)
        out = subprocess.run([harness.PYTHON, "-c", CONNECT, self.pod.outside], text=True,
                             preexec_fn=self.pod.enter(below), capture_output=True, check=False)
        self.assertEqual(out.stdout.split()[:1], ["refused"])
        self.stop_sidecar(signal.SIGKILL)
        self.assertEqual(self.pod.connect(), ["refused"])
        self.assertNotEqual(self.pod.curl("https://api.example.test/echo").returncode, 0)
        # The next one is another container: another cgroup is spared, and the old one is not.
        old = self.pod.container("sidecar")
        self.pod.container = lambda name, path=self.pod.path: (
            os.makedirs(os.path.join(path, name + "-2"), exist_ok=True)
            or os.path.join(path, name + "-2"))
        self.start_sidecar()
        self.ok(self.pod.curl("https://api.example.test/echo"))
        out = subprocess.run([harness.PYTHON, "-c", CONNECT, self.pod.outside], text=True,
                             preexec_fn=self.pod.enter(old), capture_output=True, check=False)
        self.assertEqual(out.stdout.split()[:1], ["refused"])

    def test_leftovers(self):
        """The wall of a pod that has ended goes with the next pod's sidecar."""
        self.start_sidecar()
        self.stop_sidecar(signal.SIGKILL)
        first, self.pod = self.pod, Pod(self, tell=False).start()
        first.end()
        self.assertIn(first.wall, pins())
        self.start_sidecar()
        wait_for(lambda: first.wall not in pins(), 20, "the dead pod's wall to go")
        self.assertIn(self.pod.wall, pins())
        self.addCleanup(lambda pod=self.pod: cli("detach", pod.wall, "--force"))

    def test_refuses(self):
        root = os.path.join(self.root, "kubepods.slice")
        for uid, said, status in (("nonsense", "not a pod's uid", 2),
                                  (str(uuid.uuid4()), "no cgroup of such", 1),
                                  (self.pod.uid, "not in that pod", 1)):
            with self.subTest(uid):
                result = cli("run", "--pod", uid, "--kubepods", root, "--policy",
                             os.path.join(self.directory, "policies/web.yaml"), "--token-dir",
                             os.path.join(self.tokens, "web"), "--ca-dir", self.ca)
                self.assertEqual(result.returncode, status)
                self.assertIn(said, result.stderr)
        self.assertEqual(cli("run", "--pod", self.pod.uid, "--netns", "/x", "--policy", "/x")
                         .returncode, 2)
        self.assertEqual(cli("run", "--kubepods", "/x", "--cgroup", "/x", "--policy", "/x")
                         .returncode, 2)


class Usage(Case):
    def test_options(self):
        ca = harness.world.path("node-usage-ca")
        self.ok(cli("ca", "init", ca))
        right = ["--policies", "/tmp", "--ca-dir", ca, "--kubelet", "https://x:10250"]
        for arguments, said in (
                ([], "are needed"), (right[:4], "are needed"),
                ([*right, "--unknown", "allow"], "deny, ignore"),
                ([*right, "--interval", "0"], "1 to 3600"),
                ([*right, "--interval", "1x"], "1 to 3600"),
                (["--json"], "--list"), ([*right[:2], "--ca-dir", "/none", *right[4:]], "ca.pem"),
                ([*right, "--nonsense"], "unknown option")):
            with self.subTest(arguments):
                result = cli("node", *arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(said, result.stderr)
        for arguments, said in (
                ([*right[:4], "--kubelet", "http://x:10250"], "https://NODE:10250"),
                ([*right[:4], "--kubelet", "https://x:10250/pods"], "without a path"),
                ([*right, "--kubepods", "/none"], "no such directory"),
                ([*right, "--kubepods", harness.world.cgroup, "--state-dir", "/none/x"],
                 "--state-dir")):
            with self.subTest(arguments):
                state = [] if "--state-dir" in arguments else ["--state-dir",
                                                               harness.world.path("node-usage")]
                result = cli("node", *arguments, *state)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn(said, result.stderr)

    def test_damaged_notes(self):
        """A pod whose notes cannot be read is not one that is not there."""
        uid = str(uuid.uuid4())
        state = harness.world.path("node-notes")
        os.mkdir(state)
        write(f"node-notes/{uid}.json", "{")
        result = cli("node", "--list", "--state-dir", state)
        self.assertIn(f"{uid}.json is damaged", result.stderr)
        self.assertEqual(result.returncode, 0)  # a probe's question is another one


class Manifests(Case):
    """The tests above hold what container/kubernetes/ grants; here, that it grants just that. Its
    form is tools/check-manifests' matter, which needs npm."""

    def setUp(self):
        super().setUp()
        self.objects = {}
        for name in "sidecar", "daemonset":
            with open(os.path.join(TOP, f"container/kubernetes/{name}.yaml"),
                      encoding="utf-8") as file:
                self.objects[name] = list(yaml.safe_load_all(file))
        self.sidecar = self.find("sidecar", "Pod")["spec"]
        self.agent = self.find("daemonset", "DaemonSet")["spec"]["template"]["spec"]

    def find(self, file, kind):
        return next(x for x in self.objects[file] if x["kind"] == kind)

    def test_rights(self):
        for container, tested in ((self.sidecar["initContainers"][0], SIDECAR_CAPABILITIES),
                                  (self.agent["containers"][0], CAPABILITIES)):
            rights = container["securityContext"]
            self.assertEqual(rights["capabilities"]["drop"], ["ALL"])
            self.assertEqual({c.lower() for c in rights["capabilities"]["add"]}, set(tested))
            self.assertNotIn("privileged", rights)
        self.assertEqual(self.find("daemonset", "ClusterRole")["rules"], [
            {"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}])
        with open(os.path.join(TOP, "docs/containers.md"), encoding="utf-8") as file:
            told = file.read().split("## Kubernetes")[1]
        for name in CAPABILITIES:
            self.assertIn(name.upper(), told)

    def test_roots(self):
        """What exec and start set for the bottle's tools, each tool there is."""
        with open(os.path.join(TOP, "user/trust_variables.c"), encoding="utf-8") as file:
            names = re.findall(r'^\t"(\w+)",$', file.read(), re.MULTILINE)
        self.assertIn("SSL_CERT_FILE", names)
        for file in "sidecar", "daemonset":
            app = self.find(file, "Pod")["spec"]["containers"][0]
            self.assertEqual([e["name"] for e in app["env"]
                              if e.get("value", "").endswith("/ca-cert.pem")], names)

    def test_order_and_volumes(self):
        self.assertEqual(self.sidecar["initContainers"][0]["restartPolicy"], "Always")
        for spec in self.sidecar, self.agent:
            volumes = {v["name"]: v for v in spec["volumes"]}
            for container in spec.get("initContainers", []) + spec["containers"]:
                for mount in container["volumeMounts"]:
                    self.assertIn(mount["name"], volumes)
            for volume in volumes.values():  # what `run` refuses: a token that others may read
                for kind in "secret", "projected":
                    if kind in volume:
                        self.assertEqual(volume[kind]["defaultMode"], 0o400)
        # Of the CA's directory the other containers get one file.
        mounts = self.sidecar["containers"][0]["volumeMounts"]
        self.assertEqual([m.get("subPathExpr") for m in mounts if m["name"] == "ca"],
                         ["pod-$(POD_UID)/ca-cert.pem"])

    def test_options_are_the_programs(self):
        for arguments in (self.sidecar["initContainers"][0]["args"],
                          self.agent["containers"][0]["args"],
                          self.agent["containers"][0]["readinessProbe"]["exec"]["command"][1:]):
            text = cli(arguments[0], "--help").stdout
            for option in re.findall(r"--[a-z-]+", " ".join(arguments)):
                self.assertIn("  " + option, text)

    def test_policies(self):
        maps = [x["data"] for name in self.objects for x in self.objects[name]
                if x["kind"] == "ConfigMap"]
        self.assertEqual(len(maps), 2)
        for number, data in enumerate(maps):
            for name, text in data.items():
                self.ok(cli("check", write(f"manifest-{number}-{name}", text)))
