# SPDX-License-Identifier: MIT
"""Asks root's builder service for an image, as the daemon would, but of a root and with an interpreter of one's own
choice; prints what it answers. The message is written by hand: this runs as a user who has nothing but Python."""

import array
import os
import socket
import sys


def field(number, value):
    """A field of a protobuf message: bytes, or a number."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


root, executable = sys.argv[1:]
job = field(1, root.encode()) + field(2, 1) + field(3, 1) + field(6, executable.encode())
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.settimeout(20)
connection.connect("/run/shimport/builder/0")
descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
connection.sendmsg([field(1, job)], [rights])
print(connection.recv(8192))
