# SPDX-License-Identifier: BSD-2-Clause
"""Runs the documentation: every `sh` block of the guide, in order, as its reader would, with the files
that its `yaml` blocks make; and looks after links and tables."""
import os
import re
import subprocess

import harness
from harness import SECRETS, UID, Case, cli, write

TOP = os.path.dirname(os.path.dirname(harness.HERE))
DOCS = ["README.md", "container/README.md"] + sorted(
    f"docs/{name}" for name in os.listdir(os.path.join(TOP, "docs")) if name.endswith(".md"))
SUDO = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


def text(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


def blocks(name):
    return re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text(name))


def anchors(name):
    """Of its headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"(?m)^#+ (.*)$", text(name))}


class Docs(Case):
    def run_block(self, directory, script):
        env = harness.environment(SUDO_UID=str(UID), SUDO_GID=str(UID), TOKEN=SECRETS["E2E_TOKEN_0"],
                                  PATH=f"{directory}/bin:{os.path.dirname(harness.world.program)}:"
                                       + os.environ["PATH"])
        return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=directory, env=env,
                              text=True, capture_output=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL)

    def test_every_command_of_the_guide(self):
        directory = harness.world.path("docs")
        os.makedirs(directory + "/bin")
        os.chmod(directory, 0o777)
        write("docs/bin/sudo", SUDO, 0o755)
        commands, outputs = 0, []
        for kind, block in blocks("docs/guide.md"):
            block = block.replace("example.com", "example.test")
            if kind == "yaml":
                write("docs/" + re.match(r"# (\S+)\n", block)[1], block)
                continue
            self.assertEqual(kind, "sh")
            outputs.append(self.ok(self.run_block(directory, block)))
            commands += len(re.findall(r"(?m)^\w", block))
        self.assertGreaterEqual(commands, 12)
        self.assertIn("not reachable", outputs[1])
        self.assertIn("exit status 1: refused", outputs[2])
        self.assertIn("4 as expected, 0 not", outputs[3])
        self.assertTrue([o for o in outputs if re.search(r"(?m)^allowed: GET api\.example\.test:443/headers$", o)])
        self.assertTrue([o for o in outputs if '"state":"pending"' in o])
        self.assertTrue([o for o in outputs if re.search(r"<pre>.*authorization", o, re.I)], "Chromium")
        self.assertIn("exit status 1: they differ", outputs[3])
        sent = [self.header(r, "authorization") for r in self.arrived()]
        self.assertEqual(sum(bool(values) for values in sent), 4, sent)

    def test_links(self):
        for name in DOCS:
            for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text(name)):
                path = os.path.normpath(os.path.join(os.path.dirname(name), link)) if link else name
                self.assertTrue(os.path.exists(os.path.join(TOP, path)), f"{name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(path), f"{name}: {link}")

    def test_every_reason_is_in_the_guide(self):
        reasons = set(re.findall(r'\tX\(\w+, "(\w+)"\)', text("bpf/egress_abi.h"))) - {"allowed"}
        listed = set(re.findall(r"`(\w+)`", text("docs/guide.md")))
        self.assertLessEqual(reasons, listed)

    def test_every_key_of_the_log_is_in_the_reference(self):
        keys = set(re.findall(r'KEY\("(\w+)"\)', text("user/access_log.c")))
        self.assertGreater(len(keys), 15)
        self.assertLessEqual(keys, set(re.findall(r"`(\w+)`", text("docs/reference.md"))))

    def test_policies_that_are_shown(self):
        found = [block for name in ("README.md", "docs/policy.md") for kind, block in blocks(name)
                 if kind == "yaml" and block.startswith("routes:")]
        self.assertTrue(found)
        for block in found:
            self.ok(cli("check", write("readme.yaml", block)))

    def test_the_other_blocks_of_the_policy_page(self):
        others = [block for kind, block in blocks("docs/policy.md")
                  if kind == "yaml" and not block.startswith("routes:")]
        self.assertEqual([block.split(":")[0] for block in others], ["upstream", "bottles"])
        self.ok(cli("check", write("upstream.yaml", "routes: []\n" + others[0])))
        self.ok(cli("prepare", write("manifest.yaml", others[1]), "--bottle", "agent", "--print"))

    def test_every_reason_is_in_the_man_page(self):
        reasons = set(re.findall(r'\tX\(\w+, "(\w+)"\)', text("bpf/egress_abi.h"))) - {"allowed"}
        section = re.search(r"(?ms)^\.Sh REASONS$(.*?)^\.Sh ", text("docs/man/egress-bpf.1"))[1]
        listed = re.findall(r"\w+", " ".join(re.findall(r"(?m)^\.It (.*)$", section)))
        self.assertLessEqual(reasons, set(listed))
