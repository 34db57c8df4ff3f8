# SPDX-License-Identifier: MIT
"""Ten thousand changes a second in one root: the others are served as ever, and nothing grows. `make flood` has it go on
for a minute, the tests for some seconds."""

import array
import ctypes
import fcntl
import os
import pathlib
import statistics
import subprocess
import sys
import termios
import time

import pytest

import harness
import wire

SECONDS = float(os.environ.get("SHIMPORT_FLOOD") or 5)
RATE = 10_000
GROWTH_MAX = 64 << 20  # bytes
DESCRIPTORS_GROWTH_MAX = 32  # two builders, a peer, images that are still mapped
BUDGET = 0.05  # seconds that a process waits for the daemon at most
FILES = 50

PIDFD_OPEN, PIDFD_GETFD = 434, 438

# Each change is complete, and another one to the kernel: equal events that follow one another are queued once.
FLOOD = f"""
import os, sys, time
root, seconds = sys.argv[1], float(sys.argv[2])
files = [os.open(f"{{root}}/busy{{n}}.py", os.O_WRONLY) for n in range({FILES})]
began, done = time.monotonic(), 0
elapsed = 0
while elapsed < seconds:
    elapsed = time.monotonic() - began
    while done < elapsed * {RATE} * 1.1:
        if done % 200:
            os.pwrite(files[done % {FILES}], b"value = %-12d\\n" % done, 0)
        elif done % 400:
            os.close(os.open(f"{{root}}/extra.py", os.O_WRONLY | os.O_CREAT))
        else:
            os.unlink(f"{{root}}/extra.py") if os.path.exists(f"{{root}}/extra.py") else None
        done += 1
    time.sleep(0.002)
for n, file in enumerate(files):
    os.pwrite(file, b"value = %-12d\\n" % (done + n), 0)
print(done + len(files), time.monotonic() - began)
"""


class Inotify:
    """The daemon's own queue of changes, looked at from outside."""

    def __init__(self, pid):
        libc = ctypes.CDLL(None, use_errno=True)
        number = next(
            int(name) for name in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{name}") == "anon_inode:inotify"
        )
        pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
        self.fd = libc.syscall(PIDFD_GETFD, pidfd, number, 0)
        os.close(pidfd)
        if self.fd < 0:
            pytest.skip(f"the daemon's descriptors may not be looked at: {os.strerror(ctypes.get_errno())}")

    def waiting(self):
        """Bytes that the daemon has not read."""
        size = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.FIONREAD, size)
        return size[0]


class Attaching:
    """Asks for one root as processes do, and takes the time."""

    def __init__(self, daemon, interpreter, root):
        self.daemon, self.root, self.taken = daemon, str(root), []
        self.packet = wire.attach(interpreter.describe(), [self.root])
        self.fds = wire.open_roots([self.root])

    def __call__(self):
        began = time.perf_counter()
        with self.daemon.connect() as connection:
            reply, fds = wire.ask(connection, self.packet, self.fds)
        self.taken.append(time.perf_counter() - began)
        for fd in fds:
            os.close(fd)
        assert len(fds) == 2, "an image, and its state"


def memory(pid):
    """Bytes that the daemon has for itself: what it maps of images is shared."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) << 10


def test_ten_thousand_changes_a_second_starve_nobody(site, one_pair, one_python, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "quiet.py").write_text("value = 'quiet'\n")
    for n in range(FILES):
        site.write(f"busy{n}.py", 0)
    site.warm()
    site.daemon.warm(one_pair.shim, paths=[other])
    attach = Attaching(site.daemon, one_python, other)
    inotify = Inotify(site.daemon.pid)
    generation = site.settle()["generation"]
    before = most = memory(site.daemon.pid)
    descriptors = len(site.daemon.fds())
    waiting, builders, open_most, processes = [], 0, 0, 0

    flood = subprocess.Popen([sys.executable, "-c", FLOOD, site.root, str(SECONDS)], stdout=subprocess.PIPE, text=True)
    env = dict(site.env, PYTHONPATH=str(other))
    while flood.poll() is None:
        waiting.append(inotify.waiting())
        attach()
        most = max(most, memory(site.daemon.pid))
        builders = max(builders, len(site.daemon.children()))
        open_most = max(open_most, len(site.daemon.fds()))
        if len(attach.taken) % 100 == 1:
            roots = one_pair.status("-B", code="import quiet", env=env)["roots"]
            assert [root["served"] for root in roots if root["path"] == str(other)] == [1]
            processes += 1
        time.sleep(0.005)
    changes, seconds = (float(word) for word in flood.stdout.read().split())
    assert changes >= RATE * seconds

    typical, slow = statistics.median(attach.taken), statistics.quantiles(attach.taken, n=100)[98]
    print(
        f"\n{changes:.0f} changes in {seconds:.1f} s; {len(attach.taken)} attaches, median {typical * 1e6:.0f} us, 99 % below"
        f" {slow * 1e3:.1f} ms, and {processes} processes; the daemon's memory {before >> 20} MiB, at most {most >> 20} MiB;"
        f" its queue at most {max(waiting)} bytes; at most {builders} builders at once; {descriptors} descriptors, at most {open_most}"
    )
    assert typical < BUDGET / 10 and slow < BUDGET
    assert most < before + GROWTH_MAX
    assert waiting[-1] < 1 << 20 and "ran over" not in site.daemon.log()
    assert builders <= os.cpu_count() and open_most < descriptors + DESCRIPTORS_GROWTH_MAX
    assert site.image()["generation"] > generation  # images are published all the same
    for n in range(4):
        assert site.value(f"busy{n}") == str(int(changes) - FILES + n)
    site.settle()
    assert site.served("; ".join(f"import busy{n}" for n in range(FILES))) == FILES
