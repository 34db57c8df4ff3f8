# SPDX-License-Identifier: MIT
"""
A builder that was taken over: what runs in place of client/shimport/builder.py, in the confinement of shimport-builder,
and does what the name of its root says. A root of another name is built as ever.

    make(directory, ...)        a client directory with such a builder, for ClientPath=
"""

import harness

TEXT = """
import array, ctypes, fcntl, hashlib, mmap, os, runpy, signal, socket, struct, sys, threading, time, warnings
sys.path.insert(0, {tests!r})
import wire

REAL, HERE, VICTIM = {real!r}, {here!r}, {victim}
SEALS = 0xF
channel = socket.socket(fileno=3)
job = wire.fields(wire.fields(channel.recv(wire.PACKET_SIZE_MAX, socket.MSG_PEEK))[1][0])
root = os.fsdecode(job[1][0])
mode = os.path.basename(root)
fds = []


def take():
    global fds
    _, fds, _, _ = socket.recv_fds(channel, wire.PACKET_SIZE_MAX, 253)


def for_ever():
    while True:
        yield


def say(packet, *with_fds):
    socket.send_fds(channel, [packet], list(with_fds))


SCAN, PROGRESS, RESULT = 1, 2, 3


def scan(path):
    return wire.field(SCAN, wire.field(1, path))


def result(error=b""):
    return wire.field(RESULT, wire.field(2, error))


def hang():
    time.sleep(1000)


def hand_back(fd):
    say(result(), fd)
    hang()


def image(at=0, put=b"", size=None, seals=SEALS):
    '''What another root's image is, with something else at one place.'''
    data = bytearray(open(HERE + "/image", "rb").read())
    data[at : at + len(put)] = put
    os.pwrite(4, data[:size], 0)
    if seals:
        fcntl.fcntl(4, fcntl.F_ADD_SEALS, seals)
    hand_back(4)


# ---- packets


def floods_with_progress():
    packet = wire.field(PROGRESS, wire.field(1, 1) + wire.field(2, 2))
    for _ in for_ever():
        channel.send(packet)


def floods_with_long_scans():
    paths = b"".join(wire.field(1, "a" * 4000) for _ in range(30))
    for _ in for_ever():
        say(wire.field(SCAN, paths), *[fds[0]] * 30)
        channel.recv(1000)


def floods_with_scans():
    for _ in for_ever():
        say(wire.field(SCAN, wire.field(1, b"a") * 200), *[fds[0]] * 200)
        channel.recv(1000)


def does_not_listen():
    for _ in for_ever():
        say(scan(b""), fds[0])


def sends_too_much():
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    say(b"\\0" * (wire.PACKET_SIZE_MAX + 1))
    hang()


def sends_rubbish():
    say(b"\\xff" * 100)
    hang()


def sends_a_job():
    say(wire.field(9, b"job"))
    hang()


def scans_nothing():
    say(scan(b"a"))
    hang()


def scans_no_path():
    say(scan(b"a\\0b"), fds[0])
    hang()


def ends_without_image():
    say(result())
    hang()


def ends_with_two():
    say(result(), fds[0], fds[0])
    hang()


def hangs_up():
    os.close(channel.detach())
    hang()


def says_nothing():
    hang()


def says_no_and_stays():
    say(result(b"no, and I stay"))
    hang()


def floods_the_log():
    for _ in for_ever():
        os.write(2, b"x" * 4000 + b"\\n")


# ---- images


def is_not_sealed():
    image(seals=0)


def is_half_sealed():
    image(seals=SEALS & ~8)  # F_SEAL_WRITE


def is_a_file():
    hand_back(os.open("/etc/passwd", os.O_RDONLY))


def is_the_root():
    hand_back(fds[0])


def is_short():
    image(size=100)


def is_cut():
    image(size=400)


def is_of_another_root():
    image()


def is_of_another_user():
    hand_back(fds[3])


def is_huge():
    os.ftruncate(4, 2 << 30)
    status = os.fstat(fds[0])
    image(16, struct.pack("<QQQQ", 2 << 30, 1, status.st_dev, status.st_ino))


# ---- what is forbidden


def becomes_another():
    os.execv("/bin/sh", ["sh", "-c", "echo >" + HERE + "/written; kill -9 " + str(VICTIM) + "; sleep 0; exit 0"])


libc = ctypes.CDLL(None, use_errno=True)
EPERM, ENOSYS = 1, 38


def refused(name, *arguments):
    ctypes.set_errno(0)
    returned = getattr(libc, name)(*arguments)
    return returned == -1 and ctypes.get_errno() == EPERM


def tries_all():
    text = b"/tmp/x"
    number = ctypes.c_ulong(0)
    tried = {{
        "socket": refused("socket", 2, 1, 0), "unix": refused("socket", 1, 1, 0), "socketpair": refused("socketpair", 1, 1, 0, 0),
        "connect": refused("connect", 3, 0, 0), "listen": refused("listen", 3, 1),
        "write": refused("open", b"/dev/null", os.O_WRONLY), "rdwr": refused("open", b"/proc/self/mem", os.O_RDWR),
        "create": refused("open", text, os.O_CREAT, 0o600), "tmpfile": refused("open", b"/tmp", os.O_TMPFILE | os.O_RDWR, 0o600),
        "unlink": refused("unlink", text), "rename": refused("rename", text, text), "mkdir": refused("mkdir", text, 0o700),
        "chmod": refused("chmod", text, 0o777), "truncate": refused("truncate", text, 0), "link": refused("link", text, text),
        "fork": refused("fork"), "vfork": refused("syscall", 58), "clone": refused("syscall", 56, 17, 0, 0, 0, 0),
        "kill": refused("kill", VICTIM, 0), "kill all": refused("kill", -1, 0), "tgkill": refused("syscall", 234, VICTIM, VICTIM, 0),
        "sigqueue": refused("sigqueue", VICTIM, 0, 0), "pidfd": refused("syscall", 434, VICTIM, 0),
        "setown": refused("fcntl", 3, 8, VICTIM), "setown_ex": refused("fcntl", 3, 15, ctypes.byref(number)),
        "ptrace": refused("ptrace", 16, VICTIM, 0, 0), "traceme": refused("ptrace", 0, 0, 0, 0),
        "readv": refused("process_vm_readv", VICTIM, 0, 0, 0, 0, 0), "kcmp": refused("syscall", 312, VICTIM, VICTIM, 0, 0, 0),
        "prlimit": refused("prlimit", VICTIM, 0, 0, 0), "setpriority": refused("setpriority", 0, VICTIM, 19),
        "affinity": refused("sched_setaffinity", VICTIM, 8, ctypes.byref(number)),
        "scheduler": refused("sched_setscheduler", VICTIM, 5, ctypes.byref(number)), "ioprio": refused("syscall", 251, 1, VICTIM, 0),
        "migrate": refused("syscall", 256, VICTIM, 8, ctypes.byref(number), ctypes.byref(number)),
        "sti": refused("ioctl", 3, 0x5412, text), "owner": refused("ioctl", 3, 0x8901, ctypes.byref(number)),
        "mount": refused("mount", b"none", b"/tmp", b"tmpfs", 0, 0), "umount": refused("umount2", b"/tmp", 0),
        "unshare": refused("unshare", 0x10000000), "setns": refused("setns", fds[0], 0), "chroot": refused("chroot", b"/tmp"),
        "memfd": refused("memfd_create", b"x", 0), "shm": refused("shmget", 0, 4096, 0o1600),
        "queue": refused("msgget", 0, 0o1600), "semaphores": refused("semget", 0, 1, 0o1600),
        "bpf": refused("syscall", 321, 0, 0, 0), "uring": refused("syscall", 425, 1, 0), "keys": refused("syscall", 250, 0, 0, 0),
        "modules": refused("syscall", 175, 0, 0, 0), "reboot": refused("syscall", 169, 0, 0, 0, 0),
    }}
    allowed = [name for name, was in tried.items() if not was]
    sys.exit("allowed: " + ", ".join(allowed) if allowed else f"all of {{len(tried)}} refused")


def eats_address_space():
    try:
        mmap.mmap(-1, 9 << 30)
    except OSError as error:
        print(error, file=sys.stderr)
    bytearray(9 << 30)


def eats_file():
    os.ftruncate(4, 5 << 30)


def eats_time():
    for _ in for_ever():
        pass


def eats_time_at_once():
    for _ in range(4):
        threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 1 << 30), daemon=True).start()
    hang()


def has_file_of_the_daemons():
    '''The names of what processes have asked for are the last descriptor of four.'''
    _, (control, *_), _, _ = channel.recvmsg(wire.PACKET_SIZE_MAX, socket.CMSG_LEN(253 * 4), socket.MSG_PEEK)
    peeked = array.array("i", control[2])
    for fd in peeked:
        os.close(fd)
    return len(peeked) == 4


if mode in globals() and (mode != "is_of_another_user" or has_file_of_the_daemons()):
    take()
    warnings.simplefilter("ignore")  # a debug build would have the last word: about the channel
    globals()[mode]()
else:
    channel.detach()
    runpy.run_path(REAL, run_name="__main__")
"""


def make(directory, victim=0):
    """Where `image` may be put for those modes that alter one. `victim` is who is to be harmed."""
    real = str(harness.BUILD / "python" / "shimport" / "builder.py")
    path = directory / "shimport" / "builder.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.format(tests=str(harness.ROOT / "tests"), real=real, here=str(directory), victim=victim))
    path.chmod(0o644)
    return directory
