# SPDX-License-Identifier: MIT
"""
Looks for inputs that do harm, so long for each target; tests/integration/test_corpus.py tries those that are known.

    tests/fuzz/fuzz.py --seconds 600 [TARGET]...

An input that does harm is left in build/fuzz/found/TARGET; once it is repaired it goes to tests/fuzz/found/TARGET, under
a name that says what was wrong.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SHIMPORT_BUILD", HERE.parent.parent / "build")).resolve()
TARGETS = ["config", "image", "kept", "packet", "thaw"]
# A process that thaws gives nothing back, see fuzz_thaw.c.
CHUNK_SECONDS = {"thaw": 30}
LONGEST = {"thaw": 8192, "config": 2048}
ENVIRONMENT = dict(
    os.environ, ASAN_OPTIONS="abort_on_error=1:handle_abort=1", UBSAN_OPTIONS="print_stacktrace=1", PYTHONDONTWRITEBYTECODE="1"
)


def make_corpus():
    corpus = BUILD / "corpus"
    subprocess.run([sys.executable, HERE / "make_corpus.py", corpus], check=True)
    return corpus


def seeds(corpus, target):
    return [path for path in (corpus / target, HERE / "found" / target) if path.is_dir()]


def fuzz_once(target, corpus, seconds):
    """Returns the exit status, how many inputs were tried, and libFuzzer's last word on what it has reached."""
    kept, found = (BUILD / "fuzz" / name / target for name in ("corpus", "found"))
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    command = [
        BUILD / "fuzz" / "fuzzers" / target, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000",
        f"-max_len={LONGEST.get(target, 16384)}", f"-artifact_prefix={found}/", "-print_final_stats=1", kept,
        *seeds(corpus, target),
    ]  # fmt: skip
    log = BUILD / "fuzz" / f"{target}.log"
    with open(log, "w") as output:
        status = subprocess.run(command, env=ENVIRONMENT, stdout=output, stderr=output).returncode
    text = log.read_text(errors="backslashreplace")
    tried = re.findall(r"number_of_executed_units: (\d+)", text)
    reached = re.findall(r"(cov: \d+ ft: \d+ corp: \d+)", text)
    return status, int(tried[-1]) if tried else 0, reached[-1] if reached else "nothing"


def fuzz(targets, seconds):
    corpus, failed = make_corpus(), []
    for target in targets:
        began, tried, status, reached = time.monotonic(), 0, 0, ""
        while status == 0 and (left := int(seconds - (time.monotonic() - began))) > 0:
            status, more, reached = fuzz_once(target, corpus, min(left, CHUNK_SECONDS.get(target, left)))
            tried += more
        print(f"{target}: {tried} inputs in {time.monotonic() - began:.0f} s, {reached}, exit status {status}", flush=True)
        if status:
            print((BUILD / "fuzz" / f"{target}.log").read_text(errors="backslashreplace")[-6000:])
            failed.append(target)
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=TARGETS)
    options = parser.parse_args()
    return 1 if fuzz(options.targets, options.seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
