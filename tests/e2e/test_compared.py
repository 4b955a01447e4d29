# SPDX-License-Identifier: BSD-2-Clause
"""Real programs under `exec`, without proxy variables, and the same run direct: the same bytes and
the same status."""
import base64
import hashlib
import json
import os
import re
import subprocess
import zipfile

import harness
import world as w
from harness import Case, MARK, PROGRAMS, PYTHON, SECRETS, run_exec

PORT = 5000
REGISTRY = f"https://both.example.test:{PORT}"
LAYER = 8_000_000
REPOSITORY = 60_000_000
ROUTES = f"""
  - host: bulk.example.test
  - host: both.example.test
    ports: [{PORT}, {PORT + 1}]
    keep_authorization: true
  - host: second.example.test
    ports: [{PORT}]
  - host: pinned.example.test
    tls: passthrough
    ports: [443]
  - host: git.example.test
    auth: {{scheme: Basic, username: x-access-token, token_env: E2E_TOKEN_0}}
"""
WEBSOCKETS = """
import asyncio, os, sys, hashlib, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as s:
        for size in (0, 1, 125, 126, 65535, 65536, 3000000):
            data = bytes(size)
            await s.send(data)
            print(size, await s.recv() == data)
        await s.send("text")
        print(await s.recv(), (await s.ping()) is not None)
asyncio.run(main())
"""
NODE_WS = """
const WebSocket = require('ws'), s = new WebSocket(process.argv[1]);
s.on('open', () => s.send('x'.repeat(100000)));
s.on('message', m => { console.log(m.length); s.close(1000); });
s.on('close', code => console.log('closed', code));
"""
NODE_HTTPS = """
require('https').get(process.argv[1], {headers: {Range: 'bytes=5-20'}}, r => {
    console.log(r.statusCode, r.headers['content-range']);
    r.on('data', d => console.log(d.toString('hex')));
});
"""
AIOHTTP = """
import asyncio, hashlib, ssl, sys, aiohttp
async def main():
    context = ssl.create_default_context()
    async with aiohttp.ClientSession() as session:
        async def get(n):
            async with session.get(sys.argv[1] + f"?{n}", ssl=context) as r:
                return r.status, hashlib.sha256(await r.read()).hexdigest()
        print(*await asyncio.gather(*[get(n) for n in range(8)]), sep="\\n")
asyncio.run(main())
"""
HTTP_CLIENT = """
import hashlib, http.client, sys
c = http.client.HTTPSConnection(sys.argv[1])
for path in ("/layer", "/small", "/nothing"):
    c.request("GET", path)
    r = c.getresponse()
    print(r.status, r.reason, r.getheader("ETag"), hashlib.sha256(r.read()).hexdigest())
c.request("HEAD", "/layer")
r = c.getresponse()
print(r.status, r.getheader("Content-Length"), r.read())
"""
# A ClientHello of 60 KB, in segments of 1000 bytes.
LARGE_HELLO = """
import socket, ssl, sys, time
context = ssl.create_default_context()
context._set_alpn_protocols(b"".join(bytes([255]) + bytes([65 + n % 26]) * 255 for n in range(234)))
ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(theirs, ours, server_hostname=sys.argv[1])
s = socket.create_connection((sys.argv[1], 443))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def flush(size):
    data = ours.read()
    for at in range(0, len(data), size):
        s.sendall(data[at:at + size])
        time.sleep(0.001)
    return len(data)
def step(do):
    while True:
        try:
            result = do()
            flush(1000)
            return result
        except ssl.SSLWantReadError:
            sent = flush(1000)
            if sent > 50000:
                print("large")
            data = s.recv(65536)
            theirs.write(data) if data else theirs.write_eof()
step(tls.do_handshake)
step(lambda: tls.write(b"GET /small HTTP/1.1\\r\\nHost: " + sys.argv[1].encode() + b"\\r\\n\\r\\n"))
print(step(lambda: tls.read(15)))
"""


def digest_of(path):
    with open(path, "rb") as file:
        return file.read()


class Compared(Case):
    @classmethod
    def setUpClass(cls):
        world = harness.world
        cls.www = world.path("www")
        with open(os.path.join(cls.www, "layer"), "wb") as file:
            file.write(os.urandom(LAYER))
        cls.make_apt()
        cls.make_pip()
        cls.make_npm()
        w.sh(f"chmod -R a+rX {cls.www}")
        cls.servers = []
        for host in ("both.example.test", "second.example.test"):
            with world.in_origin():
                cls.servers.append(world.spawn([
                    PYTHON, "-B", os.path.join(PROGRAMS, "registry.py"), w.HOSTS[host], str(PORT),
                    world.path("origin.pem"), world.path("origin.key")]))
            world.wait_port(w.HOSTS[host], PORT)
            world.wait_port(w.HOSTS[host], PORT + 1)

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.terminate()

    @classmethod
    def make_apt(cls):
        w.sh(f"""set -e; mkdir -p {cls.www}/apt build/DEBIAN build/usr/share/demo
        printf 'Package: egress-demo\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: x <x@x.test>\\n'\
'Description: demo\\n' >build/DEBIAN/control
        head -c 300000 /dev/urandom >build/usr/share/demo/data
        dpkg-deb -b build {cls.www}/apt/egress-demo_1.0_all.deb
        cd {cls.www}/apt; dpkg-scanpackages -m . >Packages""", cwd=harness.world.directory)

    @classmethod
    def make_pip(cls):
        directory, name = os.path.join(cls.www, "simple", "demo"), "demo-1.0-py3-none-any.whl"
        os.makedirs(directory)
        info = "demo-1.0.dist-info/"
        with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
            wheel.writestr("demo.py", "x = 1\n" * 50000)
            wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                           "Tag: py3-none-any\n")
            wheel.writestr(info + "RECORD", "demo.py,,\n")
        with open(os.path.join(directory, "index.html"), "w", encoding="utf-8") as file:
            file.write(f'<a href="{name}">{name}</a>')

    @classmethod
    def make_npm(cls):
        """A registry of tarballs, and a project with a lock file for it."""
        locked, wanted = {}, {}
        for name in ("left", "right", "@acme/scoped"):
            place = os.path.join(cls.www, "npm", name, "-")
            base = name.split("/")[-1]
            os.makedirs(place)
            w.sh(f"""set -e; rm -rf package; mkdir package
            echo '{{"name": "{name}", "version": "1.0.0"}}' >package/package.json
            head -c 200000 /dev/urandom | base64 >package/index.js
            tar czf {place}/{base}-1.0.0.tgz package""", cwd=harness.world.directory)
            data = digest_of(f"{place}/{base}-1.0.0.tgz")
            wanted[name] = "1.0.0"
            locked[f"node_modules/{name}"] = {
                "version": "1.0.0",
                "resolved": f"https://bulk.example.test/npm/{name}/-/{base}-1.0.0.tgz",
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()}
        project = os.path.join(harness.world.directory, "project")
        os.mkdir(project)
        root = {"name": "project", "version": "1.0.0", "dependencies": wanted}
        for name, value in (("package.json", root), ("package-lock.json", {
                "name": "project", "version": "1.0.0", "lockfileVersion": 3,
                "packages": {"": root, **locked}})):
            with open(os.path.join(project, name), "w", encoding="utf-8") as file:
                json.dump(value, file)
        w.sh(f"chmod -R a+rX {project}")

    def direct(self, command, env=None):
        """The same outside, where the origins' own certificates are trusted."""
        ca = harness.world.path("certs/ca-certificates.crt")
        environment = harness.environment(NODE_EXTRA_CA_CERTS=ca, PIP_CERT=ca, SSL_CERT_FILE=ca,
                                          **(env or {}))
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL, env=environment, user=harness.UID,
                              group=harness.UID, extra_groups=[],
                              cwd=harness.world.path("home"))

    def compare(self, command, env=None, clean=None):
        if isinstance(command, str):
            command = ["sh", "-c", command]
        inside = run_exec(command, "--log", harness.world.path("compared.log"),
                          policy_text=harness.policy(ROUTES), env=env)
        outside = self.direct(command, env)
        outputs = [clean(r.stdout) if clean else r.stdout for r in (inside, outside)]
        self.assertEqual((inside.returncode, outputs[0]), (outside.returncode, outputs[1]),
                         inside.stderr[-1500:] + outside.stderr[-1500:])
        return outputs[0]

    def test_wget_and_curl(self):
        url = "https://bulk.example.test/"
        output = self.compare(
            f"wget -q -O - {url}layer | sha256sum; wget -S -q -O - {url}none; echo $?;"
            f"curl -sS {url}layer -r 100-199,500- -o - | wc -c; curl -sSI {url}layer | grep -Evi '^(date|connection):' | sort;"
            f"curl -sS -r 5000000- {url}layer | sha256sum;"
            f"head -c 3000000 {self.www}/layer >part; curl -sS -C - -o part {url}layer &&"
            f"sha256sum part; rm -f part;"
            f"etag=$(curl -sSI {url}layer | sed -n 's/ETag: //Ip' | tr -d '\\r');"
            f"curl -sS -o /dev/null -w '%{{http_code}} %{{size_download}}\\n'"
            f" -H \"If-None-Match: $etag\" {url}layer")
        self.assertIn(hashlib.sha256(digest_of(os.path.join(self.www, "layer"))).hexdigest(), output)
        self.assertTrue(output.endswith("304 0\n"), output)

    def test_encodings_pass_untouched(self):
        output = self.compare(f"curl -sS -D - -o body {REGISTRY}/gzip | grep -vi '^date';"
                              "sha256sum body; rm body", clean=lambda text: re.sub(
                                  "(?i)connection: .*\r\n", "", text))
        self.assertIn("Content-Encoding: gzip", output)

    def test_http_client(self):
        self.assertIn("404", self.compare([PYTHON, "-c", HTTP_CLIENT, "bulk.example.test"]))

    def test_aiohttp(self):
        self.assertEqual(self.compare([PYTHON, "-c", AIOHTTP,
                                       "https://bulk.example.test/layer"]).count("(200, "), 8)

    def test_requests_and_node(self):
        self.compare([PYTHON, "-c", "import hashlib, requests, sys; s = requests.Session();"
                      "[print(r.status_code, hashlib.sha256(r.content).hexdigest()) for r in"
                      " (s.get(sys.argv[1]), s.get(sys.argv[1] + 'x'), s.head(sys.argv[1]))]",
                      "https://bulk.example.test/layer"])
        self.assertIn("206 bytes 5-20/", self.compare(
            ["node", "-e", NODE_HTTPS, "https://bulk.example.test/layer"]))

    def test_websockets(self):
        url = f"wss://both.example.test:{PORT + 1}/ws"
        self.assertIn("3000000 True", self.compare([PYTHON, "-c", WEBSOCKETS, url]))
        self.assertIn("closed 1000", self.compare(
            ["node", "-e", NODE_WS, url], env={"NODE_PATH": "/usr/share/nodejs"}))

    def test_openssl(self):
        for version in ("-tls1_2", "-tls1_3"):
            output = self.compare(
                "printf 'GET /small HTTP/1.0\\r\\nHost: bulk.example.test\\r\\n\\r\\n' |"
                f"openssl s_client -quiet {version} -verify_return_error -connect "
                "bulk.example.test:443 -servername bulk.example.test 2>/dev/null |"
                "sed -n '1p;$p'")
            self.assertIn("small", output)

    def test_large_client_hello(self):
        """By the proxy, and peeked at on a passthrough route."""
        self.assertIn("large", self.compare([PYTHON, "-c", LARGE_HELLO, "bulk.example.test"]))
        self.assertIn("large", self.compare([PYTHON, "-c", LARGE_HELLO, "pinned.example.test"]))

    def test_docker_pull(self):
        output = self.compare([PYTHON, harness.write("pull.py", digest_of(
            os.path.join(PROGRAMS, "pull.py")).decode()), REGISTRY])
        self.assertIn("401", output)
        self.assertIn(f"206 bytes {LAYER // 2}-{LAYER - 1}/{LAYER}", output)

    def test_redirect_out_of_policy(self):
        self.assertIn("302 https://forbidden.example.test/x", self.compare(
            f"curl -sS -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {REGISTRY}/away"))
        log = harness.world.path("away.log")
        result = run_exec(["curl", "-sSL", f"{REGISTRY}/away"], "--log", log,
                          policy_text=harness.policy(ROUTES))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("forbidden.example.test", result.stderr)
        with open(log, encoding="utf-8") as file:
            refused = [r for r in map(json.loads, file) if r["reason"] == "host_not_allowed"]
        self.assertEqual({r["host"] for r in refused}, {"forbidden.example.test"})

    def test_apt(self):
        options = ("-o Dir::State=$D/state -o Dir::Cache=$D/cache -o Dir::Etc::sourcelist=$D/list "
                   "-o Dir::Etc::sourceparts=- -o Dir::State::status=$D/status "
                   "-o Acquire::Languages=none -o Debug::NoLocking=1")
        output = self.compare(
            "D=$(mktemp -d); mkdir -p $D/state/lists/partial $D/cache/archives/partial; cd $D;"
            "touch status; echo 'deb [trusted=yes] https://bulk.example.test/apt ./' >list;"
            f"apt-get {options} -qq update && apt-get {options} -qq download egress-demo;"
            "sha256sum *.deb; cd /; rm -rf $D")
        self.assertIn("egress-demo_1.0_all.deb", output)

    def test_pip(self):
        output = self.compare(
            "D=$(mktemp -d); cd $D; /usr/bin/python3 -m pip download -q --no-cache-dir "
            "--disable-pip-version-check --index-url https://bulk.example.test/simple demo==1.0 "
            "&& sha256sum *.whl; cd /; rm -rf $D")
        self.assertIn("demo-1.0-py3-none-any.whl", output)

    def test_npm_ci(self):
        output = self.compare(
            f"D=$(mktemp -d); cp {harness.world.path('project')}/*.json $D; cd $D;"
            "npm_config_cache=$D/.npm npm ci --no-audit --no-fund --loglevel=error >&2;"
            "find node_modules -name index.js | sort | xargs sha256sum; cd /; rm -rf $D")
        self.assertEqual(len(output.splitlines()), 3)

    def test_git_large(self):
        """Clone, fetch and push of a large repository; outside with the credential itself."""
        bare = harness.world.path("repositories/large.git")
        w.sh(f"""set -e; export HOME={harness.world.directory} GIT_CONFIG_NOSYSTEM=1
        mkdir large; cd large; git init -q -b main .; head -c {REPOSITORY} /dev/urandom >blob
        git -c core.compression=0 add .
        git -c user.name=e2e -c user.email=e2e@example.test commit -qm first
        git clone -q --bare . {bare}; git -C {bare} config http.receivepack true
        git -C {bare} config core.compression 0; cd ..; rm -rf large""",
             cwd=harness.world.directory)
        pair = base64.b64encode(f"x-access-token:{SECRETS['E2E_TOKEN_0']}".encode()).decode()
        script = (
            "set -e; D=$(mktemp -d); cd $D; export GIT_TERMINAL_PROMPT=0 HOME=$D;"
            "if [ -n \"$HEADER\" ]; then git config --global http.extraHeader \"$HEADER\"; fi;"
            "git clone -q https://git.example.test/git/large.git c 2>&1; cd c; git rev-parse HEAD;"
            "sha256sum blob; head -c 20000000 blob | tac -s x >more; sha256sum more; git add more;"
            "GIT_COMMITTER_DATE='1 Jan 2026 00:00 +0000' GIT_AUTHOR_DATE='1 Jan 2026 00:00 +0000' "
            "git -c core.compression=0 -c user.name=x -c user.email=x@x.test commit -qm more;"
            "git -c http.postBuffer=1000000 push -q -f origin HEAD:refs/heads/pushed 2>&1;"
            "git fetch -q origin 2>&1; git ls-remote -q origin; cd /; rm -rf $D")
        inside = run_exec(["sh", "-c", script], policy_text=harness.policy(ROUTES))
        outside = self.direct(["sh", "-c", script], {"HEADER": "Authorization: Basic " + pair})
        self.assertNotIn(MARK, inside.stdout + inside.stderr)
        self.assertEqual(self.ok(inside), self.ok(outside))
        self.assertIn("refs/heads/pushed", inside.stdout)
