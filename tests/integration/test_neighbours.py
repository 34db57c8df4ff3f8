# SPDX-License-Identifier: MIT
"""Many at once, and neighbours at their worst: what `make bench-attach` measures, for a short while."""

import os
import sys

import pytest

import harness

sys.path.insert(0, str(harness.ROOT / "tests" / "bench"))
import attach  # noqa: E402

TRIES = 5  # the machine may be busy with something else


@pytest.fixture(scope="module")
def served(one_python):
    with harness.public_directory() as directory, attach.Served(directory, one_python) as made:
        made.load(attach.PROCESSES, 1000)
        yield made


def best(measure, good):
    """The first result that is good, or the last."""
    for _ in range(TRIES):
        result = measure()
        print(result)
        assert result["failures"] == 0
        if good(result):
            break
    return result


def test_attaches_of_eight_processes_at_once(served):
    result = best(lambda: served.load(attach.PROCESSES, 16_000), lambda r: r["per_second"] >= 5000 and r["p99_us"] < 5000)
    assert result["per_second"] >= 5000
    assert result["p99_us"] < 5000
    assert result["memory_growth"] < 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
def test_a_flood_of_one_user_leaves_the_others_their_turn(served):
    def compare():
        alone = served.honest(200)
        flood = served.start(1, 10_000_000, "--uid", attach.HOSTILE, "--nice", 19)
        try:
            beside = served.honest(200)
        finally:
            attach.end(flood)
        return {"failures": alone["failures"] + beside["failures"], "alone": alone["p99_us"], "beside": beside["p99_us"]}

    result = best(compare, lambda r: r["beside"] <= 3 * r["alone"])
    assert result["beside"] <= 3 * result["alone"], result


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
def test_peers_that_say_nothing_or_do_not_read_are_timed_out_and_harm_nobody(served):
    with served.silent_peers(1000, 200, 200) as (peers, dripping):
        attach.drip(dripping)
        result = best(lambda: served.honest(200), lambda r: r["p99_us"] < 5000)
        assert result["p99_us"] < 5000

        def all_gone():
            attach.drip(dripping)
            return all(attach.hung_up(peer) for peer in peers)

        harness.wait_until(all_gone, "all to be hung up on", 30)
    harness.wait_until(lambda: served.daemon.status()["peers"] <= 1, "the daemon to have let go of them")
