# SPDX-License-Identifier: MIT
"""
A machine to run units on: systemd as PID 1 in namespaces of its own, over an overlay of this machine's files, with
shimport installed below /usr/local; or over an overlay of a chroot, with nothing installed. Nothing of it survives.
"""

import hashlib
import itertools
import os
import pathlib
import shlex
import subprocess
import tempfile
import time

import harness

HERE = pathlib.Path(__file__).resolve().parent
BOOT_SECONDS = 30
SYSTEMD = "/lib/systemd/systemd"
USER = 61234  # see boot.sh

# Of a file system that is looked over for traces: what is no file, what apt and dpkg keep of every package, logs.
PASSED_OVER = ("proc", "sys", "dev", "run", "tmp", "srv", "home", "root", "var/cache", "var/lib/apt", "var/lib/dpkg",
               "var/log", "var/lib/systemd/catalog", "var/tmp", "etc/shimport-test-units")
# And what is made anew from all that is installed, and the backups that go with every new user.
REMADE = {"etc/ld.so.cache", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock",
          "etc/subuid-", "etc/subgid-"}

NAMESPACES = ["--pid", "--mount", "--cgroup", "--uts", "--ipc"]


class CannotBoot(Exception):
    pass


def install(stage):
    """The tree that `make install` makes, below a directory."""
    variables = [f"DESTDIR={stage}", "PREFIX=/usr/local", f"BUILD={harness.BUILD}"]
    command = ["make", "-C", harness.ROOT, "--no-print-directory", "-o", "build", "install", *variables]
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    harness.run(command, env=env, check=True, timeout=300)
    return stage


class Machine:
    def __init__(self, chroot=None):
        self.chroot = chroot
        self.directory = None
        self.process = None
        self.pid = None

    def boot(self):
        if os.geteuid() != 0:
            raise CannotBoot("it takes root")
        if not os.path.exists(SYSTEMD):
            raise CannotBoot(f"there is no {SYSTEMD}")
        self.directory = tempfile.TemporaryDirectory(prefix="shimport-machine-")
        base = pathlib.Path(self.directory.name)
        (base / "machine").mkdir()
        self.log_path = base / "log"
        (base / "stage").mkdir()
        if not self.chroot:
            install(base / "stage")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", *NAMESPACES, "--fork", "--kill-child", HERE / "boot.sh", base / "machine", base / "stage",
                 *([self.chroot] if self.chroot else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log_path.read_text(errors="backslashreplace").strip()
                self.halt()
                raise CannotBoot(text or "it did not come up")
            time.sleep(0.05)
        return self

    def is_up(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            self.pid = int(children.read_text())
        except (OSError, ValueError):
            return False
        return self.run("systemctl", "is-active", "tests.target").stdout.strip() == "active"

    def halt(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.directory.cleanup()

    # -- inside -------------------------------------------------------------------------------------------------

    def command(self, *arguments, user=None):
        """What to execute out here to execute it in there."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return ["nsenter", "-t", str(self.pid), "-p", "-m", "-C", "-u", "-i", *become, *map(str, arguments)]

    def env(self, user=None):
        changes = {"XDG_RUNTIME_DIR": f"/run/user/{user}", "HOME": "/home/tester"} if user else {"HOME": "/root"}
        return harness.environment(SHIMPORT_SOCKET=None, **changes)

    def run(self, *arguments, user=None, **options):
        options.setdefault("env", self.env(user))
        return harness.run(self.command(*arguments, user=user), **options)

    def popen(self, *arguments, user=None, **options):
        options.setdefault("env", self.env(user))
        return subprocess.Popen(self.command(*arguments, user=user), **options)

    def shell(self, script, **options):
        return self.run("/bin/sh", "-euc", script, **options)

    def path(self, path):
        """A path of the machine, as it is called out here."""
        return pathlib.Path(f"/proc/{self.pid}/root{path}")

    def systemctl(self, *arguments, user=None, check=True, **options):
        scope = ["--user"] if user else []
        return self.run("systemctl", *scope, *arguments, user=user, check=check, **options)

    def show(self, unit, name, user=None):
        return self.systemctl("show", "--value", f"--property={name}", unit, user=user).stdout.strip()

    def main_pid(self, unit="shimportd.service", user=None):
        """The daemon, as it is called in there; 0: it does not run."""
        return int(self.show(unit, "MainPID", user=user))

    def log(self, unit=None, since=None):
        arguments = ["--no-pager", "-o", "cat", *(["-u", unit] if unit else []), *(["--since", since] if since else [])]
        return self.run("journalctl", *arguments).stdout

    def kill(self, pid, signal):
        self.run("kill", f"-{signal}", pid, check=True)

    def write(self, path, text):
        inside = self.path(path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)

    def files(self, *below):
        """All that lies on it, or below these: {path: mode, owner, and content or target}."""
        root = self.path("/")
        found = {}
        tops = [self.path(path) for path in below or ["/"]]
        for directory, names, others in itertools.chain.from_iterable(map(os.walk, tops)):
            relative = pathlib.Path(directory).relative_to(root)
            names[:] = [name for name in names if str(relative / name) not in PASSED_OVER]
            for name in names + others:
                path, key = pathlib.Path(directory, name), str(relative / name)
                if key in REMADE:
                    continue
                status = path.lstat()
                what = os.readlink(path) if path.is_symlink() else ""
                if path.is_file() and not path.is_symlink():
                    what = hashlib.sha256(path.read_bytes()).hexdigest()
                found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, what)
        return found

    def __str__(self):
        return f"machine {shlex.quote(self.directory.name)}"


def changed(before, after):
    """What differs between two of what Machine.files() gives."""
    return {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
            if before.get(path) != after.get(path)}
