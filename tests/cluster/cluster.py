# SPDX-License-Identifier: BSD-2-Clause
"""A cluster of one node in the tests' world: etcd, API server, controllers, scheduler, kubelet and
containerd, each as its own project has it. Nothing of it is left after stop().

The kubelet (1.20) has its controllers on cgroup v1 here, and makes its cgroups there. What it would make
on v2 is made beside it (Mirror), so that the order is the one of a node with v2: the pod's cgroup first."""
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading

import yaml

import engine
import harness
import world as w
from harness import read, wait_for

PROGRAMS = None  # where cluster-fetch has put Kubernetes' own
NODE, ADDRESS = "node-1.example.test", "192.0.2.10"
GATEWAY, PODS = "198.51.100.129", "198.51.100.128/25"
NAMES = f"DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{ADDRESS}"
# Where kubelet and containerd write whatever they are told.
HOST_PATHS = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers",
              "/run/containerd", "/run/netns")
# What a kubelet sets for the whole machine.
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
           "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
PAUSE = """#include <signal.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def hierarchies():
    """cgroup v1's, and v2."""
    mounts = [line.split() for line in read("/proc/mounts").splitlines()]
    unified = [m[1] for m in mounts if m[2] == "cgroup2"]
    old = [m[1] for m in mounts if m[2] == "cgroup"]
    if not old or not unified:
        raise SystemExit("check-cluster: made for machines with cgroup v1 beside v2; this one has not both")
    return old, unified[0]


class Mirror(threading.Thread):
    """Makes and removes on v2 what the kubelet makes and removes on v1 down to the pods."""

    def __init__(self, source, target):
        super().__init__(daemon=True)
        self.source, self.target, self.ended = source, target, threading.Event()
        for level in "", "burstable", "besteffort":
            os.makedirs(os.path.join(target, "kubepods", level), exist_ok=True)

    @staticmethod
    def pods(top):
        found = glob.glob(top + "/kubepods/pod*") + glob.glob(top + "/kubepods/*/pod*")
        return {path[len(top):] for path in found}

    def run(self):
        while not self.ended.wait(0.003):
            wanted, there = self.pods(self.source), self.pods(self.target)
            for path in wanted - there:
                os.mkdir(self.target + path)
            for path in there - wanted:
                w.remove_cgroup(self.target + path)

    def stop(self):
        self.ended.set()
        self.join()


class Cluster:
    def __init__(self):
        # A unix socket's path has room for 107 characters.
        self.directory = harness.world.path("cluster")
        self.keys = self.path("keys")
        self.group = "/" + os.path.basename(harness.world.cgroup) + "-cluster"
        self.old, self.unified = hierarchies()
        self.processes, self.made, self.mirror = {}, [], None
        self.sysctls = {path: read("/proc/sys/" + path) for path in SYSCTLS}
        for directory in "", "cni", "keys", "tmp":
            os.makedirs(self.path(directory))

    def path(self, name):
        return os.path.join(self.directory, name)

    def log(self, name):
        """Its end, or the fatal line, behind which Kubernetes' programs print pages."""
        text = read(self.path(name + ".log"), errors="replace")
        fatal = re.search(r"^F\d{4} .*$", text, re.M)
        return fatal.group() if fatal else text[-3000:]

    def wait(self, condition, what):
        """For the start of a part of it."""
        def ended_or_so():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            return ended or condition()
        wait_for(ended_or_so, 30, lambda: self.log(what))
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} has ended: {self.log(name)}")

    # ---- processes ------------------------------------------------------------------------------

    def start(self):
        self.hide_host()
        self.make_cgroups()
        w.sh(f"""ip link add node0 type veth peer name node1; ip addr add {ADDRESS}/32 dev node0
                 ip link set node0 up; ip link set node1 up""")
        write("/proc/sys/net/ipv4/ip_forward", "1")
        self.make_keys()
        self.start_containerd()
        self.start_control_plane()
        self.start_kubelet()
        self.wait(lambda: " Ready" in self.kubectl("get", "nodes"), "kubelet")
        return self

    def spawn(self, name, command):
        with open(self.path(name + ".log"), "w", encoding="utf-8") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=w.die_with_parent,
                env={"PATH": engine.PATH, "HOME": self.directory, "TMPDIR": self.path("tmp")})

    def own(self, name):
        return os.path.join(PROGRAMS, name)

    def stop(self):
        for name in "kubelet", "sched", "kcm", "apiserver", "etcd":
            self.end(name)
        self.end_containers()
        self.end("containerd")
        if self.mirror:
            self.mirror.stop()
        for top in [*self.old, self.unified]:
            w.remove_cgroup(top + self.group)
        for path, value in self.sysctls.items():
            write("/proc/sys/" + path, value)
        for line in sorted(read("/proc/mounts").splitlines(), reverse=True):
            at = line.split()[1]
            if at.startswith(self.directory) or at in HOST_PATHS:
                subprocess.run(["umount", "-l", at], check=False, capture_output=True)
        for path in reversed(self.made):
            os.rmdir(path)
        shutil.rmtree(self.directory, ignore_errors=True)

    def end(self, name):
        process = self.processes.pop(name, None)
        if process:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def end_containers(self):
        for top in [*self.old, self.unified]:
            for pid in w.cgroup_pids(top + self.group):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for path in glob.glob("/proc/[0-9]*/cmdline"):  # the shims, which outlive containerd
            try:
                words = read(path, errors="replace").split("\0")
            except OSError:
                continue
            if "containerd-shim" in words[0] and self.path("c.sock") in words:
                os.kill(int(path.split("/")[2]), signal.SIGKILL)

    # ---- the machine ----------------------------------------------------------------------------

    def hide_host(self):
        for path in HOST_PATHS:
            if not os.path.isdir(path):
                os.mkdir(path)
                self.made.append(path)
            w.mount("tmpfs", path, "tmpfs")

    def make_cgroups(self):
        for top in [*self.old, self.unified]:
            os.makedirs(top + self.group, exist_ok=True)
            for name in "cpuset.cpus", "cpuset.mems":
                if os.path.exists(os.path.join(top, name)) and top != self.unified:
                    write(top + self.group + "/" + name, read(os.path.join(top, name)))
        pids = next(top for top in self.old if os.path.exists(top + self.group + "/pids.max"))
        self.mirror = Mirror(pids + self.group, self.unified + self.group)
        self.mirror.start()

    # ---- containers -----------------------------------------------------------------------------

    def start_containerd(self):
        write(self.path("containerd.toml"), f"""version = 2
root = "{self.path('root')}"
state = "{self.path('state')}"
[grpc]
  address = "{self.path('c.sock')}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.path('opt')}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.path('cni')}"
""")
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False,
                  "ipam": {"type": "host-local", "dataDir": self.path("ipam"), "subnet": PODS,
                           "routes": [{"dst": "0.0.0.0/0"}]}}
        write(self.path("cni/10-pods.conflist"),
              json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}))
        self.spawn("containerd", ["containerd", "-c", self.path("containerd.toml")])
        self.wait(lambda: os.path.exists(self.path("c.sock")), "containerd")
        write(self.path("pause.c"), PAUSE)
        os.mkdir(self.path("pause-root"))
        w.sh(f"gcc -static -o {self.path('pause-root/pause')} {self.path('pause.c')}")
        self.load("pause", self.path("pause-root"), {"Cmd": ["/pause"]})
        self.load("box", engine.make_root(self.path("box-root")), {"Cmd": ["/bin/sh"]})

    def load(self, name, root, config):
        """As docker.io/library/NAME:1, by the format of `docker save`."""
        d = self.path("image-" + name)
        os.mkdir(d)
        w.sh(f"tar --numeric-owner -C {root} -cf {d}/layer.tar .")
        with open(d + "/layer.tar", "rb") as layer:
            digest = hashlib.sha256(layer.read()).hexdigest()
        write(d + "/config.json", json.dumps({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}))
        write(d + "/manifest.json", json.dumps([{
            "Config": "config.json", "RepoTags": [f"docker.io/library/{name}:1"],
            "Layers": ["layer.tar"]}]))
        w.sh(f"""cd {d}; tar -cf ../{name}.tar manifest.json config.json layer.tar
                 ctr -a {self.path('c.sock')} -n k8s.io images import ../{name}.tar""")

    # ---- Kubernetes -----------------------------------------------------------------------------

    def make_keys(self):
        w.sh(f"""set -e; cd {self.keys}
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=cluster \
            -keyout ca.key -out ca.crt -days 2
        openssl genrsa -out sa.key 2048; openssl rsa -in sa.key -pubout -out sa.pub""")
        node = f"/O=system:nodes/CN=system:node:{NODE}"
        self.certify("apiserver", "/CN=kube-apiserver", NAMES)
        self.certify("apikubelet", "/O=system:masters/CN=apiserver-kubelet")
        self.certify("serving", node, f"DNS:{NODE},IP:{ADDRESS}")
        for name, subject in (("admin", "/O=system:masters/CN=admin"), ("kubelet", node),
                              ("kcm", "/O=system:masters/CN=kcm"),
                              ("sched", "/O=system:masters/CN=sched")):
            self.certify(name, subject)
            user = {"client-certificate": f"{self.keys}/{name}.crt",
                    "client-key": f"{self.keys}/{name}.key"}
            server = {"server": "https://127.0.0.1:6443",
                      "certificate-authority": self.keys + "/ca.crt"}
            write(self.path(name + ".conf"), yaml.safe_dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": server}],
                "users": [{"name": "u", "user": user}]}))

    def certify(self, name, subject, names=""):
        write(f"{self.keys}/{name}.ext", "extendedKeyUsage=serverAuth,clientAuth\n" +
              (f"subjectAltName={names}\n" if names else ""))
        w.sh(f"""set -e; cd {self.keys}
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '{subject}' \
            -keyout {name}.key -out {name}.csr
        openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days 2 -CAcreateserial \
            -extfile {name}.ext -out {name}.crt""")

    def start_control_plane(self):
        k = self.keys
        self.spawn("etcd", [
            "etcd", "--data-dir", self.path("etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", "http://127.0.0.1:2379",
            "--advertise-client-urls", "http://127.0.0.1:2379",
            "--listen-peer-urls", "http://127.0.0.1:2380"])
        self.spawn("apiserver", [
            self.own("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379",
            "--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
            f"--client-ca-file={k}/ca.crt", f"--tls-cert-file={k}/apiserver.crt",
            f"--tls-private-key-file={k}/apiserver.key", "--advertise-address=" + ADDRESS,
            f"--kubelet-client-certificate={k}/apikubelet.crt",
            f"--kubelet-client-key={k}/apikubelet.key",
            f"--kubelet-certificate-authority={k}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={k}/sa.key",
            f"--service-account-key-file={k}/sa.pub", f"--cert-dir={k}"])
        self.wait(lambda: self.kubectl("get", "--raw=/readyz", check=False) == "ok", "apiserver")
        self.spawn("kcm", [
            self.own("kube-controller-manager"), "--kubeconfig", self.path("kcm.conf"),
            f"--root-ca-file={k}/ca.crt", f"--service-account-private-key-file={k}/sa.key",
            "--leader-elect=false", f"--cert-dir={k}"])
        self.spawn("sched", [
            self.own("kube-scheduler"), "--kubeconfig", self.path("sched.conf"),
            "--leader-elect=false", f"--cert-dir={k}"])

    def start_kubelet(self):
        write(self.path("kubelet.yaml"), json.dumps({
            "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": self.keys + "/ca.crt"}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": self.keys + "/serving.crt",
            "tlsPrivateKeyFile": self.keys + "/serving.key", "readOnlyPort": 0,
            "cgroupDriver": "cgroupfs", "cgroupRoot": self.group, "enforceNodeAllocatable": [],
            "failSwapOn": False, "makeIPTablesUtilChains": False, "oomScoreAdj": 0,
            "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%",
                             "memory.available": "1Mi"},
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "volumePluginDir": self.path("plugins"), "syncFrequency": "5s",
            "clusterDNS": ["10.96.0.10"]}))
        self.spawn("kubelet", [
            self.own("kubelet"), "--config", self.path("kubelet.yaml"),
            "--kubeconfig", self.path("kubelet.conf"), "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.path('c.sock')}",
            "--hostname-override", NODE, "--node-ip", ADDRESS])

    def kubectl(self, *arguments, check=True, **options):
        """Its output; where `check` is not set, that of a failure as well."""
        result = subprocess.run(
            [self.own("kubectl"), "--kubeconfig", self.path("admin.conf"), *arguments], text=True,
            capture_output=True, check=False, timeout=60, env={"PATH": engine.PATH, "HOME": self.directory},
            **options)
        if check and result.returncode != 0:
            raise AssertionError(f"kubectl {arguments}: {result.stderr}")
        return result.stdout if check else (result.stdout + result.stderr).strip()

    def apply(self, *objects):
        """Without the check of fields that 1.20 does not know yet."""
        self.kubectl("apply", "--validate=false", "-f", "-", input=yaml.safe_dump_all(objects))

    def pods(self, namespace="default"):
        return json.loads(self.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]

    def tell(self):
        """For a failure."""
        return self.kubectl("get", "pods,events", "-A", check=False)[-4000:] + self.log("kubelet")
