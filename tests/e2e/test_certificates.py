# SPDX-License-Identifier: BSD-2-Clause
"""Origins whose certificate or TLS is not to be accepted: a 502 that says why, and not one byte of a
request to them."""
import json
import os

import harness
import world as w
from harness import BottleCase, PROGRAMS, PYTHON

HOST, FIRST = "both.example.test", 9101
# Name, reason, what its words must have. Ports from FIRST on.
CASES = [("expired", "upstream_certificate", "certificate has expired"),
         ("early", "upstream_certificate", "certificate is not yet valid"),
         ("name", "upstream_certificate", "hostname mismatch"),
         ("self", "upstream_certificate", "self-signed certificate"),
         ("stranger", "upstream_certificate", "unable to get local issuer certificate"),
         ("purpose", "upstream_certificate", "unsuitable certificate purpose"),
         ("weak", "upstream_certificate", "key too weak"),
         ("chain", "upstream_certificate", "unable to get local issuer certificate"),
         ("old", "upstream_protocol", "protocol")]
MAKE = r"""set -e; cd {directory}; mkdir bad; cd bad
cat >ca.cnf <<END
[ca]
default_ca = d
[d]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = p
unique_subject = no
[p]
commonName = supplied
END
: >index
P="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
good="subjectAltName=DNS:{host}"
request() {{ openssl req ${{3:-$P}} -subj "/CN=$1" -keyout $1.key -out $1.csr; printf '%b\n' "$2" >$1.ext; }}
signed() {{ openssl ca -batch -notext -config ca.cnf -cert ${{4:-../test-ca.pem}} -keyfile ${{5:-../test-ca.key}} \
    -startdate $2 -enddate $3 -extfile $1.ext -in $1.csr -out $1.pem; }}
now=$(date -u +%Y%m%d%H%M%SZ); later=$(date -u -d '+9 days' +%Y%m%d%H%M%SZ)
past=$(date -u -d '-9 days' +%Y%m%d%H%M%SZ); yesterday=$(date -u -d '-1 day' +%Y%m%d%H%M%SZ)
tomorrow=$(date -u -d '+1 day' +%Y%m%d%H%M%SZ)
request expired "$good"; signed expired $past $yesterday
request early "$good"; signed early $tomorrow $later
request name "subjectAltName=DNS:other.example.test"; signed name $past $later
request purpose "$good\nextendedKeyUsage=clientAuth"; signed purpose $past $later
request weak "$good" "-newkey rsa:1024 -nodes"; signed weak $past $later
openssl req -x509 $P -days 9 -subj /CN=self -addext "$good" -keyout self.key -out self.pem
openssl req -x509 $P -days 9 -subj '/CN=another CA' -keyout other.key -out other.pem
request stranger "$good"; signed stranger $past $later other.pem other.key
# Of an intermediate that the server does not send.
request middle "basicConstraints=critical,CA:true"; signed middle $past $later
request chain "$good"; signed chain $past $later middle.pem middle.key
request old "$good"; signed old $past $later"""


class Certificates(BottleCase):
    @classmethod
    def setUpClass(cls):
        world = harness.world
        w.sh(MAKE.format(directory=world.directory, host=HOST), executable="/bin/bash")
        cls.ports = {case[0]: FIRST + n for n, case in enumerate(CASES)}
        bad = world.path("bad")
        with world.in_origin():
            cls.origin = world.spawn([
                PYTHON, "-B", "-W", "ignore", os.path.join(PROGRAMS, "bad_origin.py"), w.HOSTS[HOST],
                world.path("bad.log"),
                *[f"{port}:{bad}/{name}.pem:{bad}/{name}.key" + (":old" if name == "old" else "")
                  for name, port in cls.ports.items()]])
        for port in cls.ports.values():
            world.wait_port(w.HOSTS[HOST], port)
        cls.bottle = harness.Bottle(harness.policy(
            f"\n  - host: {HOST}\n    ports: {list(cls.ports.values())}\n"
            "    auth_scheme: Bearer\n    token_env: E2E_TOKEN_0\n"))

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        harness.world.end(cls.origin)

    def test_client_that_does_not_trust_us(self):
        result = self.bottle.run(["curl", "-sS", "--max-time", "20", f"https://{HOST}:{FIRST}/distrust"])
        self.assertEqual(result.returncode, 60, result.stderr)
        record = harness.wait_for(lambda: [r for r in self.bottle.log()
                                           if "handshake" in r.get("detail", "")], 10, "its record")[0]
        self.assertEqual((record["reason"], record["detail"]),
                         ("bad_request", "TLS handshake with the client: tlsv1 alert unknown ca "
                                         "(it does not trust the bottle's CA)"))

    def test_each_is_named(self):
        for name, reason, words in CASES:
            for option in ("--http2", "--http1.1"):
                with self.subTest(name, option=option):
                    output = self.ok(self.bottle.curl(
                        option, "-w", "\n%{http_code}", f"https://{HOST}:{self.ports[name]}/{name}"))
                    body, status = output.rsplit("\n", 1)
                    self.assertEqual(status, "502", output)
                    answer = json.loads(body)
                    self.assertEqual(answer["reason"], reason, answer)
                    self.assertIn(words, answer["detail"])
                    record = harness.wait_for(lambda id=answer["id"]: [
                        r for r in self.bottle.log() if r.get("id") == id], 10, "its record")[0]
                    self.assertEqual((record["reason"], record["detail"], record["status"]),
                                     (reason, answer["detail"], 502))
        self.assertFalse(os.path.exists(harness.world.path("bad.log")))
