# SPDX-License-Identifier: BSD-2-Clause
"""`pending`, `allow`, `deny`: what was refused, and an operator's word about it, without a restart."""
import json
import os
import re
import signal
import subprocess
import time

import harness
import world as w
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
        one = wait_for(lambda: [g for g in pending(self.bottle)["groups"] if g.get("path") ==
                                "/first/allowed-later" and g["method"] == "GET"], 5, "the record")[0]
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
        for seconds in (3, 12, 48):  # a busy machine may need longer than that to ask
            began = time.monotonic()
            self.assertRegex(self.ok(cli("allow", self.bottle.name, first, "--for", f"{seconds}s")),
                             r"until: \d{4}-\d\d-\d\dT")
            seen = code(self.bottle, url)
            if time.monotonic() - began < seconds:
                break
            wait_for(lambda: code(self.bottle, url) == "403", 60, "the grant's end")
        self.assertNotEqual(seen, "403")
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
        self.assertNotIn("note: ", told)
        result = json.loads(cli("why", "--json", "--name", self.bottle.name, one["id"]).stdout)
        self.assertEqual(result["now"]["reason"], "path_not_allowed")
        self.assertEqual(code(self.bottle, "https://forbidden.example.test/y"), "403")
        self.assertNotEqual(code(self.bottle, "https://forbidden.example.test/x/1"), "403")

    def test_what_is_no_path_is_not_the_host(self):
        """`OPTIONS *`: listed, and no grant of all that the host has."""
        self.bottle.curl("-X", "OPTIONS", "--request-target", "*", self.URL)
        one = wait_for(lambda: [g for g in pending(self.bottle)["groups"] if g.get("method") == "OPTIONS"
                                and "path" not in g], 5, "the record")[0]
        said = cli("allow", self.bottle.name, one["id"])
        self.assertEqual((said.returncode, "say --path PREFIX" in said.stderr), (1, True), said.stderr)

    def test_below_a_wildcard(self):
        """The wildcard's own routes go on for that name."""
        host = "https://deep.wild.example.test"
        first = refused(self.bottle, "-X", "DELETE", host + "/one")
        self.assertIn("note: the host's routes had no paths",
                      self.ok(cli("allow", self.bottle.name, first)))
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
                         ([mark + "-999999"], "no refusal that is known"),
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
        # Told that there is no credential: one that a reload brings for the host is not for it.
        bare = refused(self.bottle, "-X", "DELETE", "https://deep.wild.example.test/bare")
        self.assertIn("credential: none", self.ok(cli("allow", self.bottle.name, bare)))
        self.bottle.reload(policy(harness.ROUTES + "  - {host: deep.wild.example.test, path_allowlist: [/other], "
                                  "auth_scheme: Bearer, token_env: E2E_TOKEN_0}\n"))
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > count + 1, 10, "the credential")
        self.assertNotEqual(code(self.bottle, "-X", "DELETE", "https://deep.wild.example.test/bare"), "403")
        self.assertEqual(self.header(self.arrived()[-1], "authorization"), [])
        self.ok(cli("deny", self.bottle.name, bare))
        count = self.bottle.errors().count("policy reloaded") - 1
        # A policy that has another use for the host's port has no place for grants on it.
        self.bottle.reload(policy(harness.ROUTES.replace(
            "  - host: both.example.test\n",
            "  - host: both.example.test\n    tls: passthrough\n    ports: [443]\n")))
        wait_for(lambda: self.bottle.errors().count("policy reloaded") > count + 1, 10, "the third")
        self.assertEqual({g["id"] for g in pending(self.bottle)["grants"]}, {first, second})


class Persist(Case):
    def test_the_file_and_a_restart(self):
        """The same curl passes at once, and after a restart by the file alone; comments are kept."""
        text = policy("\n  # the first\n  - host: api.example.test # ours\n    path_allowlist: [/echo]\n"
                      "    auth_scheme: Bearer\n    token_env: E2E_TOKEN_0\n  # the last\n")
        bottle = Bottle(text=text)
        try:
            os.chmod(bottle.policy_path, 0o640)
            os.chown(bottle.policy_path, 0, harness.UID)
            url = "https://api.example.test/status/201"
            one = refused(bottle, url)
            told = self.ok(cli("allow", bottle.name, one, "--persist"))
            self.assertIn(f"written: {bottle.policy_path}, from line 8", told)
            self.assertEqual(code(bottle, url), "201")
            with open(bottle.policy_path, encoding="utf-8") as file:
                lines = file.read().splitlines(True)
            old = text.splitlines(True)
            self.assertEqual(lines[:7] + lines[-1:], old[:7] + old[-1:])
            self.assertRegex(lines[7], rf"^  - host: api\.example\.test # egress-bpf allow {one}, [\d-]+\n")
            self.assertEqual("".join(lines[8:-1]),
                             "    ports: [443]\n    matches:\n"
                             '      - paths: [{type: exact, value: "/status/201"}]\n'
                             '        methods: ["GET"]\n'
                             '    auth: {scheme: Bearer, token_env: "E2E_TOKEN_0"}\n')
            status = os.stat(bottle.policy_path)
            self.assertEqual((status.st_mode & 0o7777, status.st_uid, status.st_gid),
                             (0o640, 0, harness.UID))
            self.assertEqual(os.listdir(os.path.dirname(bottle.policy_path)).count(
                os.path.basename(bottle.policy_path)), 1)
            # A grant that is in no file does not survive a restart, and nothing of it is in the way.
            other = refused(bottle, "https://api.example.test/status/202")
            self.ok(cli("allow", bottle.name, other))
            self.assertEqual(code(bottle, "https://api.example.test/status/202"), "202")
            bottle.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "policy reloaded" in bottle.errors(), 10, "the reload")
            self.assertEqual([g["id"] for g in pending(bottle)["grants"]], [other])
            self.assertEqual(code(bottle, url), "201")
            bottle.process.terminate()
            bottle.process.wait(15)
            bottle.start()
            self.assertEqual(code(bottle, url), "201")
            self.assertEqual(code(bottle, "https://api.example.test/status/202"), "403")
            stale = cli("allow", bottle.name, other)
            self.assertEqual((stale.returncode, "one before this" in stale.stderr), (1, True))
        finally:
            bottle.stop()

    def test_two_operators_and_an_editor(self):
        """Ten grants at once by two, while somebody edits the file with renames: no edit is lost."""
        bottle = Bottle()
        try:
            ids = [refused(bottle, f"https://api.example.test/at-once/{i}") for i in range(10)]
            bottle.settle()
            running = [subprocess.Popen([harness.world.program, "allow", bottle.name, one, "--persist"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=harness.environment()) for one in ids]
            edits = 0
            while any(p.poll() is None for p in running):
                # As an editor does it: read, write beside, rename; and only if nobody came between.
                with open(bottle.policy_path, encoding="utf-8") as file:
                    text, inode = file.read(), os.fstat(file.fileno()).st_ino
                new = write("edited.yaml", text + f"# edit {edits}\n")
                if os.stat(bottle.policy_path).st_ino == inode:
                    os.rename(new, bottle.policy_path)
                    edits += 1
                time.sleep(0.3)
            said = [p.communicate()[0] for p in running]
            with open(bottle.policy_path, encoding="utf-8") as file:
                text = file.read()
            for i, process in enumerate(running):
                written = f"egress-bpf allow {ids[i]}," in text
                self.assertEqual(process.returncode, 0, said[i])
                self.assertIn("written: ", said[i])
                self.assertEqual(code(bottle, f"https://api.example.test/at-once/{i}") == "403", False)
                self.assertTrue(written or edits > 0, said[i])
            self.assertEqual([i for i in range(edits) if f"# edit {i}\n" not in text], [])
            self.ok(cli("check", bottle.policy_path))
            left = [n for n in os.listdir(os.path.dirname(bottle.policy_path)) if "egress-bpf-" in n]
            self.assertEqual(left, [])
        finally:
            bottle.stop()

    def test_a_file_that_cannot_be_written(self):
        """Nothing changes, live or in the file, and the error says why."""
        bottle = Bottle()
        try:
            w.mount(bottle.policy_path, bottle.policy_path, None, w.MS_BIND)
        except OSError as error:
            bottle.stop()
            self.fail(str(error))
        try:
            url = "https://api.example.test/unwritable/x"
            one = refused(bottle, url)
            bottle.process.terminate()
            bottle.process.wait(15)
            bottle.start()
            one = refused(bottle, url)
            result = cli("allow", bottle.name, one, "--persist")
            self.assertEqual((result.returncode, "is a mount of its own" in result.stderr), (1, True),
                             result.stderr)
            self.assertEqual(code(bottle, url), "403")
            self.assertEqual(pending(bottle)["grants"], [])
        finally:
            subprocess.run(["umount", bottle.policy_path], check=False)
            bottle.stop()


class Flood(Case):
    def test_ten_thousand_paths(self):
        """The table stays bounded, what had to go is counted, and what was denied stays silent."""
        bottle = Bottle()
        try:
            silent = refused(bottle, "https://api.example.test/silent/one/x")
            self.ok(cli("deny", bottle.name, silent))
            fetch = ("import http.client, ssl, sys\n"
                     "c = http.client.HTTPSConnection('api.example.test', context="
                     "ssl.create_default_context(cafile=sys.argv[1]))\n"
                     "for i in range(10000):\n"
                     "    c.request('GET', f'/flood/{i}/x')\n"
                     "    c.getresponse().read()\n")
            self.ok(bottle.python(fetch, bottle.certificate))
            answer = pending(bottle)
            self.assertLessEqual(len(answer["groups"]), 512)
            self.assertGreaterEqual(len(answer["groups"]), 256)
            self.assertEqual(wait_for(lambda: pending(bottle)["groups"], 5, "")[0]["path"][:10],
                             "/flood/999")
            self.assertGreater(answer["evicted"], 0)
            self.assertGreaterEqual(answer["evicted"] + answer["lost"], 10000 - 512)
            self.assertRegex(self.ok(cli("pending", bottle.name)), r"\(\d+ older lines had to make room")
            self.assertEqual(group(bottle, path="/silent/one/x")["state"], "denied")
            refused(bottle, "https://api.example.test/silent/one/x")
            self.assertNotIn("/silent/", self.ok(cli("pending", bottle.name)))
            # Paths that are long and need escapes do not make the answer longer than it may be.
            long = ("import http.client, ssl, sys\n"
                    "c = http.client.HTTPSConnection('api.example.test', context="
                    "ssl.create_default_context(cafile=sys.argv[1]))\n"
                    "for i in range(400):\n"
                    "    c.request('GET', f'/{i}/x/y/{sys.argv[2]}' + chr(34) * 990)\n"
                    "    c.getresponse().read()\n")
            for i in range(5):
                self.ok(bottle.python(long, bottle.certificate, str(i)))
                answer = pending(bottle)  # and with it what came is read
            self.assertGreater(answer["unlisted"], 0)
            self.assertGreater(len(answer["groups"]), 100)
            self.assertIn("have no room here", self.ok(cli("pending", bottle.name)))
        finally:
            bottle.stop()


class Asking(BottleCase):
    PAGE = "http://_egress.local/requests"

    def ask(self, body, *options, page=PAGE):
        """The status and the answer."""
        text = body if isinstance(body, str) else json.dumps(body)
        out = self.bottle.curl("-w", "\n%{http_code}", "-H", "Content-Type: application/json",
                               "--data-binary", text, *options, page).stdout
        answer, _, status = out.rpartition("\n")
        return status, json.loads(answer)

    def state(self, one):
        return json.loads(self.bottle.curl(f"{self.PAGE}/{one}").stdout).get("state")

    def patient(self, body):
        """As ask(), when the limit of one each second lets it."""
        return wait_for(lambda: (lambda a: a if a[0] != "429" else None)(self.ask(body)), 20, "a 202")

    def test_asked_shown_and_decided(self):
        url = "https://forbidden.example.test/asked/for"
        status, answer = self.patient({"url": url + "?q", "method": "GET", "reason": "for the test"})
        self.assertEqual((status, answer["state"]), ("202", "pending"))
        one = answer["id"]
        self.assertEqual(self.patient({"url": url, "method": "GET", "reason": "again"})[1]["id"], one)
        shown = [a for a in pending(self.bottle)["asks"] if a["id"] == one][0]
        self.assertEqual({k: shown[k] for k in ("host", "port", "tls", "method", "path", "reason")},
                         {"host": "forbidden.example.test", "port": 443, "tls": True, "method": "GET",
                          "path": "/asked/for", "reason": "again"})
        self.assertRegex(self.ok(cli("pending", self.bottle.name)),
                         rf"(?m)^{one} +[\d:]+ +GET +forbidden\.example\.test:443/asked/for\n +it says: again$")
        # Asking allows nothing.
        self.assertNotEqual(self.bottle.curl(url).returncode, 0)
        self.ok(cli("deny", self.bottle.name, one))
        self.assertEqual(self.state(one), "denied")
        self.assertNotIn(one, self.ok(cli("pending", self.bottle.name)))
        self.assertIn("allowed: GET forbidden.example.test:443/asked/for\n",
                      self.ok(cli("allow", self.bottle.name, one, "--for", "1h")))
        self.assertEqual(self.state(one), "allowed")
        self.assertNotIn(code(self.bottle, url), ("403", "000"))
        self.assertEqual(code(self.bottle, url + "/more"), "403")
        self.ok(cli("deny", self.bottle.name, one))
        self.assertEqual(self.state(one), "denied")
        self.assertEqual(self.bottle.curl(f"{self.PAGE}/ffff-a1", "-w", "%{http_code}").stdout[-3:], "404")

    def test_hostile(self):
        """Nothing of it reaches a terminal, or anybody's memory without end."""
        long = "x" * 5000
        for body, status in (("", "400"), ("nonsense", "400"), ("[]", "400"), ("{}", "400"),
                             ('{"host":"a.test","host":"b.test","reason":"x"}', "400"),
                             ({"host": "a.test"}, "400"), ({"host": "a b", "reason": "x"}, "400"),
                             ({"host": "a.test", "path": "nope", "reason": "x"}, "400"),
                             ({"host": "a.test", "path": "/\u001b[2J", "reason": "x"}, "400"),
                             ({"host": "a.test", "method": "G\r\nT", "reason": "x"}, "400"),
                             ({"host": "a.test", "port": 99999, "reason": "x"}, "400"),
                             ({"url": "ftp://a.test/", "reason": "x"}, "400"),
                             ({"url": "https://a.test:0/", "reason": "x"}, "400"),
                             ({"host": "a.test", "reason": long}, "413")):
            self.assertEqual(self.ask(body)[0], status, body)
        self.assertEqual(self.ask({"host": "a.test", "reason": "x"}, "-H", "Transfer-Encoding: chunked")[0],
                         "411")
        self.assertEqual(self.patient({"host": "203.0.113.12", "reason": "x"})[0], "400")
        evil = "\u001b]0;owned\u0007\u009b31m\u202etxt.exe\u200b\n\rallowed: everything \U0001f376 " + "y" * 2000
        status, answer = self.patient({"host": "evil.example.test", "reason": evil})
        self.assertEqual(status, "202")
        text = self.ok(cli("pending", self.bottle.name))
        self.assertIn("it says: ?]0;owned??31m?txt.exe???allowed: everything \U0001f376 yyy", text)
        self.assertEqual(re.sub("[\x20-\x7e\n\U0001f376]", "", text), "")
        # A terminal breaks no line of it: the bottle's words never stand where an id does.
        forged = "x" * 59 + "3f2a-17     12:00:00       1  host_not_allowed      GET      pypi.org:443/"
        self.patient({"host": "forged.example.test", "reason": forged + "\u4e00" * 60 + forged})
        wide = [sum(2 if ord(c) > 127 else 1 for c in line) for line in
                re.findall(r"(?m)^ .*$", self.ok(cli("pending", self.bottle.name)))]
        self.assertLess(max(wide), 80)
        self.assertNotRegex(self.ok(cli("pending", self.bottle.name)), "(?m)^3f2a-17")
        shown = [a for a in pending(self.bottle)["asks"] if a["id"] == answer["id"]][0]
        self.assertLess(len(shown["reason"].encode()), 512)
        # Another method, and half a body: the next request on the connection is its own.
        self.assertEqual(self.bottle.curl("-X", "PUT", self.PAGE, "-w", "%{http_code}").stdout[-3:], "405")
        self.assertEqual(self.bottle.curl("http://_egress.local/requestsx", "-o", "/dev/null", "-w",
                                          "%{http_code}").stdout, "404")
        two = self.bottle.curl("-d", "{}", self.PAGE, "--next", "-sS", "-w", "%{http_code}",
                               "http://_egress.local/health").stdout
        self.assertTrue(two.endswith('{"status":"ok"}\n200'), two)

    def test_half_a_request_is_no_more_than_that(self):
        """A path without a method, a method without a path: what is shown is what is allowed."""
        page, deep = "https://half.example.test", "https://forbidden.example.test"
        path = self.patient({"host": "half.example.test", "path": "/only/this", "reason": "x"})[1]["id"]
        method = self.patient({"host": "forbidden.example.test", "method": "GET", "reason": "x"})[1]["id"]
        text = self.ok(cli("pending", self.bottle.name))
        self.assertRegex(text, rf"(?m)^{path} .* any +half\.example\.test:443/only/this$")
        self.assertIn("allowed: any method, half.example.test:443/only/this\n",
                      self.ok(cli("allow", self.bottle.name, path)))
        self.assertIn("allowed: GET forbidden.example.test:443, any path\n",
                      self.ok(cli("allow", self.bottle.name, method)))
        self.assertEqual([self.state(path), self.state(method)], ["allowed", "allowed"])
        self.assertEqual([code(self.bottle, page + "/other"), code(self.bottle, "-X", "PUT", page + "/only/this/x"),
                          code(self.bottle, "-X", "POST", deep + "/x")], ["403"] * 3)
        self.assertNotEqual(code(self.bottle, deep + "/x"), "403")
        # Of a host that is known, too: it is not allowed for being known.
        known = self.patient({"host": "api.example.test", "path": "/half/known", "reason": "x"})[1]
        self.assertEqual(known["state"], "pending")
        for one in (path, method):
            self.ok(cli("deny", self.bottle.name, one))

    def test_limits(self):
        """A bottle that asks for ever is told to stop, and the operator reads what he can."""
        fire = ("import http.client, json, sys\n"
                "seen = []\n"
                "for i in range(300):\n"
                "    c = http.client.HTTPConnection('_egress.local')\n"
                "    c.request('POST', '/requests', json.dumps({'host': f'h{i}.example.test', 'reason': 'x'}))\n"
                "    seen.append(c.getresponse().status)\n"
                "print(seen.count(202), seen.count(429))\n")
        taken, refused_ = map(int, self.ok(self.bottle.python(fire)).split())
        self.assertEqual(taken + refused_, 300)
        self.assertLessEqual(taken, 64)
        self.assertGreater(refused_, 200)
        self.assertLessEqual(len(pending(self.bottle, "--all")["asks"]), 64)
