# SPDX-License-Identifier: BSD-2-Clause
"""ClientHellos as no library of this machine makes them: post-quantum, padded, in pieces, with ECH, with
no name or several; and sessions that are resumed. Intercepted, and on a passthrough route."""
import itertools
import json
import os

import harness
from harness import BottleCase, PROGRAMS, PYTHON

HOSTS = ("api.example.test", "pinned.example.test")
FINE = "server hello, group 001d"
# As browsers send it: an outer ECH of no meaning (GREASE), RFC 9849.
ECH = "00" + "0001" + "0001" + "2a" + "0020" + "11" * 32 + "0040" + "22" * 64
RESUME = """
import socket, ssl, struct, sys
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = version
    session, reused = None, []
    for _ in range(3):
        s = context.wrap_socket(socket.create_connection((sys.argv[1], 443), 5),
                                server_hostname=sys.argv[1], session=session)
        s.sendall(f"GET /status/200 HTTP/1.1\\r\\nHost: {sys.argv[1]}\\r\\n".encode())
        s.sendall(b"Connection: close\\r\\n\\r\\n" if sys.argv[2] == "unwrap" else b"\\r\\n")
        s.recv(1)
        session = s.session
        reused.append(s.session_reused)
        if sys.argv[2] == "unwrap":
            while s.recv(65536):
                pass
            s.unwrap()
        elif sys.argv[2] == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    print(version.name, *reused)
"""


class Hello(BottleCase):
    def play(self, *cases):
        cases = [{"host": host, "names": [host], **case} for host in HOSTS for case in cases]
        path = harness.write("hello", json.dumps(cases))
        return json.loads(self.ok(self.bottle.run(
            [PYTHON, os.path.join(PROGRAMS, "hello.py"), path])))

    def test_accepted(self):
        cases = [{}, {"segments": 1}, {"shares": [0x11ec]}, {"shares": [0x0a0a, 0x11ec]},
                 {"shares": [0x6399], "segments": 1}, {"shares": [0x11ec], "segments": 100},
                 {"more": {"21": "00" * 9000}}, {"more": {"21": "00" * 60000}},
                 {"more": {"21": "00" * 60000}, "segments": 1400}, {"more": {"65037": ECH}},
                 {"more": {"65037": ECH}, "shares": [0x11ec], "segments": 7},
                 {"more": {"2570": "", "23": "", "35": "", "18": ""}}]
        self.assertEqual(self.play(*cases), [FINE] * len(cases) * len(HOSTS))

    def test_p384_alone(self):
        """As OpenSSL and Java are set where others' curves are not allowed."""
        output = self.ok(self.bottle.run([
            "openssl", "s_client", "-groups", "P-384", "-verify_return_error", "-CAfile",
            self.bottle.certificate, "-connect", "api.example.test:443", "-servername",
            "api.example.test"]))
        self.assertIn("Server Temp Key: ECDH, secp384r1", output)

    def test_refused(self):
        """No name, several, the same twice, another: nothing of it reaches an origin."""
        names = [[], ["api.example.test", "pinned.example.test"], ["second.example.test"],
                 ["203.0.113.10"], ["api.example.test\0.x"], [""], ["."], ["*.example.test"]]
        cases = [{"names": n} for n in names] + [{"again": True}]
        for case, answer in zip(cases * len(HOSTS), self.play(*cases)):
            with self.subTest(case):
                self.assertNotIn("server hello", answer)
        self.assertEqual(self.arrived(), [])

    def test_sessions_are_resumed(self):
        """However the one before ended: most clients say no goodbye."""
        for host, end in itertools.product(HOSTS, ("close", "unwrap", "reset")):
            output = self.ok(self.bottle.python(RESUME, host, end))
            self.assertEqual(output, "TLSv1_2 False True True\nTLSv1_3 False True True\n", (host, end))
