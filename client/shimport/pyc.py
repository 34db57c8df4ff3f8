# SPDX-License-Identifier: MIT
"""The marshalled code of a source as SourceFileLoader.get_code() has it (importlib/_bootstrap_external.py): that of its
pyc (PEP 552), if it is valid and to be trusted, or compiled."""

import importlib.machinery
import importlib.util
import marshal
import os
import stat
import types
import warnings

from shimport.reading import LeftOut

# "__pycache__/NAME.cpython-311.opt-1.pyc"
CACHE, _, CACHED_SUFFIX = importlib.util.cache_from_source("NAME.py").partition("/")
CACHED_SUFFIX = CACHED_SUFFIX.removeprefix("NAME")

HEADER_SIZE = 16
CHECKED, HASHED = 0b10, 0b01  # flags of the header


def path_of(file):
    """importlib.util.cache_from_source(), of which only the end of the name is always the same."""
    head, _, tail = file.rpartition("/")
    return f"{head}/{CACHE}/{tail[:-3]}{CACHED_SUFFIX}" if head else f"{CACHE}/{tail[:-3]}{CACHED_SUFFIX}"


def cached(fd, path, source, not_to_write):
    """What a pyc holds, or None if stock would compile, or would believe who is not to be trusted. Takes over its
    descriptor. Unmarshalling is not safe for hostile bytes: only what root or this user wrote, and nobody else can, by
    the bits of its mode that are not to be set. Raises LeftOut where stock takes what may not be shared."""
    with open(fd, "rb") as pyc:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        trusted = status.st_uid in (0, os.geteuid()) and not status.st_mode & not_to_write
        data = pyc.read() if trusted else pyc.read(HEADER_SIZE)
    if data[:4] != importlib.util.MAGIC_NUMBER or len(data) < HEADER_SIZE:
        return None
    flags = int.from_bytes(data[4:8], "little")
    if flags & ~(CHECKED | HASHED):
        return None
    if flags == HASHED:  # it may be written anew, and nobody watches it
        raise LeftOut("its pyc is never checked against it")
    if not trusted or not is_of(data, flags, source):
        return None
    code = unmarshalled(data)
    if source.status.st_ctime_ns >= status.st_ctime_ns:
        check_same(code, path, source)
    return data[HEADER_SIZE:]


def is_of(data, flags, source):
    """Whether the header is that of a pyc of the source."""
    if flags & HASHED:
        return data[8:16] == importlib.util.source_hash(source.read())
    mtime, size = (int.from_bytes(data[at : at + 4], "little") for at in (8, 12))
    return mtime == int(source.status.st_mtime) & 0xFFFFFFFF and size == source.status.st_size & 0xFFFFFFFF


def unmarshalled(data):
    try:
        code = marshal.loads(memoryview(data)[HEADER_SIZE:])
    except Exception as error:
        raise LeftOut(f"its pyc does not load: {error}") from None
    if not isinstance(code, types.CodeType):
        raise LeftOut("its pyc holds no code")
    return code


def check_same(code, path, source):
    """Raises LeftOut unless a pyc that is older than its source, but for mtime and size, holds what the source says:
    stock would take it, but only for as long as it is there."""
    if marshal.loads(compiled(path, source)) != code:
        raise LeftOut("its pyc is of another source of the same size and time")


def compiled(path, source):
    """The code of a source. Raises LeftOut if it does not compile, or not without a word."""
    data = source.read()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            code = importlib.machinery.SourceFileLoader("<builder>", path).source_to_code(data, path)
        except MemoryError:
            raise
        except Exception as error:
            raise LeftOut(f"it does not compile: {type(error).__name__}: {error}".split("\n")[0]) from None
    if warned:
        raise LeftOut(f"compiling it warns: {warned[0].message}".split("\n")[0])
    return marshal.dumps(code)
