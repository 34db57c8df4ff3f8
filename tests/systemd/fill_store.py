# SPDX-License-Identifier: MIT
"""Puts descriptors into the service manager's store that the daemon never had kept: a pipe, half an image, and an
image of another format with a state."""

import array
import fcntl
import os
import socket

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def memfd(data, seals):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def keep(name, *fds):
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(os.environ["NOTIFY_SOCKET"])
        connection.sendmsg([f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}".encode()], [rights])


image = b"SHIMPORT" + (12345).to_bytes(4, "little") + bytes(8180)
keep("stranger", os.pipe()[0], os.pipe()[1], os.open("/dev/null", os.O_RDONLY))
keep("image-98", memfd(image, SEALS))
keep("image-99", memfd(image, SEALS), memfd(b"SHIMSTAT" + bytes(4088), SEALS & ~fcntl.F_SEAL_WRITE))
# Until the manager has read them it must see who sent them.
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
    connection.connect(os.environ["NOTIFY_SOCKET"])
    read, write = os.pipe()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))
    connection.sendmsg([b"BARRIER=1"], [rights])
    os.close(write)
    os.read(read, 1)
