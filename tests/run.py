# SPDX-License-Identifier: MIT
"""
Runs the tests and sums them up: the cmocka programs of build/tests, then pytest.

    tests/run.py --units --integration [-- PYTEST ARGUMENTS]
    tests/run.py --sum DIRECTORY...

Every run leaves JUnit files in build/test-results; --sum adds up what is in such directories. The last line is
always "N passed, N failed, N skipped", and the exit status says whether anything failed.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("SHIMPORT_BUILD", ROOT / "build"))
UNIT_SECONDS = 300


def write_result(path, suite, case, verdict, text):
    """A JUnit file of one case, for what ended without writing its own."""
    suites = xml.Element("testsuites")
    element = xml.SubElement(xml.SubElement(suites, "testsuite", name=suite), "testcase", name=case)
    xml.SubElement(element, verdict).text = text
    xml.ElementTree(suites).write(path)


def run_units(results):
    for program in sorted((BUILD / "tests").glob("test_*")):
        report = results / f"{program.name}.xml"
        # cmocka says on stderr where it goes on writing when the file cannot be made, and nothing otherwise.
        env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="xml", CMOCKA_XML_FILE=str(report))
        print(f"{program.name}: ", end="", flush=True)
        try:
            ended = subprocess.run(
                [program], env=env, timeout=UNIT_SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            text, code = ended.stdout.decode(errors="replace"), ended.returncode
        except subprocess.TimeoutExpired as error:
            text, code = (error.stdout or b"").decode(errors="replace"), "timeout"
        counts = count(read_cases([report])) if report.exists() else None
        if counts is None or code != 0 and counts[1] == 0:  # it crashed, or a sanitizer spoke up at the end
            report = results / f"{program.name}-ended.xml"
            write_result(report, program.name, "ends well", "failure", f"exit status {code}\n{text}")
            counts = (0, 1, 0)
        print(sentence(counts))
        if counts[1]:
            print(text)
            print(report.read_text())


def run_pytest(report, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider", f"--junitxml={report}"]
    code = subprocess.run([*command, *map(str, arguments)], cwd=ROOT).returncode
    if code not in (0, 1):
        write_result(report, "pytest", "runs", "failure", f"exit status {code}")


def run_integration(results, arguments):
    """As many tests at once as there are processors, each such worker with a daemon of its own, and all tests of an
    interpreter in one of them; but the machines that tests boot, and measure, one after the other."""
    if arguments:
        return run_pytest(results / "pytest.xml", *arguments)
    tests = ROOT / "tests"
    workers = len(os.sched_getaffinity(0))
    parallel = [tests / name for name in ("integration", "conformance", "fault")]
    run_pytest(results / "pytest.xml", "-n", workers, "--dist=loadgroup", *parallel)
    run_pytest(results / "systemd.xml", tests / "systemd")


def verdict(case):
    """Of a test case of a JUnit file: "passed", "failed" or "skipped"."""
    verdicts = {child.tag for child in case}
    if verdicts & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in verdicts else "passed"


def read_cases(files):
    """Every test case in the JUnit files."""
    return [case for file in files for case in xml.parse(file).iter("testcase")]


def count(cases):
    """Passed, failed, skipped."""
    verdicts = [verdict(case) for case in cases]
    return tuple(verdicts.count(each) for each in ("passed", "failed", "skipped"))


def failures(cases):
    """A line for each test case that failed: its name, and the beginning of what it said."""
    for case in cases:
        if verdict(case) == "failed":
            text = " ".join(child.get("message") or child.text or "" for child in case if child.tag in ("failure", "error"))
            said = " ".join(text.split())[:200]
            yield ": ".join(filter(None, ("FAILED", case.get("classname"), case.get("name"), said)))


def sentence(counts):
    return "{} passed, {} failed, {} skipped".format(*counts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", action="store_true")
    parser.add_argument("--integration", action="store_true")
    parser.add_argument("--sum", nargs="+", type=pathlib.Path, metavar="DIRECTORY")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest in place of tests/integration and tests/systemd")
    options = parser.parse_args()

    directories = options.sum
    if not directories:
        results = BUILD / "test-results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        if options.units:
            run_units(results)
        if options.integration:
            run_integration(results, options.pytest)
        directories = [results]
    cases = read_cases(file for directory in directories for file in sorted(directory.glob("*.xml")))
    counts = count(cases)
    for line in failures(cases):
        print(line)
    if sum(counts) == 0:
        print("no test was run")
    print(sentence(counts))
    return 0 if counts[1] == 0 and sum(counts) else 1


if __name__ == "__main__":
    sys.exit(main())
