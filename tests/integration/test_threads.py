# SPDX-License-Identifier: MIT
"""Threads import at once under the thread sanitizer, which the extension is built for and the interpreter runs with."""

import subprocess

import harness

THREADS = 8
CODE = """
import importlib, threading
import _frozen_importlib as bootstrap, _frozen_importlib_external as external
loader = external.ExtensionFileLoader('_shimport', {extension!r})
bootstrap._load(bootstrap.spec_from_loader('_shimport', loader)).activate()
NAMES = '''argparse asyncio configparser csv decimal email.message html.parser json logging.handlers unittest.mock
xml.etree.ElementTree zipfile'''.split()

def work(first):
    for at in range(len(NAMES)):
        importlib.import_module(NAMES[(first + at) % len(NAMES)])
        importlib.invalidate_caches()

threads = [threading.Thread(target=work, args=(first,)) for first in range({threads})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
import _shimport
assert _shimport.status()['served'] > len(NAMES), _shimport.status()
"""


def test_threads_that_import_at_once_race_for_nothing(one_python, daemon):
    daemon.warm(one_python.executable)
    extension = harness.BUILD / "thread" / "python" / f"_shimport.{one_python.soabi}.so"
    library = subprocess.run(["gcc", "-print-file-name=libtsan.so"], stdout=subprocess.PIPE, text=True, check=True)
    env = daemon.env(SHIMPORT_BUDGET_MS=5000, LD_PRELOAD=library.stdout.strip(), TSAN_OPTIONS="exitcode=66")
    code = CODE.format(extension=str(extension), threads=THREADS)
    # The sanitizer wants its memory where addresses are not random.
    ended = harness.run(["setarch", "-R", one_python.executable, "-I", "-c", code], env=env, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, ""), harness.shown(ended)
