# SPDX-License-Identifier: MIT
"""What a builder reads: files that stay what they are meanwhile, or are left out with a reason."""

import os
import time

# What is validated by stat and changed so short a while ago might change again without looking different: time stamps
# of some file systems are that coarse.
RACY_NS = 2 * 10**9
RACY = "it changed a moment ago, and is not watched"


class LeftOut(Exception):
    """Why a module, or a file, must come from stock."""


def reason_of(error):
    return error.strerror if isinstance(error, OSError) else str(error)


def is_utf8(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def fresh_since():
    """What was modified after that is too young to be validated by stat."""
    return time.time_ns() - RACY_NS


class Source:
    """A file that is read at most once, and only if need be."""

    def __init__(self, fd, status):
        self.fd = fd
        self.status = status
        self.data = None

    def read(self):
        if self.data is None:
            with open(os.dup(self.fd), "rb") as file:
                self.data = file.read()
        return self.data

    @staticmethod
    def look(status):
        return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev & 0xFFFFFFFF  # see image_dev()

    def check_unchanged(self):
        if self.look(self.status) != self.look(os.fstat(self.fd)):
            raise LeftOut("it changed while it was read")
