# SPDX-License-Identifier: MIT
"""What processes report that they have compiled, and what comes of it."""

import os
import struct
import textwrap

import harness
import wire


class Lessons:
    """A directory of modules, and what the daemon learns from them: "patterns", or "snippets"."""

    def __init__(self, daemon, pair, directory, counter="patterns"):
        self.counter = counter
        self.daemon = daemon
        self.pair = pair
        self.directory = directory

    def write(self, name, source):
        path = self.directory / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        return path

    def env(self, *directories, **changes):
        path = os.pathsep.join(str(path) for path in directories or [self.directory])
        return self.daemon.env(PYTHONPATH=path, **changes)

    def warm(self, *directories):
        self.daemon.warm(self.pair.shim, paths=directories or [self.directory])

    def run(self, code, *flags, **options):
        return self.pair.run_shim(*flags, "-c", textwrap.dedent(code), env=self.env(), check=True, **options)

    def count(self, code, env=None):
        """How many programs came from images in a process that runs the code."""
        code = f"{textwrap.dedent(code)}\nimport _shimport\nprint(_shimport.status()['{self.counter}'])"
        result = self.pair.run_shim("-c", code, env=env or self.env(), check=True)
        return int(result.stdout.splitlines()[-1])

    def learn(self, code, at_least=1, env=None):
        """Have the code run until so many programs are there."""
        harness.wait_until(lambda: self.count(code, env) >= at_least, "the programs to be in an image")

    def images(self):
        """The bytes of the images of the directory, and of all roots of the interpreter."""
        described = self.pair.interpreter.describe()
        paths = [path for path in [str(self.directory), *described["path"]] if os.path.isdir(path)]
        with self.daemon.connect() as connection:
            answers = wire.ask_attach(connection, described, paths)
        found = []
        for _, _, fd in answers:
            if fd is not None:
                with open(fd, "rb") as file:
                    file.seek(0)  # the descriptor is one with those that others were sent
                    found.append(file.read())
        return found

    def pattern_texts(self, everywhere=False):
        """The texts of the patterns in the image of the directory, or in all of them, see ImagePattern."""
        images = self.images()
        return [text for image in (images if everywhere else images[:1]) for text in texts_of(image)]


def texts_of(image):
    patterns, size, _, _, data, _ = struct.unpack_from("<6Q", image, 208)
    found = []
    for at in range(patterns, patterns + size, 64):
        offset, _, _, length = struct.unpack_from("<3QI", image, at)
        found.append(image[data + offset : data + offset + length].decode("latin-1"))
    return found


def pattern(generation, text, width=1, flags=0, files=("known.py",)):
    body = wire.field(1, generation) + wire.field(2, text) + wire.field(3, width) + wire.field(4, flags)
    return wire.field(8, body + b"".join(wire.field(5, file) for file in files))


def report(daemon, patterns):
    with daemon.connect() as connection:
        connection.send(wire.request(wire.REPORT, b"".join(patterns)))


def generation_of(lesson):
    return next(image["generation"] for image in lesson.daemon.status()["images"] if image["root"] == str(lesson.directory))
