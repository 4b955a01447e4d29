# SPDX-License-Identifier: BSD-2-Clause
"""What is installed beside the program says what the program says: man pages, completions, the
schema of policies; and `make install` puts all of it where it belongs."""
import glob
import json
import os
import re
import shutil
import subprocess

import jsonschema
import yaml

import harness
from harness import Case, cli, write
from test_policies import BROKEN

TOP = os.path.dirname(os.path.dirname(harness.HERE))
MAN = os.path.join(TOP, "docs/man/egress-bpf.1")
ROUTES_MAN = os.path.join(TOP, "docs/man/egress-bpf-routes.5")
CI_MAN = os.path.join(TOP, "docs/man/egress-ci.1")
COMPLETIONS = os.path.join(TOP, "tools/completions")
# What a schema cannot see: YAML itself, what several keys or routes mean together, arithmetic of
# addresses, encodings and regexes.
BEYOND_SCHEMA = {
    "alias", "anchor", "duplicate_key", "escaped_nul", "flag_yes", "port_hex", "tag", "utf16",
    "cidr_bad", "cidr_direct_holds_private", "cidr_host_bits", "cidr_private", "cidr_private_v6",
    "dns_name_is_route", "dns_pool_large", "dns_pool_loopback", "dns_pool_public",
    "dns_pool_small", "host_bad_idna", "host_is_ours", "modes_conflict", "path_encoded_slash",
    "ports_of_host", "regex_bad", "e2e bad cidr", "e2e host bits", "e2e bad regex", "e2e key twice",
}


def commands():
    return re.findall(r"(?m)^  ([a-z-]+) ", cli("--help").stdout)


def help_options(command):
    """Those of the usage and at the beginning of a line of --help, without --help itself."""
    text = cli(command, "--help").stdout
    found = re.findall(r"(?m)^  (?:-[a-zA-Z], )?--([a-z-]+)", text)
    found += re.findall(r"--([a-z][a-z-]*)", text.partition("\n\n")[0])
    return set(found) - {"help"}


def man_sections():
    """{subcommand: options} by the man page's subsections."""
    with open(MAN, encoding="utf-8") as file:
        described = file.read().split("\n.Sh DESCRIPTION\n")[1].split("\n.Sh ")[0]
    found = {}
    for part in re.split(r"(?m)^\.Ss ", described)[1:]:
        found[part.split("\n")[0]] = set(re.findall(r"(?m)^\.It Fl (?:\w , )?-([a-z-]+)", part))
    return found


class Image(Case):
    def test_licences(self):
        """Each library comes with its own, and with the texts that these name; so does what is in the program."""
        root = harness.world.path("licences-root")
        made = subprocess.run([os.path.join(TOP, "container/make-root"), harness.world.program, root],
                              capture_output=True, text=True, check=False)
        self.addCleanup(shutil.rmtree, root)
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        libraries = [os.path.realpath(path.removeprefix(root))
                     for path in glob.glob(root + "/**/*.so*", recursive=True)]
        self.assertGreater(len(libraries), 10)
        for name in ("libssl.so.3", "libc.so.6"):
            self.assertTrue(any(path.endswith("/" + name) for path in libraries), libraries)
        lists = [part for path in libraries for part in (path, path.removeprefix("/usr"))]
        owners = subprocess.run(["dpkg", "-S", *lists], capture_output=True, text=True, check=False).stdout
        packages = {line.split(":")[0] for line in owners.splitlines()} | {"ca-certificates", "egress-bpf"}
        self.assertEqual({name for name in packages
                          if not os.path.isfile(f"{root}/usr/share/doc/{name}/copyright")}, set())
        self.assertEqual(*map(sorted, (os.listdir(root + "/usr/share/common-licenses"),
                                       os.listdir("/usr/share/common-licenses"))))
        with open(f"{root}/usr/share/doc/egress-bpf/copyright", encoding="utf-8") as file:
            said = file.read()
        self.assertIn("Fedor Indutny", said)
        self.assertIn("Redistributions in binary form", said)


class Package(Case):
    def test_purge(self):
        """The keys of CAs stay when the package is removed, and go when it is purged."""
        script = os.path.join(TOP, "tools/debian/postrm")
        commands = """set -e
        mount -t tmpfs none /var/lib; mkdir -p /var/lib/egress-bpf/agent /var/lib/other
        for step in upgrade remove; do sh "$1" $step; [ -d /var/lib/egress-bpf/agent ]; done
        for _ in 1 2; do sh "$1" purge; done
        ls /var/lib"""
        done = subprocess.run(["unshare", "-m", "sh", "-c", commands, "sh", script], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "other\n", ""))


class Man(Case):
    def test_lint(self):
        for page in (MAN, ROUTES_MAN, CI_MAN):
            said = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True,
                                  check=False).stdout
            # Whether other packages' pages, or ours, are installed here is no matter of the page.
            faults = [line for line in said.splitlines() if "referenced manual not found" not in line]
            self.assertEqual(faults, [])

    def test_commands_and_options_are_those_of_help(self):
        sections = man_sections()
        self.assertEqual(sorted(sections), sorted(commands()),
                         "docs/man/egress-bpf.1 needs one .Ss per subcommand of --help")
        for command, options in sections.items():
            with self.subTest(command=command):
                self.assertEqual(sorted(options), sorted(help_options(command)),
                                 f"options of {command}: docs/man/egress-bpf.1 against --help")

    def test_defaults_are_those_of_help(self):
        """Those with a digit, a dot, a dash or a slash; what is said in words is not compared."""
        with open(MAN, encoding="utf-8") as file:
            parts = re.split(r"(?m)^\.Ss ", file.read().split("\n.Sh DESCRIPTION\n")[1].split("\n.Sh ")[0])
        sections = {part.split("\n")[0]: part for part in parts[1:]}
        compared = 0
        for command in commands():
            said = cli(command, "--help").stdout
            for value in re.findall(r"\bdefault:? ([^\s,;)]*[\d/.-][^\s,;)]*)", said):
                compared += 1
                self.assertIn(value, sections[command], f"{command}: the default {value}")
        self.assertGreater(compared, 9)

    def test_reasons(self):
        with open(os.path.join(TOP, "bpf/egress_abi.h"), encoding="utf-8") as file:
            reasons = set(re.findall(r'\tX\(\w+, "(\w+)"\)', file.read())) - {"allowed"}
        with open(MAN, encoding="utf-8") as file:
            part = file.read().split("\n.Sh REASONS\n")[1].split("\n.Sh ")[0]
        listed = {word for line in re.findall(r"(?m)^\.It (.*)$", part) for word in line.split(" , ")}
        self.assertEqual(listed, reasons)

    def test_keys_of_the_policy(self):
        with open(ROUTES_MAN, encoding="utf-8") as file:
            listed = set(re.findall(r"(?m)(?:\.It Ic |\.Ic |, )([a-z_]+)", file.read()))
        self.assertLessEqual(schema_keys(schema()), listed)

    def test_documented_example_is_a_policy(self):
        with open(ROUTES_MAN, encoding="utf-8") as file:
            example = file.read().split(".Bd -literal -offset indent\n")[1].split(".Ed")[0]
        self.ok(cli("check", write("man.yaml", example)))


def schema():
    with open(os.path.join(TOP, "docs/routes.schema.json"), encoding="utf-8") as file:
        return json.load(file)


def schema_keys(node):
    """The names of all properties, wherever they stand."""
    if isinstance(node, list):
        return set().union(*map(schema_keys, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set(node["properties"]) if isinstance(node.get("properties"), dict) else set()
    return found.union(*map(schema_keys, node.values()))


def parser_keys():
    """What the tables of config.c and config_route.c name."""
    found = set()
    for name in ("config.c", "config_route.c", "config_upstream.c"):
        with open(os.path.join(TOP, "user", name), encoding="utf-8") as file:
            found |= set(re.findall(r"KEY\(\w+, (\w+), \w+\)", file.read()))
    return found


class Schema(Case):
    """Schema and parser agree on what is a policy, but for what only a parser can see."""

    @classmethod
    def setUpClass(cls):
        jsonschema.Draft7Validator.check_schema(schema())
        cls.validator = jsonschema.Draft7Validator(schema())

    def test_same_keys(self):
        self.assertEqual(schema_keys(schema()), parser_keys())

    def test_good(self):
        paths = glob.glob(os.path.join(TOP, "tests/unit/policies/good/*"))
        texts = [open(path, encoding="utf-8").read() for path in paths]
        texts += [harness.policy(), "routes: []\n", "routes: [{host: a.test, path_allowlist: [/]}]"]
        self.assertGreater(len(texts), 7)
        for text in texts:
            self.ok(cli("check", write("schema.yaml", text)))
            self.assertEqual([e.message for e in self.validator.iter_errors(yaml.safe_load(text))],
                             [], text)

    def bad_texts(self):
        for path in glob.glob(os.path.join(TOP, "tests/unit/policies/bad/*.yaml")):
            with open(path, "rb") as file:
                yield os.path.basename(path)[:-5], file.read()
        for what, text, _, _ in BROKEN:
            yield "e2e " + what, text.encode()

    def test_bad(self):
        judged = 0
        for what, text in self.bad_texts():
            try:
                value = yaml.safe_load(text)
            except (yaml.YAMLError, UnicodeDecodeError, ValueError):
                continue  # no YAML, no schema
            judged += 1
            valid = self.validator.is_valid(value)
            self.assertEqual(valid, what in BEYOND_SCHEMA, f"{what}: {text[:300]}")
        self.assertGreater(judged, 150)


def complete_bash(line):
    """What bash offers for the words of `line`, the last of which is being typed."""
    script = f"""
        source /usr/share/bash-completion/bash_completion
        source {COMPLETIONS}/egress-bpf.bash
        COMP_LINE=$1 COMP_POINT=${{#1}}
        read -ra COMP_WORDS <<<"$1"
        case $1 in *' ') COMP_WORDS+=('');; esac
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _egress_bpf 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = os.path.dirname(harness.world.program) + ":" + os.environ["PATH"]
    out = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True,
                         check=True, env={**os.environ, "PATH": path}, cwd=TOP)
    return out.stdout.split()


class Completions(Case):
    def test_bash_commands(self):
        self.assertEqual(set(complete_bash("egress-bpf ")), set(commands()) | {"--help", "--version"})
        self.assertEqual(complete_bash("egress-bpf che"), ["check"])

    def test_bash_options_of_every_command(self):
        for command in commands():
            offered = set(complete_bash(f"egress-bpf {command} --"))
            self.assertEqual(offered - {"--help"}, {"--" + o for o in help_options(command)}, command)

    def test_bash_values(self):
        self.assertIn("README.md", complete_bash("egress-bpf check READ"))
        self.assertIn("README.md", complete_bash("egress-bpf run --policy READ"))
        self.assertEqual(complete_bash("egress-bpf run --ca-dir READ"), [])
        self.assertEqual(complete_bash("egress-bpf exec --user roo"), ["root"])
        self.assertEqual(complete_bash("egress-bpf ca in"), ["init"])
        self.assertIn("mktemp", complete_bash("egress-bpf exec --allow a.test -- mktem"))

    def test_fish(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        path = os.path.dirname(harness.world.program) + ":" + os.environ["PATH"]

        def offered(line):
            out = subprocess.run(
                ["fish", "--no-config", "-c",
                 f"source {COMPLETIONS}/egress-bpf.fish; complete -C '{line}'"],
                capture_output=True, text=True, check=True,
                env={**os.environ, "PATH": path, "HOME": harness.world.path("home")})
            return {row.split("\t")[0] for row in out.stdout.splitlines()}
        self.assertLessEqual(set(commands()), offered("egress-bpf "))
        self.assertLessEqual({"--policy", "--log-query"}, offered("egress-bpf run --"))

    def test_zsh(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        # The builtins of its completion system in place: what would be offered is printed.
        script = f"""
            _describe() {{ print -l -- "${{(@P)2}}"; }}
            compadd() {{ print -l -- "${{@:#--}}"; }}
            _files() {{ print files; }}
            words=({harness.world.program} "$@") CURRENT=$(($# + 1))
            source {COMPLETIONS}/_egress-bpf
        """

        def offered(*words):
            return subprocess.run(["zsh", "-f", "-c", script, "zsh", *words], capture_output=True,
                                  text=True, check=True).stdout.splitlines()
        self.ok(subprocess.run(["zsh", "-n", f"{COMPLETIONS}/_egress-bpf"], capture_output=True,
                               text=True, check=False))
        self.assertLessEqual(set(commands()), {line.split(":")[0] for line in offered("")})
        self.assertLessEqual({"--policy", "--log-query"}, set(offered("run", "--")))
        self.assertEqual(offered("check", "R"), ["files"])


class Install(Case):
    FILES = ["bin/egress-bpf", "bin/egress-ci",
             *(f"libexec/egress-bpf/{name}" for name in ("annotate", "egress-bpf-runc", "egress-ci")),
             "share/man/man1/egress-bpf.1", "share/man/man1/egress-ci.1", "share/man/man5/egress-bpf-routes.5",
             "share/bash-completion/completions/egress-bpf",
             "share/zsh/vendor-completions/_egress-bpf",
             "share/fish/vendor_completions.d/egress-bpf.fish",
             "share/egress-bpf/routes.schema.json", "share/egress-bpf/providers/codex.yaml",
             "share/doc/egress-bpf/README.md",
             *(f"share/doc/egress-bpf/docs/{name}" for name in os.listdir(os.path.join(TOP, "docs"))
               if name.endswith(".md")),
             "share/doc/egress-bpf/docs/report.schema.json",
             *(f"share/doc/egress-bpf/container/{name}" for name in (
                 "README.md", "compose.yaml", "egress-bpf-container@.service",
                 "github-action/action.yml", "gitlab-ci/egress.gitlab-ci.yml",
                 "grafana/egress-bpf.json", "kubernetes/daemonset.yaml",
                 "kubernetes/sidecar.yaml")),
             *(f"share/egress-bpf/ui/{name}" for name in ("icon.svg", "page.css", "page.html", "page.js")),
             "share/doc/egress-bpf/LICENSE", "lib/systemd/system/egress-bpf@.service"]

    def test_make_install(self):
        root = harness.world.path("installed")
        build = os.path.relpath(os.path.dirname(harness.world.program), TOP)
        # As built: installing compiles nothing.
        self.ok(subprocess.run(["make", "-s", "-o", "all", "install", f"BUILD={build}",
                                f"DESTDIR={root}", "PREFIX=/opt/x"], cwd=TOP, capture_output=True,
                               text=True, check=False))
        found = [os.path.relpath(os.path.join(d, f), root + "/opt/x")
                 for d, _, files in os.walk(root) for f in files]
        self.assertEqual(sorted(found), sorted(self.FILES))
        with open(f"{root}/opt/x/lib/systemd/system/egress-bpf@.service", encoding="utf-8") as file:
            self.assertIn("ExecStart=/opt/x/bin/egress-bpf run --name %i", file.read())
        # Where README and reference speak of `make install` itself, its default stays.
        for name in self.FILES:
            with open(f"{root}/opt/x/{name}", "rb") as file:
                if not name.endswith(("README.md", "docs/reference.md", "bin/egress-bpf")):
                    self.assertNotIn(b"/usr/local", file.read(), name)
        self.assertEqual(subprocess.run([f"{root}/opt/x/bin/egress-bpf", "--version"],
                                        stdout=subprocess.DEVNULL, check=False).returncode, 0)

        for name in self.FILES:
            if not name.endswith(".md"):
                continue
            page = f"{root}/opt/x/{name}"
            with open(page, encoding="utf-8") as file:
                for link in re.findall(r"\]\((?!https?:)([^)#]+)", file.read()):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(page), link)),
                                    f"{name}: {link}")

        # As the template for GitLab starts it, by PATH.
        said = subprocess.run([f"{root}/opt/x/bin/egress-ci"], capture_output=True, text=True, check=False)
        self.assertEqual((said.returncode, said.stderr), (125, "egress-ci: say which command to run\n"))
        said = self.ok(subprocess.run([f"{root}/opt/x/bin/egress-ci", "--help"], capture_output=True, text=True,
                                      check=False))
        variables = set(re.findall(r"\bEGRESS_[A-Z]+\b", said))
        for path in ("container/ci/egress-ci", "docs/man/egress-ci.1"):
            with open(os.path.join(TOP, path), encoding="utf-8") as file:
                self.assertEqual(set(re.findall(r"\bEGRESS_[A-Z]+\b", file.read())), variables, path)

    def test_make_uninstall(self):
        """All that install puts goes, and nothing else."""
        root = harness.world.path("uninstalled")
        build = os.path.relpath(os.path.dirname(harness.world.program), TOP)

        def make(target):
            self.ok(subprocess.run(["make", "-s", "-o", "all", target, f"BUILD={build}",
                                    f"DESTDIR={root}", "PREFIX=/opt/x"], cwd=TOP, capture_output=True,
                                   text=True, check=False))
        make("install")
        foreign = f"{root}/opt/x/bin/another"
        with open(foreign, "w", encoding="utf-8"):
            pass
        make("uninstall")
        left = [os.path.join(d, f) for d, _, files in os.walk(root) for f in files]
        self.assertEqual(left, [foreign])
        self.assertEqual([d for d, _, _ in os.walk(root) if "egress-bpf" in os.path.basename(d)], [])
        make("uninstall")  # of what is not there

    @harness.measures
    def test_size(self):
        stripped = harness.world.path("stripped")
        subprocess.run(["strip", "-o", stripped, harness.world.program], check=True)
        self.assertLessEqual(os.path.getsize(stripped), 1 << 20)
