# SPDX-License-Identifier: MIT
"""The benchmarks run, and say what they should; their figures are looked at by people."""

import json
import sys
import xml.etree.ElementTree as xml

import harness

BENCH = harness.ROOT / "tests" / "bench"


def run(script, one_python, tmp_path, **environment):
    results = tmp_path / "results.json"
    env = harness.environment(
        PAIRS=1, RESULTS=results, PYTHONS=one_python.executable, SHIMPORT_BUILD=harness.BUILD, **environment
    )
    harness.run([sys.executable, BENCH / script], env=env, check=True, timeout=600)
    return results


def test_the_chart_says_when_and_on_what_it_was_measured(one_python, tmp_path):
    results = run("bench.py", one_python, tmp_path, WORKLOADS="pass,empty")
    found = json.loads(results.read_text())
    workloads = found["interpreters"][0]["workloads"]
    assert {"stock", "shimport", "everything", "gc stock", "no thaw", "floor"} < set(workloads["empty"]["hot"])
    chart = tmp_path / "chart.svg"
    harness.run([sys.executable, BENCH / "chart.py", results, chart], check=True)
    text = " ".join(xml.parse(chart).getroot().itertext())
    for said in (found["date"], found["machine"], one_python.version, "empty"):
        assert said in text


def test_a_generated_site_is_measured(one_python, tmp_path):
    """At a twentieth of the size of `make bench-scale`, so that the code of all is held."""
    results = json.loads(run("scale.py", one_python, tmp_path, SITE_MODULES=2500, SITE_VENVS=2, SITE_VENV_MODULES=500).read_text())
    assert results["own_memory_kib"] < 64 << 10
    assert results["scan"]["entries"] > 2500
    assert results["venvs"]["frozen_bytes_distinct"] < results["venvs"]["frozen_bytes"]
