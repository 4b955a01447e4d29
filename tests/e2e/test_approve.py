# SPDX-License-Identifier: BSD-2-Clause
"""`pending`, `allow`, `deny`: what was refused, and an operator's word about it, without a restart."""
import json
import os
import re
import signal
import subprocess
import time

import harness
from harness import Bottle, BottleCase, Case, cli, policy, wait_for, write


def pending(bottle, *options):
    result = cli("pending", bottle.name, "--json", *options)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return json.loads(result.stdout)


def code(bottle, *arguments):
    """The status that curl saw; "000" for none."""
    return bottle.curl("-o", "/dev/null", "-w", "%{http_code}", *arguments).stdout


def refused(bottle, *arguments):
    """The id that the refusal itself tells."""
    body = bottle.curl(*arguments).stdout
    return json.loads(body)["id"]


def group(bottle, **wanted):
    found = [g for g in pending(bottle, "--all")["groups"]
             if all(g.get(k) == v for k, v in wanted.items())]
    if len(found) != 1:
        raise AssertionError(f"{wanted}: {found}")
    return found[0]


class Approve(BottleCase):
    URL = "https://api.example.test"

    def tearDown(self):
        for grant in pending(self.bottle)["grants"]:
            self.ok(cli("deny", self.bottle.name, grant["id"]))
        super().tearDown()

    def test_refused_allowed_and_denied_again(self):
        url = self.URL + "/first/allowed-later?secret=1"
        first = refused(self.bottle, url)
        other = refused(self.bottle, "-X", "PUT", url)
        one = group(self.bottle, path="/first/allowed-later", method="GET")
        self.assertEqual((one["state"], one["count"], one["reason"], one["host"], one["port"],
                          one["one_path"], one["allowable"], [x["id"] for x in one["samples"]]),
                         ("pending", 1, "path_not_allowed", "api.example.test", 443, True, True,
                          [first]))
        text = self.ok(cli("pending", self.bottle.name))
        self.assertRegex(text, rf"(?m)^{first} +[\d:]+ +1  path_not_allowed +GET +"
                         r"api\.example\.test:443/first/allowed-later$")
        self.assertNotIn("secret", text)
        before = self.bottle.status()["policy_hash"]
        told = self.ok(cli("allow", self.bottle.name, first))
        self.assertIn("allowed: GET api.example.test:443/first/allowed-later\n", told)
        self.assertRegex(told, r"credential: api\.example\.test \(.*\.yaml:\d+\)\n")
        self.assertIn("until: the sidecar ends", told)
        # In force when the command ends, with the credential of the host's route, and no wider.
        self.assertNotEqual(code(self.bottle, url), "403")
        self.assertIn(f"Bearer {harness.SECRETS['E2E_TOKEN_0']}",
                      self.header(self.arrived()[-1], "authorization"))
        self.assertEqual(group(self.bottle, path="/first/allowed-later", method="GET")["state"], "allowed")
        for wider in (["-X", "PUT", url], [self.URL + "/first/allowed-later/x"], [self.URL + "/first/allowed"]):
            self.assertEqual(code(self.bottle, *wider), "403", wider)
        self.assertNotEqual(self.bottle.status()["policy_hash"], before)
        again = cli("allow", self.bottle.name, first)
        self.assertEqual((again.returncode, "allowed already" in again.stderr), (1, True), again.stderr)
        # The other is silenced, and stays refused.
        self.ok(cli("deny", self.bottle.name, other))
        self.assertNotIn(other, self.ok(cli("pending", self.bottle.name)))
        self.assertEqual(refused(self.bottle, "-X", "PUT", url)[:4], other[:4])
        states = {g["state"] for g in pending(self.bottle, "--all")["groups"]
                  if g.get("method") == "PUT" and g["path"] == "/first/allowed-later"}
        self.assertEqual(states, {"denied"})
        # `deny` ends a grant.
        self.ok(cli("deny", self.bottle.name, first))
        self.assertEqual(code(self.bottle, url), "403")
        self.assertEqual(pending(self.bottle)["grants"], [])
        self.assertEqual(self.bottle.status()["policy_hash"], before)

    def test_for_a_time(self):
        url = self.URL + "/for-a-time"
        first = refused(self.bottle, url)
        self.assertRegex(self.ok(cli("allow", self.bottle.name, first, "--for", "3s")),
                         r"until: \d{4}-\d\d-\d\dT")
        self.assertNotEqual(code(self.bottle, url), "403")
        wait_for(lambda: code(self.bottle, url) == "403", 15, "the grant's end")
        self.assertEqual(pending(self.bottle)["grants"], [])
        self.assertIn(f"allowed no longer: GET https://api.example.test:443/for-a-time ({first})",
                      self.bottle.errors())

    def test_a_name(self):
        """Refused by the responder, no request was seen: the whole host, on one port, without more."""
        self.bottle.curl("https://forbidden.example.test/x")
        one = group(self.bottle, host="forbidden.example.test")
        self.assertEqual((one["reason"], one["protocol"], one["port"]), ("host_not_allowed", "dns", 0))
        told = self.ok(cli("allow", self.bottle.name, one["id"], "--method", "GET", "--path", "/x"))
        self.assertIn("allowed: GET forbidden.example.test:443/x and below\ncredential: none", told)
        result = json.loads(cli("why", "--json", "--name", self.bottle.name, one["id"]).stdout)
        self.assertEqual(result["now"]["reason"], "path_not_allowed")
        self.assertEqual(code(self.bottle, "https://forbidden.example.test/y"), "403")
        self.assertNotEqual(code(self.bottle, "https://forbidden.example.test/x/1"), "403")

    def test_below_a_wildcard(self):
        """The wildcard's own routes go on for that name."""
        host = "https://deep.wild.example.test"
        first = refused(self.bottle, "-X", "DELETE", host + "/one")
        self.ok(cli("allow", self.bottle.name, first))
        self.assertNotEqual(code(self.bottle, "-X", "DELETE", host + "/one"), "403")
        self.assertNotEqual(code(self.bottle, host + "/any"), "403")
        self.assertEqual(code(self.bottle, "-X", "DELETE", host + "/two"), "403")
        self.assertEqual(code(self.bottle, "-X", "DELETE", "https://other.wild.example.test/one"), "403")

    def test_never(self):
        """No grant opens raw addresses, UDP or what no route may have; each says why."""
        self.bottle.run(["bash", "-c", "echo >/dev/tcp/203.0.113.12/443"])
        self.bottle.run(["bash", "-c", "echo >/dev/udp/203.0.113.13/443"])
        ambiguous = refused(self.bottle, "--path-as-is", self.URL + "/a/../b")
        plain = refused(self.bottle, "http://api.example.test/echo")
        raw = wait_for(lambda: [g for g in pending(self.bottle)["groups"]
                                if g.get("address") == "203.0.113.12"], 5, "the kernel's")[0]
        udp = wait_for(lambda: [g for g in pending(self.bottle)["groups"]
                                if g.get("address") == "203.0.113.13"], 5, "the kernel's")[0]
        for one, why in ((raw["id"], "'cidr:'"), (udp["id"], "never opens UDP"),
                         (ambiguous, "ambiguous_path"), (plain, "plaintext_auth")):
            result = cli("allow", self.bottle.name, one)
            self.assertEqual((result.returncode, why in result.stderr), (1, True), result.stderr)
        self.assertFalse(raw["allowable"])
        self.assertIn("not by a grant: a grant never opens a raw address", self.ok(
            cli("pending", self.bottle.name)))

    def test_wrong_uses(self):
        known = refused(self.bottle, self.URL + "/wrong-uses")
        mark = known.split("-")[0]
        for bad in ([], ["a", "b", "c"], ["x", "--for", "1 fortnight"], ["x", "--frob"],
                    ["x", "--for", "1h", "--persist"], ["../x", "y"]):
            self.assertEqual(cli("allow", *bad).returncode, 2, bad)
        for bad, why in ((["nonsense"], "not the id"), (["ffff-1"], "another sidecar"),
                         ([mark + "-999999"], "no refusal that is still known"),
                         ([mark + "-x1"], "not the id"), ([known, "--path", "nope"], "not a path"),
                         ([known, "--path", "/other"], "not below"),
                         ([known, "--method", "G T"], "not a method"),
                         ([known, "--for", "9999d"], "31 days")):
            for command in ("allow", "deny"):
                if command == "deny" and len(bad) > 1:
                    continue
                result = cli(command, self.bottle.name, *bad)
                self.assertEqual((result.returncode, why in result.stderr), (1, True),
                                 (command, bad, result.stderr))
        result = cli("allow", "no-such-bottle", known)
        self.assertEqual((result.returncode, "no sidecar of this name" in result.stderr), (1, True))
        self.assertEqual(pending(self.bottle)["grants"], [])

    def test_reload_keeps_grants(self):
        url = self.URL + "/over-a-reload"
        first = refused(self.bottle, url)
        self.ok(cli("allow", self.bottle.name, first, "--for", "1h"))
        count = self.bottle.errors().count("policy reloaded")
        self.bottle.reload(policy(harness.ROUTES + "  - host: more.example.test\n"))
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > count, 10, "the reload")
        self.assertNotEqual(code(self.bottle, url), "403")
        # A file that is no policy is no policy for grants, either; what is in force goes on.
        self.bottle.reload("routes: [{hots: x}]\n")
        wait_for(lambda: "hots" in self.bottle.errors(), 10, "the bad file")
        self.assertNotEqual(code(self.bottle, url), "403")
        second = refused(self.bottle, self.URL + "/beside-a-bad-file")
        self.ok(cli("allow", self.bottle.name, second))
        self.assertNotEqual(code(self.bottle, self.URL + "/beside-a-bad-file"), "403")
        # A policy that has another use for the host's port has no place for grants on it.
        self.bottle.reload(policy(harness.ROUTES.replace(
            "  - host: both.example.test\n",
            "  - host: both.example.test\n    tls: passthrough\n    ports: [443]\n")))
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > count + 1, 10, "the third")
        self.assertEqual({g["id"] for g in pending(self.bottle)["grants"]}, {first, second})
