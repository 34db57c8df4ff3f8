# SPDX-License-Identifier: MIT
"""proto/THREATS.md, tried: a daemon gone bad, and the ways of one tenant to another. Users are real, so it takes root."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness
import wire

DAEMON, ALICE, BOB = 61001, 61002, 61003

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")


def as_user(uid, *command, **options):
    return harness.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command], **options)


def write(path, text, owner=0, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, owner, owner)
    path.chmod(mode)
    past = time.time() - 3600
    os.utime(path, (past, past))
    return path


@pytest.fixture(scope="module")
def place():
    with harness.public_directory() as path:
        yield path


@pytest.fixture(scope="module")
def interpreter():
    for found in harness.interpreters():
        if harness.user_may_run(found, ALICE) and harness.user_may_run(found, BOB):
            return found
    pytest.skip("other users may run none of the interpreters")


@pytest.fixture(scope="module")
def real(place):
    with harness.Daemon(place / "real") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def pair(interpreter, real, place):
    return harness.Pair(interpreter, real, place / "pair").warm()


def run_as(uid, pair, code, path, socket_path, **more):
    env = harness.environment(SHIMPORT_SOCKET=socket_path, SHIMPORT_DEBUG="1", SHIMPORT_BUDGET_MS="3000", PYTHONPATH=path, **more)
    return as_user(uid, pair.shim, "-B", "-c", code, env=env, cwd="/")


def images_for(daemon, uid, described, paths):
    """The bytes of every image that a user is given for the paths it can open: of a process of its own."""
    script = f"""
import os, sys
sys.path.insert(0, {str(harness.ROOT / "tests")!r})
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
import socket, wire
paths = []
for path in {[str(path) for path in paths]!r}:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        paths.append(path)
    except OSError:
        pass
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({str(daemon.socket)!r})
for state, reason, image in wire.ask_attach(connection, {described!r}, paths) if paths else []:
    if image is not None:
        sys.stdout.buffer.write(os.pread(image, os.fstat(image).st_size, 0))
"""
    return subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout


# ---- a daemon gone bad ----------------------------------------------------------------------------------------

REFUSED = {
    "own": "its owner is neither root, nor this user, nor the directory's owner",
    "unsealed": "it is not sealed",
    "short": "it is too small",
    "root": "it is of another directory",
    "tag": "it is of another interpreter",
}


@contextlib.contextmanager
def bad_daemon(real, path, mode, argument=""):
    command = [sys.executable, harness.ROOT / "tests" / "bad_daemon.py", str(DAEMON), path, real.socket, mode, argument]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def forged_site(place, pair, real):
    site = place / "site"
    write(site / "valued.py", "value = 'from disk'\n")
    (place / "more").mkdir()
    real.warm(pair.shim, paths=[site, place / "more"])
    return site


CODE = "import valued; print(valued.value)"


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "tenant"])
@pytest.mark.parametrize("mode", REFUSED)
def test_what_a_bad_daemon_forges_is_refused(pair, real, forged_site, tmp_path_factory, place, mode, uid):
    path = place / f"bad-{mode}-{uid}"
    argument = ""
    if mode == "tag":
        argument = pair.run_shim("-O", "-c", "import _shimport; print(_shimport.tag()[0])", check=True).stdout.strip()
        described = json.loads(harness.run([pair.shim, "-O", harness.BUILD / "python" / "shimport" / "describe.py"]).stdout)
        with real.connect() as connection:
            harness.wait_until(
                lambda: wire.ask_attach(connection, described, [str(forged_site)])[0][0] == wire.SERVED, "the other image"
            )
    with bad_daemon(real, path, mode, argument):
        result = run_as(uid, pair, CODE, forged_site, path)
    assert result.stdout == "from disk\n"
    line = next(line for line in result.stderr.splitlines() if f"{forged_site}:" in line)
    assert "stock" in line and REFUSED[mode] in line


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "tenant"])
def test_what_a_bad_daemon_passes_on_is_taken_and_so_is_an_older_one(pair, real, place, uid):
    site = place / f"older-{uid}-site"
    write(site / "valued.py", "value = 'from disk'\n")
    real.warm(pair.shim, paths=[site])
    for mode in ("genuine", "older"):
        path = place / f"{mode}-{uid}"
        with bad_daemon(real, path, mode):
            result = run_as(uid, pair, CODE, site, path)
            assert f"{site}: served" in result.stderr and result.stdout == "from disk\n"
            if mode == "older":
                write(site / "valued.py", "value = 'changed!!'\n")
                real.warm(pair.shim, paths=[site])
                result = run_as(uid, pair, CODE, site, path)
                assert f"{site}: served" in result.stderr and result.stdout == "from disk\n"


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "tenant"])
def test_a_socket_that_another_tenant_listens_on_is_not_spoken_to(pair, forged_site, place, uid):
    directory = place / f"fake-{uid}"
    directory.mkdir()
    os.chown(directory, BOB, BOB)
    script = (
        f"import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind({str(directory / 'socket')!r});"
        f" import os; os.chmod({str(directory / 'socket')!r}, 0o666); s.listen(); print('ready', flush=True)\n"
        "c = s.accept()[0]; print(socket.recv_fds(c, 100000, 253)[:2], flush=True)"
    )
    fake = subprocess.Popen(
        ["setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups", sys.executable, "-c", script],
        stdout=subprocess.PIPE, text=True,
    )
    assert fake.stdout.readline() == "ready\n"
    result = run_as(uid, pair, CODE, forged_site, directory / "socket")
    assert result.stdout == "from disk\n"
    assert "Operation not permitted" in result.stderr
    assert fake.stdout.readline() == "(b'', [])\n"  # it hung up without a word
    fake.wait()


# ---- what may not be a root -----------------------------------------------------------------------------------


def odd_roots(place):
    read, _ = os.pipe()
    os.mkfifo(place / "fifo")
    yield "a FIFO", read, "not a directory"
    yield "a FIFO with a name", os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK), "not a directory"
    yield "a socket", socket.socketpair()[0].detach(), "not a directory"
    yield "a memfd", os.memfd_create("x"), "not a directory"
    yield "a file", os.open("/etc/passwd", os.O_RDONLY), "not a directory"
    yield "a device", os.open("/dev/null", os.O_RDONLY), "not a directory"
    yield "O_PATH", os.open(place, os.O_PATH | os.O_DIRECTORY), "not opened for reading"
    yield "procfs", os.open("/proc/1", os.O_RDONLY), "a file system of the kernel's own"
    yield "sysfs", os.open("/sys", os.O_RDONLY), "a file system of the kernel's own"


def test_what_is_no_directory_of_files_is_no_root(interpreter, real, place):
    described = interpreter.describe()
    for name, fd, reason in odd_roots(place):
        with real.connect() as connection:
            reply, fds = wire.ask(connection, wire.attach(described, ["/somewhere"]), [fd])
        os.close(fd)
        answer = wire.fields(wire.fields(reply[1][0])[1][0])
        assert (answer[1][0], fds) == (wire.REFUSED, []), name
        assert reason in answer[2][0].decode(), name


# ---- what is private ------------------------------------------------------------------------------------------


def test_what_is_private_is_in_nobody_elses_image(interpreter, pair, real, place):
    home = place / "alice"
    write(home / "shared" / "open.py", "value = 'anybody may read this'\n", ALICE)
    write(home / "shared" / "closed.py", "value = 'the secret of a module'\n", ALICE, 0o600)
    write(home / "shared" / "grouped.py", "value = 'the secret of a group'\n", ALICE, 0o640)
    write(home / "venv" / "lib" / "inner.py", "value = 'the secret of an environment'\n", ALICE)
    write(home / "private" / "way" / "lib" / "deep.py", "value = 'the secret of a way'\n", ALICE)
    for path in (home / "shared", home, home / "venv" / "lib", home / "private" / "way" / "lib", home / "private" / "way"):
        os.chown(path, ALICE, ALICE)
    for path in (home / "venv", home / "private"):
        os.chown(path, ALICE, ALICE)
        path.chmod(0o700)
    roots = [home / "shared", home / "venv" / "lib", home / "venv", home / "private" / "way" / "lib", home / "private"]
    real.warm(pair.shim, paths=roots)
    described = interpreter.describe()
    theirs = images_for(real, ALICE, described, roots)
    assert b"anybody may read this" in theirs and b"the secret of a way" in theirs
    assert b"the secret of a module" not in theirs  # shared with who can open the root
    bobs = images_for(real, BOB, described, roots)
    assert b"anybody may read this" in bobs
    assert b"the secret" not in bobs
    told = as_user(BOB, harness.SHIMPORTCTL, "--socket", real.socket, "status", check=True).stdout
    assert str(home / "shared") in told
    assert "private" not in told and "venv/lib" not in told
    assert str(home / "venv" / "lib") in real.ctl("status").stdout


# ---- bytes of one's own choice --------------------------------------------------------------------------------


def forge_pyc(interpreter, source, value, path):
    """A pyc that stock would take for the source's."""
    code = (
        "import importlib._bootstrap_external as b, sys, os; s = os.stat(sys.argv[1]);"
        "c = compile(sys.argv[2], sys.argv[1], 'exec');"
        "open(sys.argv[3], 'wb').write(b._code_to_timestamp_pyc(c, int(s.st_mtime), s.st_size))"
    )
    harness.run([interpreter.executable, "-c", code, source, f"value = {value!r}", path], check=True)


@pytest.mark.parametrize("how", ["by another user", "in a file that anybody may write", "in a file that a group may write"])
def test_a_forged_pyc_is_not_served(interpreter, pair, real, place, how):
    site = place / how.replace(" ", "-")
    source = write(site / "victim.py", "value = 'from disk'\n")
    cache = site / "__pycache__"
    cache.mkdir()
    cache.chmod(0o1777)
    name = harness.run([interpreter.executable, "-c", "import importlib.util as u; print(u.cache_from_source('victim.py'))"])
    forged = site / name.stdout.strip()
    forge_pyc(interpreter, source, "forged", forged)
    os.chown(forged, ALICE if how == "by another user" else 0, ALICE)
    forged.chmod({"by another user": 0o644, "in a file that anybody may write": 0o666}.get(how, 0o664))
    assert harness.run([interpreter.executable, "-B", "-c", "import victim; print(victim.value)"],
                       env=harness.environment(PYTHONPATH=site)).stdout == "forged\n"  # so good a forgery it is
    real.warm(pair.shim, paths=[site])
    result = run_as(BOB, pair, "import victim; print(victim.value)", site, real.socket)
    assert result.stdout.startswith("from disk") and f"{site}: served" in result.stderr


class Build:
    """A builder of root's, run by hand: what it asks to be watched is told to the test before it is answered."""

    def __init__(self, root, interpreter, on_scan):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(harness.PATIENCE)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        described = interpreter.describe()
        job = wire.field(1, str(root)) + wire.field(2, 1) + wire.field(3, 1)
        job += wire.field(6, described["executable"]) + wire.field(7, described.get("options") or "") + wire.field(9, 100_000)
        socket.send_fds(ours, [wire.field(1, job)], [fd])
        os.close(fd)

        def start():
            os.dup2(theirs.fileno(), 3)

        command = [harness.BUILD / "bin" / "shimport-builder", "--child", "0", harness.BUILD / "python", "60"]
        process = subprocess.Popen([str(part) for part in command], preexec_fn=start, pass_fds=[3, theirs.fileno()])
        theirs.close()
        self.image = self.error = None
        while self.image is None and self.error is None:
            data, fds, _, _ = socket.recv_fds(ours, wire.PACKET_SIZE_MAX, 253)
            message = wire.fields(data)
            if 1 in message:
                paths = wire.fields(message[1][0]).get(1, [])
                on_scan([os.fsdecode(path) for path in paths])
                ours.send(wire.field(2, wire.field(1, b"\1" * len(paths))))
            elif 3 in message:
                self.error = wire.fields(message[3][0]).get(2, [b""])[0].decode()
                if fds:
                    self.image = os.pread(fds[0], os.fstat(fds[0]).st_size, 0)
            for fd in fds:
                os.close(fd)
        process.wait(harness.PATIENCE)


def tenants_package(place, name):
    """A root of root's in which a tenant owns one package, and a private directory that looks like what is in it."""
    site, private = place / name, place / f"{name}-private"
    for base, secret in ((site / "package" / "deep", "plain"), (private / "deep", "the secret of root")):
        write(base / "__init__.py", "")
        write(base / "module.py", f"value = {secret!r}\n")
    write(site / "package" / "__init__.py", "")
    write(site / "module.py", "value = 'of the root'\n")
    os.chown(site / "package", ALICE, ALICE)
    private.chmod(0o700)
    return site, private


def swap(site, private):
    """What the tenant does: a link to where it may not go itself, in the place of a directory."""
    (site / "package" / "deep").rename(site / "package" / "was")
    (site / "package" / "deep").symlink_to(private / "deep")


@pytest.mark.parametrize("when", ["package", "package/deep"])
def test_a_directory_that_is_swapped_for_a_link_during_the_build_leads_nowhere(interpreter, place, when):
    site, private = tenants_package(place, f"swap-{when.replace('/', '-')}")
    build = Build(site, interpreter, lambda paths: when in paths and swap(site, private))
    assert build.error == "" and b"of the root" in build.image
    assert b"the secret of root" not in build.image


def test_a_link_that_leads_elsewhere_by_the_time_it_is_followed(interpreter, place):
    """Root has linked to a tenant's directory, which every user may go to; the tenant makes it another link then."""
    site, private = tenants_package(place, "link")
    theirs = place / "link-theirs"
    theirs.mkdir()
    os.chown(theirs, ALICE, ALICE)
    write(theirs / "target.py", "value = 'plain'\n")
    (site / "linked.py").symlink_to(theirs / "target.py")

    def on_scan(paths):
        if "package" in paths:
            (theirs / "target.py").unlink()
            (theirs / "target.py").symlink_to(private / "deep" / "module.py")

    build = Build(site, interpreter, on_scan)
    assert build.error == "" and b"of the root" in build.image
    assert b"the secret of root" not in build.image


def test_renames_without_end_bring_nothing_private(interpreter, pair, real, place):
    site, private = tenants_package(place, "renames")
    stop = threading.Event()
    package = site / "package"
    (package / "link").symlink_to(private / "deep")

    def rename():
        libc = ctypes.CDLL(None)
        while not stop.is_set():
            libc.renameat2(-100, bytes(package / "deep"), -100, bytes(package / "link"), 2)  # RENAME_EXCHANGE

    racer = threading.Thread(target=rename)
    racer.start()
    try:
        for _ in range(8):
            build = Build(site, interpreter, lambda paths: None)
            assert b"the secret of root" not in (build.image or b"")
    finally:
        stop.set()
        racer.join()
