# SPDX-License-Identifier: BSD-2-Clause
"""The GitHub action and the GitLab template, run as their runners run them."""
import json
import os
import re
import subprocess

import yaml

import harness
from harness import SECRETS, UID, Case, policy, write

TOP = os.path.dirname(os.path.dirname(harness.HERE))
ACTION = os.path.join(TOP, "container/github-action")
GITLAB = os.path.join(TOP, "container/gitlab-ci/egress.gitlab-ci.yml")


class Job(Case):
    def setUp(self):
        super().setUp()
        self.temp = harness.world.path("home")
        for name in ("summary.md", "output", "egress-summary.md"):
            with open(os.path.join(self.temp, name), "w", encoding="utf-8"):
                pass

    def environment(self, **more):
        """A runner's: the program is in PATH; root, as in a container, asked for by a user."""
        program = os.path.dirname(harness.world.program)
        return harness.environment(PATH=program + ":" + os.environ["PATH"], SUDO_UID=str(UID),
                                   SUDO_GID=str(UID), **more)

    def read(self, name):
        with open(os.path.join(self.temp, name), encoding="utf-8") as file:
            return file.read()

    def shell(self, script, env):
        return subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
                              env=env, cwd=self.temp, text=True, capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=60)


class GitHub(Job):
    def step(self, **inputs):
        with open(os.path.join(ACTION, "action.yml"), encoding="utf-8") as file:
            action = yaml.safe_load(file)
        self.assertEqual(action["runs"]["using"], "composite")
        values = {name: spec.get("default") for name, spec in action["inputs"].items()}
        self.assertLessEqual(set(inputs), set(values))
        values.update(inputs)
        contexts = {**{f"inputs.{k}": v for k, v in values.items()}, "github.action_path": ACTION}

        def expand(text):
            return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda m: contexts[m[1]], text)
        only, = action["runs"]["steps"]
        self.assertNotIn("${{", only["run"], "an input in the script's text could be a command")
        env = self.environment(RUNNER_TEMP=self.temp, GITHUB_ACTION="__egress",
                               GITHUB_STEP_SUMMARY=os.path.join(self.temp, "summary.md"),
                               GITHUB_OUTPUT=os.path.join(self.temp, "output"),
                               **{k: expand(v) for k, v in only["env"].items()})
        return self.shell(only["run"], env)

    def test_block(self):
        result = self.step(**{"run": "curl -sSf https://api.example.test/echo\n"
                                     "curl -sS https://forbidden.example.test/ || echo refused\n",
                              "allowed-endpoints": "api.example.test:443/echo # its API\n"})
        self.ok(result)
        self.assertIn("refused", result.stdout)
        self.assertRegex(result.stdout, r"(?m)^::warning title=egress refused::"
                         r"forbidden\.example\.test\S*: host_not_allowed \(\dx\)$")
        self.assertIn("| api.example.test | 1 | 0 |", self.read("summary.md"))
        report = self.read("output").strip().partition("report=")[2]
        self.assertTrue(json.loads(self.read(os.path.basename(report)))["proof"]["holds"])

    def test_status_and_secret(self):
        result = self.step(**{"run": "env\n"
                                     "curl -sSf -o /dev/null https://api.example.test/echo\nexit 9",
                              "secrets": "E2E_TOKEN_0@api.example.test"})
        self.assertEqual(result.returncode, 9, result.stderr)
        sent = [self.header(r, "authorization") for r in self.arrived()]
        self.assertEqual(sent, [[f"Bearer {SECRETS['E2E_TOKEN_0']}"]])
        self.assertIn("E2E_TOKEN_1=", result.stdout, "what is no secret stays")
        for said in (result.stdout, result.stderr, self.read("summary.md")):
            self.assertNotIn(SECRETS["E2E_TOKEN_0"], said)

    def test_audit(self):
        result = self.step(**{"run": "curl -sSf -o /dev/null https://both.example.test/x",
                              "egress-policy": "audit",
                              "policy": write("ci.yaml", policy())})
        self.ok(result)
        self.assertNotIn("title=egress", result.stdout)
        result = self.step(**{"run": "curl -sSf -o /dev/null https://forbidden.example.test/",
                              "egress-policy": "audit"})
        self.ok(result)
        self.assertIn("::notice title=egress would be refused::GET forbidden.example.test:443/: "
                      "host_not_allowed (1x)", result.stdout)
        self.assertIn("Would be refused (audit)", self.read("summary.md"))

    def test_inputs_are_no_commands(self):
        result = self.step(**{"run": "true", "allowed-endpoints": "$(touch pwned) `touch pwned`"})
        self.assertEqual(result.returncode, 2)
        self.assertFalse(os.path.exists(os.path.join(self.temp, "pwned")))
        self.assertEqual(self.step(run="true", **{"egress-policy": "off"}).returncode, 125)

    def test_refusals_are_no_workflow_commands(self):
        report = write("hostile.json", json.dumps({"hosts": [{"host": "a", "decisions": [
            {"reason": "path_not_allowed", "method": "GET", "port": 1, "count": 1,
             "path": "/\n::error::x\r%0A"}]}]}))
        out = self.ok(subprocess.run([os.path.join(TOP, "container/ci/annotate"), report],
                                     capture_output=True, text=True, check=False))
        self.assertEqual(out, "::warning title=egress refused::GET a:1/%0A::error::x%0D%250A: "
                         "path_not_allowed (1x)\n")


class GitLab(Job):
    def test_job(self):
        with open(GITLAB, encoding="utf-8") as file:
            job = yaml.safe_load(file)[".egress"]
        variables = {**job["variables"], "EGRESS_ENDPOINTS": "api.example.test",
                     "EGRESS_COMMAND": "curl -sSf https://api.example.test/echo && exit 3",
                     "EGRESS_CI": os.path.join(TOP, "container/ci/egress-ci")}
        result = self.shell("\n".join(job["script"]), self.environment(**variables))
        self.assertEqual(result.returncode, 3, result.stderr)
        for name in job["artifacts"]["paths"]:
            self.assertTrue(self.read(name), name)
        self.assertEqual(json.loads(self.read("egress-report.json"))["allowed"], 1)
