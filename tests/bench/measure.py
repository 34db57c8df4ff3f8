# SPDX-License-Identifier: MIT
"""Measuring processes in pairs, and printing what came of it: shared by the benchmarks and the demo."""

import collections
import contextlib
import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass


# Times the statements that it is given, by the CPU, and reports it on descriptor 3, see run_once().
TIMED = """\
import time as _time
_before = _time.process_time()
{}
_after = _time.process_time()
import os as _os
_os.write(3, str(_after - _before).encode())
"""


# Runs the statements that it is given, and says on request what the kernel says of its memory.
MEMORY = """\
{}
print(flush=True)
input()
print(open("/proc/self/smaps_rollup").read(), flush=True)
"""


@dataclass
class Run:
    """One process: seconds of wall clock, of the CPU (user and system), and what it says its own part took; and its page
    faults that needed no disk."""

    wall: float
    cpu: float
    inner: float
    faults: int


def run_once(command, env):
    """Runs a process to its end. What it writes to descriptor 3 is its own measure, in seconds."""
    read, write = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, write, 3),
    ]
    os.set_inheritable(write, False)
    before = time.perf_counter()
    child = os.posix_spawn(command[0], command, env, file_actions=actions)
    os.close(write)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - before
    with os.fdopen(read) as own:
        text = own.read()
    if status != 0:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(wall, usage.ru_utime + usage.ru_stime, float(text), usage.ru_minflt)


def run_in_turn(variants, pairs, before=lambda: None, progress=lambda done: None):
    """A B A B ...: {name: (command, env)} gives {name: [Run]}. One round beforehand is not counted."""
    runs = {name: [] for name in variants}
    for done in range(-1, pairs):
        for name, (command, env) in variants.items():
            before()
            result = run_once([str(part) for part in command], env)
            if done >= 0:
                runs[name].append(result)
        progress(done + 1)
    return runs


def run_side_by_side(variants, requests, times, pairs, progress=lambda done: None):
    """Processes of every variant live at the same time, and each request is made of them in turn, so many times: whatever
    else the machine does, all have their share of it. {request: {variant: [the least of a process, in seconds]}}. The
    processes of a round hash texts alike."""
    found = {request: {name: [] for name in variants} for request in requests}
    for done in range(pairs):
        with contextlib.ExitStack() as stack:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes = {
                name: stack.enter_context(
                    subprocess.Popen([*map(str, command)], env=dict(env, PYTHONHASHSEED=str(done)), **pipes)
                )
                for name, (command, env) in variants.items()
            }
            for request in requests:
                taken = {name: [] for name in variants}
                for turn in range(times):
                    for name in sorted(variants, reverse=(done + turn) % 2):
                        processes[name].stdin.write(f"{request}\n")
                        processes[name].stdin.flush()
                        taken[name].append(float(processes[name].stdout.readline()))
                for name, values in taken.items():
                    found[request][name].append(min(values))
            for process in processes.values():
                process.stdin.close()
        progress(done + 1)
    return found


def spread(seconds):
    """{"minimum", "median"} in milliseconds."""
    return {"minimum": min(seconds) * 1000, "median": statistics.median(seconds) * 1000}


def summary(runs):
    """{"wall"|"cpu"|"inner": spread()}."""
    return {field: spread([getattr(run, field) for run in runs]) for field in ("wall", "cpu", "inner")}


def by_rounds(runs, others):
    """{"wall"|"cpu": the median of what each run takes in parts of the other one of its round}: the machine may change its
    speed between rounds, as virtual ones do, where it changes that of medians of all."""
    return {
        field: statistics.median(getattr(run, field) / getattr(other, field) for run, other in zip(runs, others))
        for field in ("wall", "cpu")
    }


def private_memory(command, env):
    """KiB that a process has for itself alone when it has run a script: Private_Clean and Private_Dirty.

    A second one stays alive beside it, as on a machine that runs Python all day: what the two share is not counted."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(subprocess.Popen([*map(str, command)], env=env, text=True, **pipes)) for _ in range(2)]
        for process in pair:
            process.stdout.readline()
        report = pair[0].communicate("\n")[0]
        pair[1].communicate("\n")
    return sum(int(kib) for kib in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", report, re.MULTILINE))


def instructions(command, env):
    """How many a process takes in user space: repeatable to some parts in ten thousand, whatever else the machine does."""
    traced = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *map(str, command)]
    result = subprocess.run(traced, env=dict(env, PYTHONHASHSEED="0"), check=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return int(re.search(r"Collected : (\d+)", result.stderr)[1])


def system_calls(command, env):
    """How often each system call was made, by the process and its children."""
    with tempfile.NamedTemporaryFile("r", prefix="shimport-strace-") as counts:
        traced = ["strace", "-f", "-c", "-U", "calls,name", "-o", counts.name, *[str(part) for part in command]]
        subprocess.run(
            traced, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        rows = re.findall(r"^\s*(\d+)\s+([a-z]\w*)$", counts.read(), re.MULTILINE)
    return collections.Counter({name: int(calls) for calls, name in rows if name != "total"})


def table(head, rows):
    """Columns as wide as they need to be: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        parts = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(parts).rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(lines)
