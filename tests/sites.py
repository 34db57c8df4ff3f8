# SPDX-License-Identifier: MIT
"""Roots that tests change while processes import from them."""

import json
import subprocess

import harness

RUNNER = """
import json, sys
for line in sys.stdin:
    space = {}
    try:
        exec(json.loads(line), space)
        answer = space.get("answer")
    except BaseException as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


class Running:
    """A process that goes on and runs what it is told: tell(code) gives what the code calls `answer`."""

    def __init__(self, executable, env):
        self.process = subprocess.Popen(
            [executable, "-B", "-c", RUNNER], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, code):
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def tell(self, code):
        self.ask(code)
        return self.answer()

    def value(self, name="module", before=""):
        return self.tell(f"{before}\nimport sys\nsys.modules.pop({name!r}, None)\nimport {name}\nanswer = {name}.value")

    def stale(self):
        return self.tell("import _shimport\nanswer = _shimport.status()['stale']")

    def root(self, path):
        """What the process says of one of its roots."""
        roots = self.tell("import _shimport\nanswer = _shimport.status()['roots']")
        return next(root for root in roots if root["path"] == str(path))

    def close(self):
        self.process.stdin.close()
        self.process.wait(harness.PATIENCE)
        self.process.stdout.close()


class Site:
    """A root of its own, a daemon of its own, and processes that import from it."""

    def __init__(self, daemon, pair, root):
        self.daemon, self.pair, self.root = daemon, pair, root
        self.env = daemon.env(PYTHONPATH=root, SHIMPORT_BUDGET_MS=5000)
        self.started = []
        root.mkdir(parents=True, exist_ok=True)

    def write(self, name, value):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"value = {value!r}\n")
        return path

    def warm(self):
        self.daemon.warm(self.pair.shim, paths=[self.root])

    def start(self):
        running = Running(self.pair.shim, self.env)
        self.started.append(running)
        return running

    def value(self, name="module"):
        code = f"import {name}; print({name}.value)"
        ours = self.pair.run_shim("-B", "-c", code, env=self.env)
        theirs = self.pair.run_stock("-B", "-c", code, env=self.env)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
        return ours.stdout.strip() or ours.stderr.strip().splitlines()[-1]

    def image(self):
        """What the daemon says of the root, or None."""
        status = json.loads(self.daemon.ctl("status", "--json", check=True).stdout)
        return next((image for image in status["images"] if image["root"] == str(self.root)), None)

    def settle(self):
        return harness.wait_until(
            lambda: (image := self.image()) and image["state"] == "served" and image, "the root to be served"
        )

    def served(self, code):
        """How many modules of the root a fresh process got from the image."""
        roots = self.pair.status("-B", code=code, env=self.env)["roots"]
        return sum(root["served"] for root in roots if root["path"] == str(self.root))
