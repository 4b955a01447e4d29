# SPDX-License-Identifier: BSD-2-Clause
"""`provision-ca` through the mount namespace of processes that run: what they see is what changes,
and a bottle with a user namespace of its own gets no more than its own root may."""
import ctypes
import os
import re
import shutil
import subprocess

import harness
from harness import Case, cli

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
libc = ctypes.CDLL(None, use_errno=True)


class Provision(Case):
    def setUp(self):
        super().setUp()
        self.top = os.path.join(harness.world.path("provision"), self.id())
        self.root = os.path.join(self.top, "root")
        for directory in ("bin", "proc", "etc/ssl/certs", "usr/local/share/ca-certificates",
                          "volume", "dev"):
            os.makedirs(os.path.join(self.root, directory))
        os.chmod(self.top, 0o755)
        shutil.copy("/bin/busybox", os.path.join(self.root, "bin/busybox"))
        with open(os.path.join(self.root, "dev/null"), "w", encoding="ascii"):
            pass
        for name in ("sh", "cat", "sleep", "grep", "mount", "ln", "mv", "true"):
            os.symlink("busybox", os.path.join(self.root, "bin", name))
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", os.path.join(self.root, BUNDLE))
        self.ca = os.path.join(self.top, "ca")
        self.assertEqual(cli("ca", "init", self.ca).returncode, 0)
        with open(os.path.join(self.ca, "ca-cert.pem"), encoding="ascii") as file:
            self.pem = file.read()
        self.addCleanup(shutil.rmtree, self.top)

    def start(self, script, uid=0):
        """A process with namespaces and a root of its own, which runs `script` and waits."""
        ready, told = os.pipe()
        mapped, map_done = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)) != 0:
                    os._exit(3)
                os.write(told, b"u")
                os.read(mapped, 1)
                if uid:
                    os.setgroups([])
                    os.setresgid(0, 0, 0)
                    os.setresuid(0, 0, 0)
                if libc.mount(b"none", b"/", None, 0x44000, None) != 0:  # MS_REC | MS_PRIVATE
                    os._exit(4)
                os.chroot(self.root)
                os.chdir("/")
                os.dup2(told, 1)
                os.execve("/bin/sh", ["sh", "-c", script + "\necho ready\nexec sleep 1000"], {})
            finally:
                os._exit(5)
        os.close(told)
        self.addCleanup(self.end, pid)
        self.assertEqual(os.read(ready, 1), b"u")
        if uid:
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                    file.write(f"0 {uid} 1000\n")
        os.write(map_done, b"m")
        os.close(map_done)
        os.close(mapped)
        said = b""
        while b"ready" not in said:
            more = os.read(ready, 100)
            self.assertTrue(more, f"the bottle ended: {said}")
            said += more
        os.close(ready)
        return pid

    @staticmethod
    def end(pid):
        """With all that it has started; harmless when that is done."""
        try:
            os.killpg(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def provision(self, *arguments):
        return cli("provision-ca", *arguments, "--ca", os.path.join(self.ca, "ca.pem"))

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def test_names_of_its_files_on_a_terminal(self):
        """Escapes, C1, what turns a line round, ends of lines and bytes that are no character, by root inside."""
        name = "\x1b]0;mine\a\u009b31m\u202e\ncalm ".encode() + b"\x9b31m"
        root = os.fsencode(self.root)
        for place, file in ((b"home/" + name + b"/.pki/nssdb", b"cert9.db"),
                            (b"usr/lib/jvm/" + name + b"/lib/security", b"cacerts")):
            os.makedirs(os.path.join(root, place))
            with open(os.path.join(root, place, file), "wb"):
                pass
        run = [harness.world.program, "provision-ca", "--root", self.root, "--ca", self.ca + "/ca-cert.pem"]
        told = subprocess.run(run, capture_output=True, check=False)
        self.assertEqual((told.returncode, told.stderr), (0, b""))
        os.remove(os.path.join(root, place, file))
        os.mkdir(os.path.join(root, place, file))
        failed = subprocess.run(run, capture_output=True, check=False)
        self.assertEqual(failed.returncode, 1)
        for text, count in ((told.stdout, 3), (failed.stderr, 1)):
            self.assertEqual(text.count(b"/?]0;mine??31m??calm ?31m/"), count, text)
            for line in text.decode().splitlines():  # by U+0085 and U+2028, too
                self.assertRegex(line, "^(egress-bpf: provision-ca: )?/")
                self.assertTrue(line.isprintable(), line)

    def test_a_process_with_mounts_of_its_own(self):
        pid = self.start("mount -t tmpfs none /etc/ssl/certs && echo '# empty' "
                         ">/etc/ssl/certs/ca-certificates.crt")
        for want in ("put in", "as it should be"):
            result = self.provision("--pid", str(pid))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"/{BUNDLE}: {want}", result.stdout)
        inside = f"/proc/{pid}/root/{BUNDLE}"
        self.assertIn(self.pem, self.read(inside))
        self.assertNotIn("PRIVATE KEY", self.read(inside))
        self.assertNotIn(self.pem, self.read(os.path.join(self.root, BUNDLE)))
        anchor = os.path.join(self.root, "usr/local/share/ca-certificates/egress-bpf.crt")
        self.assertIn(self.pem, self.read(anchor))
        verify = subprocess.run(
            ["openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath",
             f"/proc/{pid}/root/etc/ssl/certs", os.path.join(self.ca, "ca-cert.pem")],
            capture_output=True, text=True, check=False)
        self.assertEqual(verify.returncode, 0, verify.stderr)
        self.assertEqual(self.provision("--pid", str(pid), "--remove").returncode, 0)
        self.assertEqual(self.read(inside), "# empty\n")
        self.assertFalse(os.path.exists(anchor))

    def test_a_cgroup(self):
        cgroup = os.path.join(harness.world.cgroup, "provision")
        os.mkdir(cgroup)
        self.addCleanup(os.rmdir, cgroup)
        self.assertIn("no process", self.provision("--cgroup", cgroup).stderr)
        pid = self.start("true")
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(pid))
        result = self.provision("--cgroup", cgroup)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(self.pem, self.read(os.path.join(self.root, BUNDLE)))
        self.end(pid)
        harness.wait_for(lambda: not self.read(os.path.join(cgroup, "cgroup.procs")), 10,
                         "an empty cgroup")

    def test_a_user_namespace_has_its_own_rights(self):
        volume = os.path.join(self.root, "volume")
        for path, _, names in os.walk(self.root):
            for entry in [path] + [os.path.join(path, name) for name in names]:
                os.chown(entry, 100000, 100000, follow_symlinks=False)
        for path in (volume,):  # what the host mounted in, and the bottle may only read
            os.chown(path, 0, 0)
        with open(os.path.join(volume, "ca-certificates.crt"), "w", encoding="ascii") as file:
            file.write("the host's\n")
        pid = self.start("true", uid=100000)
        result = self.provision("--pid", str(pid))
        self.assertEqual(result.returncode, 0, result.stderr)
        bundle = os.path.join(self.root, BUNDLE)
        self.assertIn(self.pem, self.read(bundle))
        self.assertEqual(os.stat(bundle).st_uid, 100000)
        shutil.rmtree(os.path.dirname(bundle))
        os.symlink("/volume", os.path.dirname(bundle))
        result = self.provision("--pid", str(pid))
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("Permission denied", result.stderr)
        self.assertEqual(os.listdir(volume), ["ca-certificates.crt"])
        self.assertEqual(self.read(os.path.join(volume, "ca-certificates.crt")), "the host's\n")

    def database(self, path, password=""):
        """A database as a browser makes it, with a certificate of its own; owned by a user."""
        directory = os.path.join(self.root, path)
        os.makedirs(directory)
        secret = os.path.join(self.top, "password")
        with open(secret, "w", encoding="ascii") as file:
            file.write(password)
        for more in (["-N", "-f", secret],
                     ["-A", "-n", "other", "-t", "C,,", "-f", secret, "-i", self.other]):
            subprocess.run(["certutil", "-d", "sql:" + directory, *more], check=True,
                           capture_output=True)
        for name in os.listdir(directory):
            os.chown(os.path.join(directory, name), 1000, 1000)
        return directory

    def trusted(self, directory):
        """Name and trust of each certificate, by a copy."""
        copy = os.path.join(self.top, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("pkcs11.txt"))
        said = subprocess.run(["certutil", "-L", "-d", "sql:" + copy], capture_output=True, text=True,
                              check=True).stdout
        return dict(line.split() for line in said.splitlines() if line.rstrip().endswith(",,"))

    @harness.measures  # of memory, which certutil has little of, and a sanitizer takes much
    def test_nss_databases(self):
        # Not by `ca init`: NSS has one name for all certificates of one subject.
        self.other = os.path.join(self.top, "other.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=other",
                        "-keyout", "/dev/null", "-out", self.other], check=True, capture_output=True)
        paths = ("etc/pki/nssdb", "home/ann/.pki/nssdb", "home/ann/.mozilla/firefox/x.default")
        directories = [self.database(path) for path in paths]
        locked = self.database("root/.pki/nssdb", "a password")
        broken = os.path.join(self.root, "home/bob/.pki/nssdb")
        os.makedirs(broken)
        with open(os.path.join(broken, "cert9.db"), "wb") as file:
            file.write(b"SQLite format 3\0" + os.urandom(5000))
        # What it would load: certutil ends when it is not there, and must not look.
        evil = os.path.join(self.top, "evil")
        with open(os.path.join(directories[0], "pkcs11.txt"), "a", encoding="ascii") as file:
            file.write(f"library={evil}\nname=evil\n\n")
        before = os.stat(os.path.join(directories[1], "cert9.db"))
        trace = os.path.join(self.top, "trace")
        result = subprocess.run(
            ["strace", "-f", "-o", trace, "-e", "trace=execve,openat,setresuid", harness.world.program,
             "provision-ca", "--root", self.root, "--ca", os.path.join(self.ca, "ca.pem")],
            capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        for path, directory in zip(paths, directories):
            self.assertIn(f"/{path}/cert9.db: put in", result.stdout)
            self.assertEqual(self.trusted(directory), {"other": "C,,", "egress-bpf": "C,,"})
        self.assertRegex(result.stdout, "/root/.pki/nssdb/cert9.db: .*not changed.*password")
        self.assertRegex(result.stdout, "/home/bob/.pki/nssdb/cert9.db: .*not changed.*cannot read")
        self.assertEqual(self.trusted(locked), {"other": "C,,"})
        after = os.stat(os.path.join(directories[1], "cert9.db"))
        self.assertEqual((after.st_uid, after.st_mode), (before.st_uid, before.st_mode))
        calls = self.read(trace)
        self.assertNotIn(evil, calls)
        for pid in set(re.findall(r"^(\d+) +execve\(\"/usr/bin/certutil", calls, re.M)):
            self.assertNotRegex(calls, f"(?m)^{pid} .*{self.root}/")
        self.assertRegex(calls, r"setresuid\(94208, 94208, 94208\) += 0")
        again = self.provision("--root", self.root)
        self.assertIn("/etc/pki/nssdb/cert9.db: as it should be", again.stdout)
        # A new CA takes the place of the old one.
        shutil.rmtree(self.ca)
        self.assertEqual(cli("ca", "init", self.ca).returncode, 0)
        self.assertIn("/etc/pki/nssdb/cert9.db: put in", self.provision("--root", self.root).stdout)
        self.assertEqual(len(self.trusted(directories[0])), 2)
        self.assertEqual(self.provision("--root", self.root, "--remove").returncode, 0)
        for directory in directories:
            self.assertEqual(self.trusted(directory), {"other": "C,,"})

    def link(self, path, target):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)

    def test_java_as_distributions_lay_it_out(self):
        """The store where the package has it, and the links by which each JVM comes to it."""
        stores = {"debian": "etc/ssl/certs/java/cacerts", "rhel": "etc/pki/ca-trust/extracted/java/cacerts",
                  "temurin": "opt/java/openjdk/lib/security/cacerts"}
        ours = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in",
                               os.path.join(self.ca, "ca-cert.pem")], capture_output=True, text=True,
                              check=True).stdout.strip().rpartition("=")[2]
        self.link("usr/lib/jvm/java-17-openjdk-amd64/lib/security/cacerts", "/" + stores["debian"])
        # Alpine's is relative, and by way of a second name of the JVM.
        self.link("usr/lib/jvm/java-21-openjdk/lib/security/cacerts", "../../../../../../" + stores["debian"])
        self.link("usr/lib/jvm/default-jvm", "java-21-openjdk")
        self.link("etc/pki/java/cacerts", "/" + stores["rhel"])
        self.link("usr/lib/jvm/jre-11/lib/security/cacerts", "../../../../../../etc/pki/java/cacerts")
        for path in stores.values():
            os.makedirs(os.path.dirname(os.path.join(self.root, path)), exist_ok=True)
            shutil.copy("/etc/ssl/certs/java/cacerts", os.path.join(self.root, path))
        result = self.provision("--root", self.root)
        self.assertEqual(result.returncode, 0, result.stderr)
        for path in stores.values():
            said = subprocess.run(["keytool", "-list", "-storepass", "changeit", "-keystore",
                                   os.path.join(self.root, path)], capture_output=True, text=True,
                                  check=False)
            self.assertIn(ours, said.stdout)
        for path in ("usr/lib/jvm/default-jvm/lib/security/cacerts", "etc/pki/java/cacerts"):
            self.assertTrue(os.path.islink(os.path.join(self.root, path)))
        self.assertEqual(self.provision("--root", self.root, "--remove").returncode, 0)
        for path in stores.values():
            with open(os.path.join(self.root, path), "rb") as file, \
                 open("/etc/ssl/certs/java/cacerts", "rb") as original:
                self.assertEqual(file.read(), original.read(), path)

    def test_more_roots_than_twenty(self):
        """Each root of a cgroup is done; none is dropped in silence."""
        cgroup = os.path.join(harness.world.cgroup, "provision-many")
        os.mkdir(cgroup)
        self.addCleanup(os.rmdir, cgroup)
        first, roots, pids = self.root, [], []
        for number in range(20):
            self.root = os.path.join(self.top, f"root{number}")
            shutil.copytree(first, self.root, symlinks=True)
            roots.append(self.root)
            pids.append(self.start("true"))
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(pids[-1]))
        result = self.provision("--cgroup", cgroup)
        self.assertEqual(result.returncode, 0, result.stderr)
        for root in roots:
            self.assertIn(self.pem, self.read(os.path.join(root, BUNDLE)))
        for pid in pids:
            self.end(pid)
        harness.wait_for(lambda: not self.read(os.path.join(cgroup, "cgroup.procs")), 10,
                         "an empty cgroup")

    def test_the_hosts_files_stay(self):
        before = os.stat("/etc/ssl/certs/ca-certificates.crt")
        for arguments in (("--pid", str(os.getpid())), ("--root", "/")):
            result = self.provision(*arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertIn("the host's own", result.stderr)
        shutil.rmtree(os.path.join(self.root, "etc/ssl/certs"))
        os.mkdir(os.path.join(self.root, "etc/ssl/certs"))
        mount = ["mount", "--bind", "/etc/ssl/certs", os.path.join(self.root, "etc/ssl/certs")]
        subprocess.run(mount, check=True)
        try:
            result = self.provision("--root", self.root)
        finally:
            subprocess.run(["umount", os.path.join(self.root, "etc/ssl/certs")], check=True)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("directory of the host", result.stderr)
        after = os.stat("/etc/ssl/certs/ca-certificates.crt")
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def test_a_bottle_that_swaps_links_meanwhile(self):
        outside = os.path.join(self.top, "outside")
        os.mkdir(outside)
        for number in range(2):
            os.makedirs(os.path.join(self.root, f"etc/real{number}"))
        os.rename(os.path.join(self.root, "etc/ssl/certs"),
                  os.path.join(self.root, "etc/real0/certs"))
        os.rmdir(os.path.join(self.root, "etc/ssl"))
        depth = "../" * 20
        pid = self.start(f"""
            cd /etc
            while :; do
                ln -s /etc/real0 s; mv -T s ssl
                ln -s {depth}{outside.lstrip('/')} s; mv -T s ssl
                ln -s /proc/1/root{outside} s; mv -T s ssl
            done >/dev/null 2>&1 &
        """)
        link = os.path.join(self.root, "etc/ssl")
        # A missing /etc/ssl would be made, as a directory that no link can replace.
        harness.wait_for(lambda: os.path.islink(link), what="the first link")
        seen = set()
        for _ in range(30):
            seen.add(os.readlink(link))
            result = self.provision("--pid", str(pid))
            self.assertIn(result.returncode, (0, 1))
            seen.add(os.readlink(link))
        harness.wait_for(lambda: seen.add(os.readlink(link)) or len(seen) > 1,
                         what="another link")
        self.assertEqual(os.listdir(outside), [])

    def test_strict_umask(self):
        """An image without roots: the directories are for its users, too, whatever root's umask is."""
        empty = os.path.join(self.root, "empty")
        os.mkdir(empty, 0o755)
        subprocess.run(["sh", "-c", "umask 077; exec \"$@\"", "sh", harness.world.program,
                        "provision-ca", "--root", empty, "--ca", self.ca + "/ca-cert.pem"],
                       check=True, capture_output=True)
        modes = [oct(os.stat(os.path.join(empty, at)).st_mode & 0o7777)
                 for at in ("etc", "etc/ssl", "etc/ssl/certs")]
        self.assertEqual(modes, ["0o755"] * 3)

    def test_usage(self):
        for arguments in ((), ("--pid", "1", "--root", "/x"), ("--pid",), ("--root", "/x", "y")):
            self.assertEqual(cli("provision-ca", *arguments, "--ca", "x").returncode, 2, arguments)
        self.assertEqual(cli("provision-ca", "--root", self.root).returncode, 2)
        result = cli("provision-ca", "--root", self.root, "--ca", "/etc/hostname")
        self.assertIn("no certificate in it", result.stderr)
