# SPDX-License-Identifier: BSD-2-Clause
"""container/kubernetes/daemonset.yaml as it stands, but for what a cluster of 1.20 and this node's layout
of cgroups want otherwise: see manifest()."""
import copy
import json
import os
import subprocess
import time
import unittest

import yaml

import cluster
import harness
from cluster import ADDRESS, GATEWAY
from harness import pins, read, wait_for

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOKEN = "cluster-token-" + harness.MARK
ROUTES = """
  - host: api.example.test
    path_allowlist: [/echo]
    auth_scheme: Bearer
    token_env: EXAMPLE_TOKEN
"""
CA = "/etc/egress-bpf/policies/origins.pem"  # a file of the ConfigMap, as the policies are
# A container's first instructions: is there a way out?
FIRST = f"nc -w 2 {GATEWAY} 7777 </dev/null && echo WAY OUT; echo began; exec sleep 1000"


def manifest():
    """The objects but the pod, the ConfigMap among them, and the pod."""
    with open(os.path.join(TOP, "container/kubernetes/daemonset.yaml"), encoding="utf-8") as file:
        objects = list(yaml.safe_load_all(file))
    kinds = {x["kind"]: x for x in objects}
    kinds["ClusterRole"]["rules"][0]["resources"] = ["nodes/proxy"]  # as it says for before 1.33
    spec = kinds["DaemonSet"]["spec"]["template"]["spec"]
    agent = spec["containers"][0]
    agent["securityContext"].pop("appArmorProfile")  # as it says for before 1.30
    agent.update(image="docker.io/library/egress-bpf:1", imagePullPolicy="Never")
    agent["args"].append(f"--kubepods={Daemonset.cluster.unified}{Daemonset.cluster.group}/kubepods")
    spec["dnsPolicy"] = "Default"  # there is no DNS of the cluster's
    set_policy(kinds["ConfigMap"], ROUTES)
    pod = kinds["Pod"]
    pod["spec"]["terminationGracePeriodSeconds"] = 1
    pod["spec"]["containers"][0].update(image="docker.io/library/box:1", imagePullPolicy="Never",
                                        command=["/bin/sh", "-c", FIRST])
    return [x for x in objects if x is not pod], kinds["ConfigMap"], pod


def set_policy(config_map, routes):
    roots = harness.world.path("test-ca.pem")
    config_map["data"]["web.yaml"] = harness.policy(routes).replace(roots, CA)
    config_map["data"]["origins.pem"] = read(roots)


class Daemonset(unittest.TestCase):
    cluster = None

    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster()
        cls.addClassCleanup(cls.cluster.stop)
        c = cls.cluster.start()
        root = c.path("agent-root")
        subprocess.run([os.path.join(TOP, "container/make-root"), harness.world.program, root],
                       check=True)
        c.load("egress-bpf", root, {"Entrypoint": ["/usr/bin/egress-bpf"]})
        cls.objects, cls.config_map, cls.pod = manifest()
        c.apply(*cls.objects)
        # As the head of the manifest says.
        subprocess.run([harness.world.program, "ca", "init", c.path("ca")], check=True,
                       capture_output=True)
        cluster.write(c.path("token"), TOKEN)
        for where, kind, *rest in (
                ("egress-bpf", "secret", "generic", "egress-bpf-ca",
                 f"--from-file={c.path('ca/ca.pem')}", f"--from-file={c.path('ca/ca-cert.pem')}"),
                ("egress-bpf", "secret", "generic", "egress-tokens-web",
                 f"--from-file=EXAMPLE_TOKEN={c.path('token')}"),
                ("default", "configmap", "egress-bpf-ca-cert",
                 f"--from-file={c.path('ca/ca-cert.pem')}")):
            c.kubectl("-n", where, "create", kind, *rest)
        wait_for(cls.agent_ready, 30, c.tell)

    @classmethod
    def agent_ready(cls):
        """One, and no other that is on its way out."""
        pods = cls.cluster.pods("egress-bpf")
        return len(pods) == 1 and any(x["type"] == "Ready" and x["status"] == "True"
                                      for x in pods[0]["status"].get("conditions", []))

    def setUp(self):
        self.addCleanup(self.all_gone)

    def all_gone(self):
        self.cluster.kubectl("delete", "deployment,pod", "--all", "--wait=false")
        wait_for(lambda: not self.cluster.pods(), 30, self.cluster.tell)
        wait_for(lambda: not [x for x in pins() if x.startswith("pod-")], 30,
                 lambda: f"walls: {pins()}; {self.said()}")
        self.assertNotIn("NOT WALLED", self.said())
        self.assertNotIn("cannot reserve our ports", self.said())

    # ---- what is asked ----------------------------------------------------------------------------

    def said(self):
        """The agent's log; what it was before its pod was replaced is gone."""
        return self.cluster.kubectl("-n", "egress-bpf", "logs", "--tail=-1", "ds/egress-bpf",
                                    check=False)

    def agent(self, *arguments):
        return self.cluster.kubectl("-n", "egress-bpf", "exec", "ds/egress-bpf", "--",
                                    "/usr/bin/egress-bpf", *arguments)

    def inside(self, name, *command):
        return self.cluster.kubectl("exec", name, "--", *command, check=False)

    def curl(self, name, url):
        return self.inside(name, "curl", "-sS", "--max-time", "5", url)

    def running(self, count):
        pods = [p for p in self.cluster.pods() if p["status"]["phase"] == "Running"]
        return pods if len(pods) == count else None

    def served(self, count):
        pods = wait_for(lambda: self.running(count), 30, self.cluster.tell)
        for pod in pods:
            ready = f"pod-{pod['metadata']['uid']}: ready;"
            wait_for(lambda: ready in self.said(), 30, self.said)
        return pods

    def start_one(self):
        self.cluster.apply(self.pod)
        pod = self.served(1)[0]["metadata"]
        return pod["name"], pod["uid"]

    def began_inside(self, name):
        """The container has tried, and its first instruction found no way out."""
        logs = ("logs", name)
        wait_for(lambda: "began" in self.cluster.kubectl(*logs) and
                 "can't connect" in self.cluster.kubectl(*logs), 20, self.cluster.tell)
        self.assertNotIn("WAY OUT", self.cluster.kubectl(*logs))

    def closed(self, name):
        for url in (f"http://{GATEWAY}:7777/", f"https://{ADDRESS}:6443/", f"https://{ADDRESS}:10250/"):
            self.assertIn("Failed to connect", self.curl(name, url))

    # ---- tests ------------------------------------------------------------------------------------

    def test_pod(self):
        name, uid = self.start_one()
        self.began_inside(name)
        self.closed(name)
        mark = len(harness.origin_requests())
        self.assertIn("/echo", self.curl(name, "https://api.example.test/echo"))
        headers = dict(harness.origin_requests(mark)[0]["headers"])
        self.assertEqual(headers["Authorization"], "Bearer " + TOKEN)
        refused = json.loads(self.curl(name, "https://api.example.test/other"))
        self.assertIn("(web.yaml:", refused["hint"])
        self.assertIn("Could not resolve", self.curl(name, "https://second.example.test/"))
        self.assertRegex(self.agent("node", "--list"), r"default/example +web +served")
        status = self.agent("status", "pod-" + uid)
        self.assertIn("veth: 1 of 1 walled", status)
        self.assertIn("/etc/egress-bpf/policies/web.yaml", status)

        changed = copy.deepcopy(self.config_map)
        set_policy(changed, ROUTES.replace("[/echo]", "[/echo, /other]"))
        self.addCleanup(self.cluster.apply, self.config_map)
        self.cluster.apply(changed)
        wait_for(lambda: "egress_denied" not in self.curl(name, "https://api.example.test/other"), 60,
                 self.said)

    def test_probe(self):
        """The kubelet reaches the ports that a container declares, and no others."""
        pod = copy.deepcopy(self.pod)
        container = pod["spec"]["containers"][0]
        container["command"] = ["/bin/sh", "-c", "while :; do nc -l -p 8080 </dev/null; done"]
        container["ports"] = [{"containerPort": 8080}]
        container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
        hidden = copy.deepcopy(pod)
        hidden["metadata"]["name"] = "hidden"
        hidden["spec"]["containers"][0]["ports"] = [{"containerPort": 8081}]
        self.cluster.apply(pod, hidden)
        self.served(2)
        ready = ("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
        wait_for(lambda: "true" in self.cluster.kubectl(*ready), 20, self.cluster.tell)
        self.assertEqual(self.cluster.kubectl(*ready), "true false")

    def test_many_at_once(self):
        spec = copy.deepcopy(self.pod["spec"])
        labels = {"app": "many", **self.pod["metadata"]["labels"]}
        self.cluster.apply({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
            "spec": {"replicas": 12, "selector": {"matchLabels": {"app": "many"}},
                     "template": {"metadata": {"labels": labels}, "spec": spec}}})
        for pod in self.served(12):
            self.began_inside(pod["metadata"]["name"])

    def test_agent_is_replaced(self):
        name, _ = self.start_one()
        self.cluster.kubectl("-n", "egress-bpf", "delete", "pod", "--all", "--grace-period=1",
                             "--wait=false")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            self.closed(name)
        wait_for(self.agent_ready, 30, self.cluster.tell)
        wait_for(lambda: '"/echo"' in self.curl(name, "https://api.example.test/echo"), 30, self.said)
        self.closed(name)
