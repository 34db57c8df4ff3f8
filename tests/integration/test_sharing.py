# SPDX-License-Identifier: MIT
"""One image, many users: the same pages, shared and not copied, and each only what it could open itself."""

import os
import subprocess

import pytest

import harness

OTHERS = (65534, 1)  # nobody and daemon

# Reads every page of the images mapped, so that it is in memory for this process too; then, once all processes are
# there, prints these mappings as smaps has them, with the file's identity.
SHOW = """
import sys, ctypes, argparse, json, email.message, difflib
for line in open("/proc/self/maps"):
    if "/memfd:" in line:
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        ctypes.string_at(start, end - start)
sys.stdout.write("there\\n")
sys.stdout.flush()
sys.stdin.readline()
entry = None
for line in open("/proc/self/smaps"):
    words = line.split()
    if "-" in words[0] and not words[0].endswith(":"):
        entry = {"file": tuple(words[3:5]), "mode": words[1]} if "/memfd:" in line else None
        if entry is not None:
            entries = globals().setdefault("entries", [])
            entries.append(entry)
    elif entry is not None and words[-1] == "kB":
        entry[words[0].rstrip(":")] = int(words[1])
print(json.dumps(globals().get("entries", [])))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")


def test_two_users_map_the_same_pages(pair):
    if not all(harness.user_may_run(pair.interpreter, uid) for uid in OTHERS):
        pytest.skip("another user may not run the interpreter")
    import json

    running = []
    for uid in (0, *OTHERS):
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        running.append(
            subprocess.Popen(
                [*user, pair.shim, "-c", SHOW],
                env=pair.daemon.env(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        assert process.stdout.readline() == "there\n"
    mapped = []
    for process in running:  # one after the other: all are still there while the first looks
        process.stdin.write("\n")
        process.stdin.flush()
        mapped.append(json.loads(process.stdout.readline()))
    for process in running:
        process.stdin.close()
        assert process.wait(harness.PATIENCE) == 0
    files = [{tuple(entry["file"]) for entry in entries if entry.get("Rss")} for entries in mapped]
    assert files[0] and files[0] == files[1] == files[2]
    for entry in mapped[0]:
        assert "w" not in entry["mode"]
        assert entry["Private_Clean"] + entry["Private_Dirty"] + entry["Anonymous"] == 0
        assert entry["Shared_Clean"] + entry["Shared_Dirty"] == entry["Rss"] > 0


def test_images_belong_to_the_owner_of_their_root(one_pair):
    """As root, the daemon has each root built by whoever owns it."""
    with harness.public_directory() as directory:
        site = directory / "site"
        site.mkdir()
        (site / "owned.py").write_text("name = 1\n")
        for path in (site, site / "owned.py"):
            os.chown(path, 65534, 65534)
        one_pair.daemon.warm(one_pair.shim, paths=[site])
        images = {image["root"]: image for image in one_pair.daemon.status()["images"]}
        if not harness.user_may_run(one_pair.interpreter, 65534):
            pytest.skip("another user may not run the interpreter")
        assert images[str(site)]["owner"] == 65534
        assert images[one_pair.interpreter.stdlib()]["owner"] == 0
