# SPDX-License-Identifier: MIT
"""
The two sides of a comparison: one and the same interpreter, once as it is and once with shimport enabled in its own
site directory, as an administrator would.

Each command runs in a mount namespace of its own. There the interpreter's site directory is a private one of that
side, and so is a place to work in: whatever a program is told, and whichever children it starts, with -I, in a venv or
without an environment, both sides see the same paths and leave nothing behind. The daemon of the side `shim` listens
where the system's would, so that nothing in the environment tells the two apart either.

Mount namespaces need root.
"""

import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import harness  # noqa: E402

SYSTEM_SOCKET = pathlib.Path("/run/shimport")  # where the system's daemon has its socket

# socket directory, site directory, place to work: what is mounted, and where; then the command.
ENTER = """
mount --bind "$1" "$2" && mount --bind "$3" "$4" && mount --bind "$5" "$6" && cd "$6" && shift 6 && exec "$@"
"""


class Side:
    """One side. `work` is the directory that its commands start in: the same path for both."""

    def __init__(self, name, interpreter, directory, site, socket):
        self.name = name
        self.interpreter = interpreter
        self.work = directory / "work"
        own = directory / name
        self.own_work = own / "work"
        self.mounts = [socket, SYSTEM_SOCKET, own / "site", site, self.own_work, self.work]
        for path in (self.work, own / "site", self.own_work / "tmp", self.own_work / "home"):
            path.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments):
        """What runs a command on this side."""
        inside = [str(part) for part in (*self.mounts, *arguments)]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", *inside]

    def env(self, **changes):
        own = {"SHIMPORT_SOCKET": None, "TMPDIR": self.work / "tmp", "HOME": self.work / "home"}
        return harness.environment(**{**own, **changes})

    def run(self, *arguments, env=None, **options):
        return harness.run(self.command(*arguments), env=env or self.env(), **options)

    def python(self, *arguments, **options):
        return self.run(self.interpreter.executable, *arguments, **options)

    def start(self, *arguments, env=None, **options):
        """A process in a session of its own, so that all of it can be ended."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self.command(*arguments),
            env=env or self.env(),
            start_new_session=True,
            errors="backslashreplace",
            **options,
        )

    def outside(self, path):
        """The path by which others than its commands reach a file in `work`."""
        return self.own_work / pathlib.Path(path).relative_to(self.work)


class Sides:
    """Both, and the daemon of the one, with lines of its configuration if need be: a context manager."""

    def __init__(self, interpreter, directory, configuration=()):
        self.interpreter = interpreter
        directory = pathlib.Path(directory)
        site = pathlib.Path(interpreter.describe()["site_dir"])
        socket = directory / "daemon"
        for path in (socket, SYSTEM_SOCKET, site):
            path.mkdir(parents=True, exist_ok=True)
        self.stock = Side("stock", interpreter, directory, site, socket)
        self.shim = Side("shim_", interpreter, directory, site, socket)  # paths of one length
        config = "\n".join(["[daemon]", *configuration, ""]) if configuration else None
        self.daemon = harness.Daemon(socket, config=config, prefix=self.shim.command())

    def __iter__(self):
        return iter((self.stock, self.shim))

    def __enter__(self):
        self.daemon.start()
        self.shim.run(harness.SHIMPORTCTL, "enable", "--python", self.interpreter.executable, check=True)
        self.level()
        self.warm()
        return self

    def __exit__(self, *error):
        self.daemon.__exit__(*error)
        for side in self:
            shutil.rmtree(side.own_work, ignore_errors=True)

    def level(self):
        """For both sides, since one of CPython's tests counts the .pth files."""
        for side in self:
            harness.level_site(side.mounts[2], self.interpreter)

    def warm(self, *paths):
        arguments = [part for path in paths for part in ("--path", path)]
        command = [harness.SHIMPORTCTL, "warm", "--python", self.interpreter.executable, *arguments]
        self.shim.run(*command, check=True, timeout=10 * harness.PATIENCE)

    def served(self, code):
        """How many modules shimport served to a process that runs the code."""
        show = f"{code}\nimport _shimport\nprint(_shimport.status()['served'])"
        return int(self.shim.python("-c", show, check=True).stdout.splitlines()[-1])


def reason_not_to():
    """Why this machine cannot compare, or None."""
    return None if os.geteuid() == 0 else "mount namespaces need root"
