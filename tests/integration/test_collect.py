# SPDX-License-Identifier: MIT
"""The cyclic garbage collector during served imports: hold and freeze, and what neither may change."""

import json
import textwrap

import pytest

POLICIES = ["stock", "hold", "freeze"]


@pytest.fixture
def room(pair, tmp_path):
    """Runs code where the modules that it is given are served: room({"m": source}, code, policy) gives its output."""

    def run(modules, code, policy="hold"):
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        pair.daemon.warm(pair.shim, paths=[tmp_path])
        head = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        env = dict(pair.daemon.env(), SHIMPORT_GC=policy)
        result = pair.run_shim("-c", head + textwrap.dedent(code), env=env, check=True)
        return json.loads(result.stdout.splitlines()[-1])

    return run


BUSY = """
    import gc
    # Containers that are alive: enough for many collections of the youngest generation.
    alive = [{i} for i in range(30000)]
    collections = sum(s["collections"] for s in gc.get_stats())
    """

COLLECTIONS = """
    import gc, json
    gc.collect()  # or one may be due before the module is found
    before = sum(s["collections"] for s in gc.get_stats())
    import busy
    print(json.dumps(busy.collections - before))
    """


def test_no_collection_starts_while_a_served_import_runs(room):
    found = {policy: room({"busy": BUSY}, COLLECTIONS, policy) for policy in POLICIES}
    assert found["stock"] > 3 and found["hold"] == 0 and found["freeze"] == 0


def test_activation_neither_starts_a_collection_nor_brings_the_next_one_nearer(pair):
    pair.warm()
    result = pair.run_shim("-S", "-c", textwrap.dedent(f"""
        import gc, json, sys
        sys.path.append({str(pair.site(pair.shim))!r})
        import _shimport
        gc.collect()
        gc.set_threshold(40)
        count, collections = gc.get_count()[0], sum(s["collections"] for s in gc.get_stats())
        _shimport.activate()
        then, those = gc.get_count()[0], sum(s["collections"] for s in gc.get_stats())
        print(json.dumps([_shimport.status()["active"], those - collections, abs(then - count) < 20]))
        """), env=pair.daemon.env(), check=True)
    assert json.loads(result.stdout) == [True, 0, True]


def test_a_nested_import_does_not_end_the_hold(room):
    modules = {"busy": BUSY, "outer": "import json.tool, difflib\nfrom busy import collections"}
    assert room(modules, COLLECTIONS.replace("busy", "outer")) == 0


def test_after_the_import_collections_start_as_ever(room):
    assert room({"small": "x = 1"}, """
        import gc, json
        import small
        before = sum(s["collections"] for s in gc.get_stats())
        alive = [{i} for i in range(30000)]
        print(json.dumps(sum(s["collections"] for s in gc.get_stats()) - before))
        """) > 3


def test_the_next_collection_does_not_walk_over_what_the_import_made(room):
    assert room({"busy": BUSY}, """
        import json, gc, sys
        import busy
        incremental = (3, 14) <= sys.version_info < (3, 14, 5)
        print(json.dumps(len(gc.get_objects(generation=0)) < 5000 or incremental))
        """)


def test_an_import_that_fails_ends_the_hold(room):
    modules = {"failing": "alive = [{i} for i in range(3000)]\nraise RuntimeError"}
    assert room(modules, """
        import gc, json
        try:
            import failing
        except RuntimeError:
            pass
        print(json.dumps(gc.get_count()[0] >= 0))
        """)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_a_module_sees_and_sets_of_the_collector_is_as_with_stock(room, policy):
    modules = {
        "asks": "import gc\nseen = gc.isenabled(), gc.get_threshold(), len(gc.callbacks)",
        "disables": "import gc\ngc.disable()",
        "enables": "import gc\nseen = gc.isenabled()\ngc.enable()",
        "sets": "import gc\ngc.set_threshold(123, 4, 5)",
    }
    assert room(modules, """
        import gc, json
        threshold = gc.get_threshold()
        import asks
        found = [asks.seen == (True, threshold, 0)]
        import disables
        found.append(gc.isenabled())
        import enables
        found += [enables.seen, gc.isenabled()]
        import sets
        found.append(gc.get_threshold()[0])
        print(json.dumps(found))
        """, policy) == [True, False, False, True, 123]


def test_a_module_may_collect_by_itself(room):
    modules = {"collects": """
        import gc, weakref
        class Cycle: pass
        cycle = Cycle(); cycle.self = cycle
        gone = weakref.ref(cycle)
        del cycle
        called = []
        gc.callbacks.append(lambda phase, info: called.append(phase))
        gc.collect()
        gc.callbacks.pop()
        found = gone() is None and called == ["start", "stop"]
        """}
    assert room(modules, "import json, collects; print(json.dumps(collects.found))")


def test_a_body_that_does_not_end_is_collected_again(room):
    modules = {"server": """
        import gc, weakref
        class Cycle: pass
        rounds, gone = 0, []
        before = sum(s["collections"] for s in gc.get_stats())
        while rounds < 3000000 and not gone:
            cycle = Cycle(); cycle.self = cycle
            if not rounds:
                weak = weakref.ref(cycle, gone.append)
            rounds += 1
        """}
    assert room(modules, "import json, server; print(json.dumps(bool(server.gone)))")


def test_threads_that_import_at_once_leave_the_collector_as_it_was(room):
    modules = {f"t{i}": "import time\nalive = [{i} for i in range(500)]\ntime.sleep(0.01)" for i in range(20)}
    assert room(modules, """
        import gc, importlib, json, threading
        threads = [threading.Thread(target=importlib.import_module, args=(f"t{i}",)) for i in range(20)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(json.dumps([gc.get_count()[0] >= 0, gc.isenabled()]))
        """) == [True, True]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_child_that_was_forked_in_another_threads_import_is_collected(room, policy):
    assert room({"slow": "import time; time.sleep(1)"}, """
        import gc, importlib, json, os, threading, time, warnings
        warnings.simplefilter("ignore")  # it has threads
        thread = threading.Thread(target=importlib.import_module, args=("slow",))
        thread.start()
        time.sleep(0.3)
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, json.dumps(gc.get_count()[0] >= 0).encode())
            os._exit(0)
        print(json.dumps(json.loads(os.read(read, 100))))
        thread.join()
        """, policy) is True


@pytest.mark.parametrize("policy", ["hold", "freeze"])
def test_a_child_that_was_forked_in_an_import_is_not_held(room, policy):
    modules = {"forks": """
        import gc, os
        read, write = os.pipe()
        child = os.fork() == 0
        held = gc.get_count()[0] < 0
        """}
    assert room(modules, """
        import forks, gc, json, os
        found = [forks.held, gc.get_count()[0] >= 0]
        if forks.child:
            os.write(forks.write, json.dumps(found).encode())
            os._exit(0)
        print(json.dumps([found, json.loads(os.read(forks.read, 100))]))
        """, policy) == [[True, True], [False, True]]


RELOADS = """
    import gc, importlib, json, weakref
    import plug
    class Cycle: pass
    alive, most = set(), 0
    for i in range(20000):
        importlib.reload(plug)
        if {own}:
            cycle = Cycle()
            cycle.cycle = cycle
            alive.add(weakref.ref(cycle, alive.discard))
        else:
            alive.add(weakref.ref(plug.Class, alive.discard))
        most = max(most, len(alive))
    print(json.dumps(most))
    """


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("own", [True, False])
def test_garbage_does_not_pile_up_while_a_module_is_executed_again_and_again(room, policy, own):
    """Of the program's and of the module's own: each time some more of it, and nothing but collections to take it away."""
    assert room({"plug": "class Class:\n    def method(self): pass\nthing = Class()\n"}, RELOADS.format(own=own), policy) < 10000


def test_freeze_takes_nothing_of_what_a_program_executes_itself(room, tmp_path):
    file = tmp_path / "file"
    assert room({"part": "def function(): pass"}, f"""
        import gc, importlib.util, json, weakref
        class Thing: pass
        def make():
            spec = importlib.util.find_spec("part")
            module = importlib.util.module_from_spec(spec)
            module.thing = Thing()
            spec.loader.exec_module(module)
            return module
        gone = [weakref.ref(make().thing) for _ in range(100)]
        gc.collect()
        kept = make()
        kept.file = open({str(file)!r}, "w")
        kept.file.write("flushed")
        print(json.dumps(sum(one() is not None for one in gone)))
        """, "freeze") == 0
    assert file.read_text() == "flushed"


FROZEN = """
    import gc, json
    alive = [{{i}} for i in range({alive})]
    before = gc.get_freeze_count()
    import small
    print(json.dumps(gc.get_freeze_count() - before))
    """


def test_freeze_moves_what_an_import_made_out_of_the_collectors_way(room):
    modules = {"small": "made = [{i} for i in range(5000)]"}
    assert room(modules, FROZEN.format(alive=10), "freeze") > 5000
    assert room(modules, FROZEN.format(alive=10), "hold") == 0


SCRIPTS = {
    "imports first": "",
    "and an import in a function of the library's": "argparse.ArgumentParser().add_argument('-x', help='y')",
    "and an import in one of its own": "function()",
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_what_a_script_holds_is_finalised_under_freeze_as_well(pair, tmp_path, case):
    """Its functions and classes lead back to its variables: none of them is frozen, whenever it imports."""
    pair.warm()
    script, file = tmp_path / "script.py", tmp_path / "file"
    script.write_text(textwrap.dedent(f"""
        import argparse
        class Finalised:
            def __del__(self):
                print("finalised")
        finalised = Finalised()
        file = open({str(file)!r}, "w")
        file.write("flushed")
        def function():
            import csv
            return finalised, file
        {SCRIPTS[case]}
        """))
    result = pair.run_shim(script, env=pair.daemon.env(SHIMPORT_GC="freeze"), check=True)
    assert (result.stdout, file.read_text()) == ("finalised\n", "flushed")


def test_freeze_takes_what_the_import_made_and_nothing_of_the_programs(room):
    assert room({"small": "made = [{i} for i in range(500)]"}, """
        import gc, json
        old = [[i] for i in range(500)]
        gc.collect(0)
        young = [[i] for i in range(500)]
        import small
        seen = {id(thing) for thing in gc.get_objects()}
        print(json.dumps([sum(id(thing) in seen for thing in things) for things in (young, old, small.made)]
                         + [id(small) in seen, id(vars(small)) in seen]))
        """, "freeze") == [500, 500, 0, False, False]


def test_freeze_is_seen_by_no_audit_hook_and_leaves_no_module_behind(pair):
    pair.warm()
    result = pair.run_shim("-X", "importtime", "-c", textwrap.dedent("""
        import sys
        seen = []
        sys.addaudithook(lambda event, arguments: seen.append(arguments[0]) if event == "import" else None)
        import argparse
        print("gc" in sys.modules, "gc" in seen)
        """), env=pair.daemon.env(SHIMPORT_GC="freeze"), check=True)
    assert result.stdout == "False False\n"
    assert not any(line.split("|")[-1].strip() == "gc" for line in result.stderr.splitlines())


def test_a_subinterpreter_freezes_nothing(pair):
    pair.warm()
    code = "import argparse, gc; print(gc.get_freeze_count())"
    result = pair.run_shim("-c", textwrap.dedent(f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        one = interpreters.create()
        interpreters.run_string(one, {code!r})
        interpreters.destroy(one)
        """), env=pair.daemon.env(SHIMPORT_GC="freeze"), check=True)
    assert result.stdout == "0\n"


def test_freeze_moves_what_there_is_at_the_start_as_well(pair):
    pair.warm()
    for policy, frozen in (("freeze", True), ("hold", False)):
        env = pair.daemon.env(SHIMPORT_GC=policy)
        result = pair.run_shim("-c", "import gc; print(gc.get_freeze_count() > 1000)", env=env, check=True)
        assert result.stdout == f"{frozen}\n"


def test_freeze_leaves_a_program_alone_that_has_much_alive(room):
    assert room({"small": "made = [{i} for i in range(5000)]"}, FROZEN.format(alive=60000), "freeze") == 0


def test_who_has_much_alive_no_more_is_not_left_alone(room):
    modules = {f"small{i}": "made = [{i} for i in range(5000)]" for i in range(2)}
    assert room(modules, """
        import gc, json, shimport
        alive = [{i} for i in range(60000)]
        before = gc.get_freeze_count()
        import small0
        late = gc.get_freeze_count() - before
        del alive
        gc.collect()
        import small1
        print(json.dumps([late, gc.get_freeze_count() - before > 5000]))
        """, "freeze") == [0, True]


def test_freeze_keeps_no_collection_away(room):
    assert room({"small": "x = 1"}, """
        import gc, json
        gc.collect()
        gc.collect(0), gc.collect(0)
        alive = [{i} for i in range(300)]
        before = gc.get_count()
        import small
        print(json.dumps([one >= other for one, other in zip(gc.get_count(), before)]))
        """, "freeze") == [True, True, True]


def test_freeze_does_not_leave_the_module_gc_behind(room):
    assert room({"small": "x = 1"}, "import json, small, sys; print(json.dumps('gc' in sys.modules))", "freeze") is False


def test_the_policy_can_be_asked_for_and_set(room):
    assert room({}, """
        import json, shimport
        found = [shimport.gc_policy(), shimport.gc_policy("freeze"), shimport.gc_policy()]
        try:
            shimport.gc_policy("none")
        except ValueError as error:
            found.append(str(error))
        print(json.dumps(found))
        """, "hold") == ["hold", "hold", "freeze", 'gc_policy() takes "stock", "hold" or "freeze", not "none"']


@pytest.mark.parametrize("policy", POLICIES)
def test_the_daemon_says_which_policy_is_in_force_and_the_environment_overrules_it(make_daemon, one_pair, policy):
    daemon = make_daemon(config=f"[daemon]\nGC={policy}\n")
    ask = ("-c", "import shimport; print(shimport.gc_policy())")
    assert one_pair.run_shim(*ask, env=daemon.env(), check=True).stdout == f"{policy}\n"
    assert one_pair.run_shim(*ask, env=dict(daemon.env(), SHIMPORT_GC="stock"), check=True).stdout == "stock\n"


def test_a_policy_that_is_none_is_as_if_there_were_none(room):
    assert room({}, "import json, shimport; print(json.dumps(shimport.gc_policy()))", "whatever") == "hold"
