# SPDX-License-Identifier: MIT
"""What is imported, and the ways of importing it that are measured against each other."""

import functools

import floor
import harness
import measure

APPLICATIONS = {
    "asyncio": "import asyncio",
    "pytest": "import pytest",
    "django": "import django.contrib.admin, django.contrib.auth, django.test",
    "numpy": "import numpy",
    "pandas": "import pandas",
    "sqlalchemy": "import sqlalchemy.orm",
    "sphinx": "import sphinx.application",
    "boto3": "import boto3.session",
}

# Ours, by what each sets in the environment: as it is without any configuration, with everything on, and with one
# switch off. A switch that is added comes here twice: with "everything" if it is not the default, and by itself.
OURS = {
    "shimport": {},
    "everything": {"SHIMPORT_GC": "freeze"},
    "gc stock": {"SHIMPORT_GC": "stock"},
    "no regex": {"SHIMPORT_REGEX": "off"},
    "no snippets": {"SHIMPORT_SNIPPETS": "off"},
    "no thaw": {"SHIMPORT_THAW": "0"},
}

# A process with nothing to import but what starts it, for which most of these make no difference.
LITTLE = ("shimport", "everything")


class Workloads:
    """The scripts of one interpreter, and how to run each on both sides."""

    def __init__(self, interpreter, daemon, directory):
        self.directory = directory
        self.interpreter = interpreter
        self.env = daemon.env(SHIMPORT_BUDGET_MS=None)
        self.pair = harness.Pair(interpreter, daemon, directory / "plain").warm()
        self.daemon = daemon

    @functools.cached_property
    def full(self):
        """The pair that sees the interpreter's own site-packages, made when something there is first measured."""
        return harness.Pair(self.interpreter, self.daemon, self.directory / "full", system_site=True).warm()

    def statements(self, chosen):
        """{name: statements} of those chosen that this interpreter can run."""
        found = {"pass": "pass", "stdlib": harness.stdlib_script(self.interpreter).read_text()} | APPLICATIONS
        found = {name: found[name] for name in chosen(*found)}
        for name in APPLICATIONS.keys() & found.keys():
            if self.full.run_stock("-c", found[name]).returncode != 0:
                del found[name]
        return found

    def learn(self, statements):
        """Has the daemon know what processes compile when they import: what two of them report is built by a warm."""
        for name, text in statements.items():
            command, env = self.variants(f"{name}-learn", text)["shimport"]
            for _ in range(2):
                harness.run(command, env=env, timeout=10 * harness.PATIENCE)
        for pair in (self.pair, self.full):
            pair.warm()

    def pair_of(self, name):
        """Applications are installed in the interpreter's own site-packages; all else needs no more than the stdlib."""
        return self.full if name in APPLICATIONS else self.pair

    def script(self, name, text):
        """In a directory of its own, the first in its sys.path."""
        path = self.directory / "scripts" / name / f"bench-{name}.py"  # no name that can be imported
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def variants(self, name, text, ours=("shimport",), pair=None, **environment):
        """{"stock", and those of ours: (command, environment)} that run a script."""
        path = self.script(name, text)
        pair = pair or self.pair_of(name)
        self.daemon.warm(pair.shim, paths=[path.parent])
        env = dict(self.env, **environment)
        found = {"stock": ([pair.stock, path], env)}
        return found | {variant: ([pair.shim, path], env | OURS[variant]) for variant in ours}

    def floor(self, name, statements, pair=None, **environment):
        """What is left when all code is in memory beforehand, see floor.py."""
        stock = (pair or self.pair_of(name)).stock
        env = dict(self.env, **environment)
        text = floor.prelude(stock, statements, env) + measure.TIMED.format(statements)
        return [stock, self.script(f"{name}-floor", text)], env

    def all_variants(self, name, statements):
        found = self.variants(name, measure.TIMED.format(statements), LITTLE if name == "pass" else OURS)
        if name != "pass":
            found["floor"] = self.floor(name, statements)
        return found
