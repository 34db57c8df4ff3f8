# SPDX-License-Identifier: MIT
"""
A daemon gone bad: it listens where root has listened, as under socket activation, and runs as the daemon's own
unprivileged user. It asks the real daemon for images as a process would, and hands out what its mode says:

    bad_daemon.py UID SOCKET REAL MODE [ARGUMENT]

    genuine     what the real daemon gives
    own         a copy in a memfd of its own, with the right header and another value in it
    unsealed    likewise, not sealed
    short       likewise, sealed, and shorter than a header
    root        the image of another root
    tag         the image of another interpreter: ARGUMENT is the tag
    older       the image from before it got SIGUSR1, with a state of its own that says nothing has changed
"""

import fcntl
import os
import signal
import socket
import struct
import sys

import wire

F_SEAL_FUTURE_WRITE = 0x10
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def make_memfd(data, seals):
    fd = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def read_all(fd):
    return os.pread(fd, os.fstat(fd).st_size, 0)


def state_for(image):
    """A state that vouches for the image: its mutex is held, by us, and no bit is set."""
    header = os.pread(image, 208, 0)
    (generation,) = struct.unpack_from("<Q", header, 24)
    directories, entries = struct.unpack_from("<II", header, 56)
    words = (directories + 31) // 32 + (entries + 31) // 32
    size = (96 + 4 * words + 7) // 8 * 8
    mutex = struct.pack("<I36x", os.getpid())
    data = b"SHIMSTAT" + struct.pack("<IIQQIIII", 2, 96, size, generation, directories, entries, 0, 0) + mutex
    data += bytes(size - len(data))
    return make_memfd(data, SEALS | F_SEAL_FUTURE_WRITE)


def ask_real(real, request, roots):
    """What the real daemon gives: (reply, [image, state, ...])."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(real)
        socket.send_fds(connection, [request], roots)
        reply, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
    return reply, fds


class Forger:
    def __init__(self, real, mode, argument):
        self.real, self.mode, self.argument = real, mode, argument
        self.kept = {}

    def forge(self, request, roots):
        if self.mode == "tag":
            request = request.replace(wire.fields(self.interpreter(request))[1][0], self.argument.encode())
        reply, fds = ask_real(self.real, request, roots)
        images, states = fds[0::2], fds[1::2]
        if self.mode == "root":
            fds = [fd for pair in zip(images[1:] + images[:1], states[1:] + states[:1]) for fd in pair]
        elif self.mode == "older":
            for at, image in enumerate(images):
                where = os.pread(image, 16, 32)
                image = self.kept.setdefault(where, image)
                fds[2 * at : 2 * at + 2] = [image, state_for(image)]
        elif self.mode not in ("genuine", "tag"):
            for at, image in enumerate(images):
                data = read_all(image).replace(b"from disk", b"forged!!!")
                if self.mode == "short":
                    data = data[:100]
                fds[2 * at] = make_memfd(data, SEALS | fcntl.F_SEAL_WRITE if self.mode != "unsealed" else 0)
        return reply, fds

    @staticmethod
    def interpreter(request):
        return wire.fields(wire.fields(request)[wire.ATTACH][0])[1][0]


def main():
    uid, path, real, mode, *argument = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen()
    os.setgroups([])
    os.setresgid(int(uid), int(uid), int(uid))
    os.setresuid(int(uid), int(uid), int(uid))
    forger = Forger(real, mode, argument[0] if argument else "")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            request, roots, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
            if not request or wire.ATTACH not in wire.fields(request):
                continue
            reply, fds = forger.forge(request, roots)
            socket.send_fds(connection, [reply], fds)


if __name__ == "__main__":
    main()
