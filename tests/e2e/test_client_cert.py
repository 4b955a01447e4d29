# SPDX-License-Identifier: BSD-2-Clause
"""client_cert and client_key: who a route says it is, to origins that ask for a certificate."""
import os

import harness
import world as w
from harness import Case, PROGRAMS, PYTHON, run_exec

HOST, PORT = "both.example.test", 8443
URL = f"https://{HOST}:{PORT}"
# HTTP/2 for those who show a certificate, by the TLS version whose handshake fails without one.
H2_ORIGIN = """
const fs = require('fs'), [address, cert, key, ca] = process.argv.slice(1);
require('http2').createSecureServer({
    cert: fs.readFileSync(cert), key: fs.readFileSync(key), ca: fs.readFileSync(ca),
    requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2', allowHTTP1: true,
}, (q, s) => s.end(q.httpVersion + ' ' + q.socket.getPeerCertificate().subject.CN + '\\n')
).listen(8444, address);
"""


class ClientCert(Case):
    @classmethod
    def setUpClass(cls):
        world = harness.world
        w.sh(f"""set -e; cd {world.directory}
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=client CA' -keyout client-ca.key -out client-ca.pem
        for i in one two; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$i \
                -keyout client-$i.key -out client.csr
            openssl x509 -req -in client.csr -CA client-ca.pem -CAkey client-ca.key -days 30 \
                -CAcreateserial -out client-$i.pem
        done
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=stranger' -keyout client-stranger.key -out client-stranger.pem
        chmod 600 client*.key""")
        address = w.HOSTS[HOST]
        with world.in_origin():
            cls.server = world.spawn([
                PYTHON, "-B", os.path.join(PROGRAMS, "mtls_origin.py"), address, str(PORT),
                world.path("origin.pem"), world.path("origin.key"), world.path("client-ca.pem")])
            cls.h2_server = world.spawn([
                "node", "-e", H2_ORIGIN, address, world.path("origin.pem"),
                world.path("origin.key"), world.path("client-ca.pem")])
        world.wait_port(address, PORT)
        world.wait_port(address, PORT + 1)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.h2_server.terminate()

    def test_what_it_speaks_is_asked_with_the_certificate(self):
        """The client is offered HTTP/2 if the origin has it, which it tells no stranger."""
        output = self.ok(self.fetch(
            f"curl -sS -w '%{{http_version}}' https://{HOST}:{PORT + 1}/one", "one", port=PORT + 1))
        self.assertEqual(output, "2.0 one\n2")

    def fetch(self, command, *names, path="/", root=False, port=PORT):
        routes = "".join(
            f"\n  - host: {HOST}\n    ports: [{port}]\n    path_allowlist: [{path}{name}]\n"
            + (f"    client_cert: {harness.world.path(f'client-{name}.pem')}\n"
               f"    client_key: {harness.world.path(f'client-{name}.key')}\n" if name != "none"
               else "") for name in names)
        return run_exec(["sh", "-c", command], "--log", harness.world.path("client-cert.log"),
                        policy_text=harness.policy(routes), root=root)

    def test_each_route_its_own(self):
        output = self.ok(self.fetch(
            f"curl -sS {URL}/one/1 {URL}/two/1 {URL}/one/2 {URL}/two/2", "one", "two"))
        lines = [line.split() for line in output.splitlines()]
        self.assertEqual([line[:2] for line in lines], [
            ["/one/1", "one"], ["/two/1", "two"], ["/one/2", "one"], ["/two/2", "two"]])
        # One connection each, used again.
        self.assertEqual(lines[0][2], lines[2][2])
        self.assertEqual(lines[1][2], lines[3][2])

    def test_none_and_a_stranger(self):
        for name, words in (("none", "certificate required"), ("stranger", "unknown ca")):
            output = self.ok(self.fetch(f"curl -sS -w '%{{http_code}}' {URL}/{name}", name))
            self.assertTrue(output.endswith("502"), output)
            self.assertIn('"reason":"upstream_protocol"', output)
            self.assertIn(words, output)

    def test_key_is_nowhere(self):
        with open(harness.world.path("client-one.key"), encoding="utf-8") as file:
            needle = file.read().splitlines()[1]
        key = harness.world.path("client-one.key")
        result = self.fetch(f"curl -sS {URL}/one; cat {key}; ls -l {key}", "one",
                            root=True)
        self.assertIn("/one one ", result.stdout)
        with open(harness.world.path("client-cert.log"), encoding="utf-8") as file:
            self.assertNotIn(needle, file.read() + result.stdout + result.stderr)

    def test_wrong_key(self):
        text = (f"routes:\n  - host: {HOST}\n    client_cert: "
                f"{harness.world.path('client-one.pem')}\n    client_key: "
                f"{harness.world.path('client-two.key')}\n")
        result = run_exec(["true"], policy_text=text)
        self.assertEqual(result.returncode, 2)
        self.assertIn(":2: client_key is not the key of the certificate in client_cert",
                      result.stderr)
