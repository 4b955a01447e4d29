# SPDX-License-Identifier: BSD-2-Clause
"""Kernel, CONNECT, SNI and Host must agree, or nothing is sent, least of all a credential."""
import os
import re
import signal
import subprocess
import time

import harness
from harness import BottleCase

# fetch.py ADDRESS SNI HOST [CONNECT]: one request, each name chosen on its own.
CLIENT = r"""
import socket, ssl, sys
dial, sni, host, connect = sys.argv[1:5]
port = int(sys.argv[5]) if len(sys.argv) > 5 else 443
s = socket.create_connection((dial, port), 5)
s.settimeout(5)
try:
    if connect:
        s.sendall(f"CONNECT {connect}:443 HTTP/1.1\r\nHost: {connect}:443\r\n\r\n".encode())
        answer = s.recv(4096).decode()
        print(answer.split("\r\n")[0])
        if " 200 " not in answer:
            print(answer)
            sys.exit(0)
    if sni != "-":
        context = ssl._create_unverified_context()
        s = context.wrap_socket(s, server_hostname=sni or None)
    s.sendall(f"GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    print(data.decode("latin-1"))
except (OSError, ssl.SSLError) as error:
    print("closed:", error)
"""


class Names(BottleCase):
    def ask(self, dial, sni, host, connect="", port=443):
        return self.bottle.python(CLIENT, dial, sni, host, connect, str(port)).stdout

    def refused(self, output, *requests):
        self.assertNotIn("HTTP/1.1 200 OK", output)
        self.assertEqual(self.arrived(), [])
        self.assertTrue("name_mismatch" in output or "closed:" in output or output.strip() == ""
                        or "host_not_allowed" in output, output)

    def test_all_agree(self):
        output = self.ask("api.example.test", "api.example.test", "api.example.test")
        self.assertIn("HTTP/1.1 200 OK", output)
        self.assertEqual(len(self.arrived()), 1)

    def test_host_with_port_and_case(self):
        output = self.ask("api.example.test", "API.example.test", "Api.Example.Test:443")
        self.assertIn("HTTP/1.1 200 OK", output)

    def test_sni_is_another_allowed_host(self):
        self.refused(self.ask("api.example.test", "second.example.test", "second.example.test"))

    def test_sni_is_a_forbidden_host(self):
        self.refused(self.ask("api.example.test", "forbidden.example.test", "api.example.test"))

    def test_no_sni(self):
        output = self.ask("api.example.test", "", "second.example.test")
        self.refused(output)

    def test_host_is_another_allowed_route(self):
        output = self.ask("api.example.test", "api.example.test", "second.example.test")
        self.refused(output)
        self.assertIn("name_mismatch", output)

    def test_host_is_forbidden(self):
        self.refused(self.ask("api.example.test", "api.example.test", "forbidden.example.test"))

    def test_plain_host_is_another(self):
        self.refused(self.ask("both.example.test", "-", "second.example.test", port=80))

    def test_plain_absolute_form_is_another(self):
        """An intercepted origin is asked in origin-form; this is refused before any name counts."""
        output = self.ok(self.bottle.curl("-D", "-", "--request-target",
                                          "http://second.example.test/x",
                                          "http://both.example.test/"))
        self.assertRegex(output, "bad_request|name_mismatch")
        self.assertEqual(self.arrived(), [])

    def test_connect_and_sni_disagree(self):
        self.refused(self.ask("egress", "second.example.test", "second.example.test",
                              "api.example.test", harness.PROXY_PORT))

    def test_connect_and_host_disagree(self):
        self.refused(self.ask("egress", "api.example.test", "second.example.test",
                              "api.example.test", harness.PROXY_PORT))

    def test_connect_to_forbidden(self):
        output = self.ask("egress", "forbidden.example.test", "forbidden.example.test",
                          "forbidden.example.test", harness.PROXY_PORT)
        self.assertIn("403", output)
        self.assertIn("host_not_allowed", output)
        self.refused(output)

    def test_connect_to_an_address(self):
        output = self.ask("egress", "api.example.test", "api.example.test", "203.0.113.10",
                          harness.PROXY_PORT)
        self.refused(output.replace("address_not_allowed", "host_not_allowed"))

    def test_address_is_in_the_log(self):
        """Whom a refused request was for, where no name was said: plain, and by CONNECT."""
        for target in ("203.0.113.77:8080", "[2001:db8:e2e::77]:8080"):
            with self.subTest(target=target):
                self.assertIn("address_not_allowed", self.ok(self.bottle.curl(
                    "-x", "http://egress:9099", f"http://{target}/x?y")))
                self.bottle.curl("-p", "-x", "http://egress:9099", f"http://{target}/")
                address = target.rpartition(":")[0].strip("[]")

                def logged():
                    return [(line.get("method"), line.get("port"), line["reason"]) for line in self.bottle.log()
                            if line.get("address") == address and line["source"] == "proxy"]
                harness.wait_for(lambda: len(logged()) == 2, what=f"lines that name {address}")
                self.assertEqual(sorted(logged()), [("CONNECT", 8080, "address_not_allowed"),
                                                    ("GET", 8080, "address_not_allowed")])
        self.assertEqual(self.arrived(), [])

    def test_explicit_all_agree(self):
        self.assertIn("HTTP/1.1 200 OK", self.ask("egress", "api.example.test", "api.example.test",
                                                  "api.example.test", harness.PROXY_PORT))

    def test_passthrough_sni(self):
        self.assertIn("HTTP/1.1 200 OK", self.ask("pinned.example.test", "pinned.example.test",
                                                  "pinned.example.test"))
        self.mark = len(harness.origin_requests())
        self.refused(self.ask("pinned.example.test", "api.example.test", "api.example.test"))

    def test_upstream_certificate(self):
        output = self.ok(self.bottle.curl("-D", "-", "https://badcert.example.test/small"))
        self.assertIn(" 502 ", output)
        self.assertIn("upstream_certificate", output)

    def test_upstream_unreachable(self):
        output = self.ok(self.bottle.curl("-D", "-", "https://dead.example.test/"))
        self.assertRegex(output, "upstream_(unreachable|timeout)")

    def test_address_is_a_name_of_an_allowed_host(self):
        """The origin's true address, with an allowed SNI: the kernel never saw that name."""
        output = self.bottle.python(CLIENT, "203.0.113.10", "api.example.test",
                                    "api.example.test", "").stderr
        self.assertRegex(output, "Connection refused|Operation not permitted")
        self.assertEqual(self.arrived(), [])


class Gone(BottleCase):
    def records(self):
        """Of connections that nobody has taken yet."""
        said = self.ok(harness.cli("metrics", self.bottle.name))
        return int(re.search(r'(?m)^egress_map_entries{[^}]*map="flows"[^}]*} (\d+)', said)[1])

    def test_record_of_a_client_that_did_not_wait(self):
        """Nobody accepts while the worker stands still, and what resets meanwhile has no peer any more.
        A record that stayed would give whoever has that port next this one's identity."""
        code = ("import socket, struct, sys\n"
                "address = socket.gethostbyname('api.example.test')\n"
                "print('named', flush=True)\n"
                "sys.stdin.readline()\n"
                "for _ in range(20):\n"
                "    s = socket.create_connection((address, 443), 5)\n"
                "    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
                "    s.close()\n")
        client = self.bottle.popen([harness.PYTHON, "-c", code], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.assertEqual(client.stdout.readline().strip(), "named")
        worker = self.bottle.worker()
        os.kill(worker, signal.SIGSTOP)
        try:
            client.communicate("\n", timeout=20)
            self.assertEqual(client.returncode, 0)
            self.assertEqual(self.records(), 20)
        finally:
            os.kill(worker, signal.SIGCONT)
        harness.wait_for(lambda: self.records() == 0, 10, "the records to be taken")

    def test_port_of_a_client_that_did_not_wait(self):
        """The dead connection is accepted first, and would take the record of who has its port next, who
        would be a stranger then. Five times: on a busy machine the wait of a second may be too short."""
        code = ("import socket, struct, sys\n"
                "address = socket.gethostbyname('both.example.test')\n"
                "def connect():\n"
                "    s = socket.socket()\n"
                "    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
                "    s.bind(('127.0.0.1', 21000))\n"
                "    s.settimeout(20)\n"
                "    s.connect((address, 80))\n"
                "    return s\n"
                "print('named', flush=True)\n"
                "for _ in sys.stdin:\n"
                "    with connect() as s:\n"
                "        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
                "    print('reset', flush=True)\n"
                "    try:\n"
                "        with connect() as s:\n"
                "            s.sendall(b'GET /echo HTTP/1.1\\r\\nHost: both.example.test\\r\\n'\n"
                "                      b'Connection: close\\r\\n\\r\\n')\n"
                "            print(s.recv(12), flush=True)\n"
                "    except OSError as error:\n"
                "        print(error, flush=True)\n")
        client = self.bottle.popen([harness.PYTHON, "-c", code], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.assertEqual(client.stdout.readline().strip(), "named")
        worker, said = self.bottle.worker(), []
        while "b'HTTP/1.1 200'" not in said and len(said) < 5:
            os.kill(worker, signal.SIGSTOP)
            try:
                client.stdin.write("\n")
                client.stdin.flush()
                self.assertEqual(client.stdout.readline().strip(), "reset")
                time.sleep(0.1)  # its first SYN
            finally:
                os.kill(worker, signal.SIGCONT)
            said.append(client.stdout.readline().strip())
        client.communicate(timeout=20)
        self.assertEqual(said[-1:], ["b'HTTP/1.1 200'"], said)
