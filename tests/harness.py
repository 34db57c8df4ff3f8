# SPDX-License-Identifier: MIT
"""
What the tests, the demo and the benchmarks share: interpreters, private daemons, and pairs of virtual
environments that are equal but for shimport. Nothing is mocked; what runs is what is installed.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("SHIMPORT_BUILD", ROOT / "build")).resolve()
SHIMPORTD = BUILD / "bin" / "shimportd"
SHIMPORTCTL = BUILD / "bin" / "shimportctl"

PATIENCE = 60  # seconds for anything that should take one
BUDGET_MS = 5000  # for an answer of the daemon, when tests run side by side


@dataclass(frozen=True)
class Interpreter:
    executable: str
    version: str
    soabi: str

    @property
    def minor(self):
        return tuple(int(part) for part in self.version.split(".")[:2])

    @property
    def debug(self):
        return "d" in self.soabi.split("-")[1]

    @property
    def free_threaded(self):
        return "t" in self.soabi.split("-")[1]

    def describe(self):
        """What `shimport.describe` prints: tag, path, site directory."""
        script = BUILD / "python" / "shimport" / "describe.py"
        return json.loads(run([self.executable, script], check=True).stdout)

    def stdlib(self):
        """The directory of the standard library."""
        return run([self.executable, "-c", "import os; print(os.path.dirname(os.__file__))"], check=True).stdout.strip()

    def __str__(self):
        name = self.version + ("d" if self.debug else "") + ("t" if self.free_threaded else "")
        return name


def interpreters():
    """All that the client was built for, the first of each version and build."""
    finder = subprocess.run([ROOT / "client" / "pythons.sh"], stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for line in finder.stdout.splitlines():
        interpreter = Interpreter(*line.split("\t")[:3])
        found.setdefault(str(interpreter), interpreter)
    return list(found.values())


def environment(**changes):
    """A clean one. A change to None takes the variable away."""
    variables = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "SHIMPORT_SOCKET": "/nonexistent/shimport",
    }
    variables.update(changes)
    return {name: str(value) for name, value in variables.items() if value is not None}


def run(command, env=None, check=False, timeout=PATIENCE, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        env=environment() if env is None else env,
        **options,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{command} gave {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def shown(result):
    """All that a process has shown of itself, as one text."""
    return f"exit status {result.returncode}\n{result.stdout}\n--- stderr ---\n{result.stderr}"


def assert_same(ours, stock):
    """Two texts are equal; if not, the lines that differ are shown, long ones around where they do."""
    if ours == stock:
        return
    lines = []
    for one, other in itertools.zip_longest(stock.splitlines(), ours.splitlines(), fillvalue=""):
        if one != other:
            at = len(os.path.commonprefix([one, other]))
            lines += [f"stock    ...{one[max(0, at - 80) : at + 160]}", f"shimport ...{other[max(0, at - 80) : at + 160]}"]
    raise AssertionError("not the same:\n" + "\n".join(lines[:40]))


def wait_until(condition, what, seconds=PATIENCE):
    """Returns the first true value that the condition gives."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def public_directory():
    """A temporary directory that every user may enter, unlike pytest's own."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="shimport-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Daemon:
    """A private shimportd. Its socket and its log are in a directory of its own."""

    def __init__(self, directory, config=None, arguments=(), prefix=(), program=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket = self.directory / "socket"
        self.log_path = self.directory / "log"
        self.config = None
        self.process = None
        self.prefix = list(prefix)
        self.program = program or SHIMPORTD
        self.arguments = list(arguments)
        if config is not None:
            self.config = self.directory / "shimport.conf"
            self.config.write_text(config)

    def start(self):
        command = [*self.prefix, self.program, "--socket", self.socket, *self.arguments]
        if self.config:
            command += ["--config", self.config]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(SHIMPORT_SOCKET=None),
            )
        wait_until(self.answers_or_ended, "shimportd to listen")
        assert self.process.poll() is None, self.log()
        return self

    def answers_or_ended(self):
        if self.process.poll() is not None:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.connect(str(self.socket))
            # Not what has been left of one before, in a child that it had just forked.
            return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == self.process.pid
        return False

    def stop(self):
        """Ends it as a service manager would, and returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        """It must have lived until now, and end well."""
        status = self.process.poll()
        assert status is None, f"shimportd ended with {status}:\n{self.log()}"
        assert self.stop() == 0, self.log()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def fds(self):
        """What its descriptors lead to."""
        links = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{self.pid}/fd/{name}"))
        return sorted(links)

    def children(self):
        return pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def settled_fds(self):
        """Its descriptors once nothing is under way: no peer about to be closed, no builder."""
        last = None
        while last != (last := self.fds()):
            time.sleep(0.3)
        return last

    def assert_fds(self, expected, seconds=10):
        """Waits for the descriptors to be what they were before, and shows the difference otherwise."""
        deadline = time.monotonic() + seconds
        while self.fds() != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.fds() == expected

    def env(self, **changes):
        """That of a process that speaks to this daemon, and waits for it on a busy machine, too. Who names another socket
        waits as long as processes do by themselves."""
        if "SHIMPORT_SOCKET" not in changes:
            changes = {"SHIMPORT_SOCKET": self.socket, "SHIMPORT_BUDGET_MS": BUDGET_MS, **changes}
        return environment(**changes)

    def ctl(self, *arguments, **options):
        return run([SHIMPORTCTL, "--socket", self.socket, *arguments], **options)

    def status(self):
        return json.loads(self.ctl("status", "--json", check=True).stdout)

    def warm(self, *pythons, paths=()):
        arguments = [part for python in pythons for part in ("--python", python)]
        arguments += [part for path in paths for part in ("--path", path)]
        return self.ctl("warm", *arguments, check=True, timeout=10 * PATIENCE)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.socket))
        return connection


def level_site(site, interpreter):
    """Gives a site-packages a .pth file of somebody else's. From 3.13 on, site imports a codec to read the first. A debug
    build imports encodings.ascii when it loads its first extension (get_encoded_name of Python/importdl.c), which with
    shimport is shimport's."""
    (site / "other.pth").write_text("import encodings.ascii\n" if interpreter.debug else "# nothing\n")


@dataclass
class Pair:
    """Two virtual environments of one interpreter: `shim` has shimport enabled, `stock` never had."""

    interpreter: Interpreter
    daemon: Daemon
    directory: pathlib.Path
    system_site: bool = False  # whether the interpreter's own site-packages are seen
    stock: pathlib.Path = field(init=False)
    shim: pathlib.Path = field(init=False)

    def __post_init__(self):
        self.stock = self._make("a")
        self.shim = self._make("b")
        self.daemon.ctl("enable", "--python", self.shim, check=True)

    def _make(self, name):
        # The names are of one length and the prompts equal, so that nothing but shimport tells them apart.
        command = [self.interpreter.executable, "-m", "venv", "--without-pip", "--prompt", "pair"]
        if self.system_site:
            command.append("--system-site-packages")
        run([*command, self.directory / name], check=True)
        return self.directory / name / "bin" / "python3"

    def warm(self):
        self.daemon.warm(self.shim)
        return self

    @staticmethod
    def site(python):
        """The site-packages of one of the two environments."""
        return next(python.parent.parent.glob("lib/python3*/site-packages"))

    def level(self):
        """What shimport's files make site import for anybody's: see level_site()."""
        level_site(self.site(self.stock), self.interpreter)
        return self

    def run_stock(self, *arguments, env=None, **options):
        return run([self.stock, *arguments], env=env or self.daemon.env(), **options)

    def run_shim(self, *arguments, env=None, **options):
        return run([self.shim, *arguments], env=env or self.daemon.env(), **options)

    def same(self, *arguments, **options):
        """Runs both, at once, and asserts that no difference shows; returns what stock gave."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = [pool.submit(run, *arguments, **options) for run in (self.run_stock, self.run_shim)]
            stock, shim = (future.result() for future in running)
        assert_same(self.neutral(shown(shim)), self.neutral(shown(stock)))
        return stock

    def neutral(self, text):
        """What differs between any two processes, or says nothing but which loader it is, made equal."""
        for name in "ab":
            text = text.replace(str(self.directory / name), "VENV")
        text = re.sub(r"\b0x[0-9a-f]{6,}", "0x", text)
        text = re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp", text)
        return text.replace("_shimport.SourceFileLoader", "_frozen_importlib_external.SourceFileLoader")

    def status(self, *flags, code="", env=None):
        """What shimport.status() gives in a process of its own, after the code was run."""
        script = code + "\nimport json, _shimport\nprint(json.dumps(_shimport.status(), default=repr))"
        result = self.run_shim(*flags, "-c", script, env=env, check=True)
        return json.loads(result.stdout.splitlines()[-1])


def stdlib_script(interpreter, everything=False):
    """The path of the script that imports the interpreter's standard library; made once."""
    stamp = os.stat(interpreter.executable)
    name = f"{interpreter}-{stamp.st_ino:x}-{int(stamp.st_mtime):x}{'-all' if everything else ''}.py"
    path = BUILD / "stdlib" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        generator = ROOT / "tests" / "bench" / "stdlib_script.py"
        arguments = ["--all"] if everything else []
        # A user's own sitecustomize or .pth files are no part of the standard library.
        result = run([interpreter.executable, "-I", "-S", generator, *arguments], check=True, timeout=600)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(result.stdout)
        temporary.rename(path)
    return path


def stdlib_names(interpreter, everything=False):
    lines = stdlib_script(interpreter, everything).read_text().splitlines()
    return [line.split()[1] for line in lines if ";" not in line]


def user_may_run(interpreter, uid):
    """Whether another user can run the interpreter, and that very one: not where it lives in a private home."""
    if os.geteuid() != 0:
        return False
    ask = [interpreter.executable, "-c", "import json; print(json.__file__)"]
    theirs = run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *ask])
    return theirs.returncode == 0 and theirs.stdout == run(ask).stdout


def alive(pid):
    """Whether the process is there, and no zombie that nobody has waited for."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wheel_module(version):
    """The module that only this version of `raced` has."""
    return "only" + version.replace(".", "")


def make_wheel(directory, version):
    """A wheel by hand: nothing is built, nothing is fetched."""
    path = directory / f"raced-{version}-py3-none-any.whl"
    info = f"raced-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("raced/__init__.py", f"value = '{version}'\n")
        wheel.writestr(f"raced/{wheel_module(version)}.py", f"value = 'only {version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: raced\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


if __name__ == "__main__":
    sys.exit("a library of the tests, see tests/run.py")
