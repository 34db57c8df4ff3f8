# SPDX-License-Identifier: MIT
"""importlib.metadata from images: what it gives is what stock gives, in every respect, and no file is opened for it."""

import json
import os
import shutil
import time

import pytest

import harness
import sites

# What is asked of each distribution, and of all. Failures are answers, too.
REPORT = r"""
import copy, importlib.metadata as stock, json, os, pathlib, pickle, sys

def shown(value):
    if isinstance(value, stock.EntryPoints):
        return [type(value).__name__, [shown(point) for point in value]]
    if isinstance(value, stock.EntryPoint):
        attributes = {name: repr(item) for name, item in vars(value).items() if name != "dist"}
        return [repr(value), attributes, list(vars(value)), value.dist is not None and str(value.dist._path)]
    if isinstance(value, stock.PackagePath):
        return [str(value), repr(value.hash), value.size, str(value.locate()), str(value.dist._path)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [shown(item) for item in value]]
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    return repr(value)

def tried(what):
    try:
        return shown(what())
    except Exception as error:
        return [type(error).__name__, str(error)]

NAMES = ["METADATA", "PKG-INFO", "RECORD", "entry_points.txt", "top_level.txt", "requires.txt", "SOURCES.txt",
         "installed-files.txt", "direct_url.json", "INSTALLER", "WHEEL", "LICENSE", "licenses", "licenses/MIT", "nothing",
         "", ".", "..", "../module.py", "/etc/hostname", "x\0y", "\udc80", pathlib.Path("METADATA"), None, b"METADATA", 7]

def about(dist):
    found = {name: tried(lambda: getattr(dist, name)) for name in
             ("_path", "_normalized_name", "name", "version", "files", "requires", "entry_points", "origin", "__dict__")}
    found["texts"] = [tried(lambda: dist.read_text(name)) for name in NAMES]
    found["keyword"] = tried(lambda: dist.read_text(filename="METADATA"))
    found["too many"] = tried(lambda: dist.read_text("METADATA", "METADATA"))
    found["metadata"] = tried(lambda: dist.metadata.items())
    found["json"] = tried(lambda: dist.metadata.json)
    found["locate"] = tried(lambda: dist.locate_file("module.py"))
    found["repr"] = repr(dist)
    found["is"] = [isinstance(dist, stock.PathDistribution), isinstance(dist, stock.Distribution),
                   dist.__class__ is stock.PathDistribution, bool(dist), dist == dist, dist != copy.copy(dist)]
    for other in (copy.copy(dist), copy.deepcopy(dist), pickle.loads(pickle.dumps(dist))):
        found.setdefault("copies", []).append([str(other._path), tried(lambda: other.read_text("METADATA")), vars(other) == vars(dist)])
    return found

def everything(**context):
    found = {"all": [about(dist) for dist in stock.distributions(**context)]}
    names = sorted({str(tried(lambda: dist._normalized_name)).strip("'") for dist in stock.distributions(**context)} | {"Zope.Interface", "x", "MIXED-case"})
    for name in names:
        found[name] = [str(dist._path) for dist in stock.distributions(name=name, **context)]
    return found

def summary():
    points = tried(lambda: sorted(stock.entry_points().select(group="console_scripts")))
    found = {"points": points, "any": tried(stock.entry_points), "none": tried(lambda: stock.entry_points(group="nothing"))}
    for name in ("plain", "Plain", "PLAIN", "two.words", "two_words", "two-words", "nobody", "", None, 7, "\udc80"):
        found[repr(name)] = [tried(lambda: stock.version(name)), tried(lambda: stock.files(name)), tried(lambda: stock.requires(name)),
                             tried(lambda: stock.metadata(name)["Name"])]
    found["packages"] = tried(stock.packages_distributions)
    return found
"""

WHOLE = REPORT + """
print(json.dumps([everything(path=[sys.argv[1]]), everything(path=[sys.argv[1] + "/", ".", 7 * "x", sys.argv[1]])], indent=1))
print(json.dumps(summary(), indent=1))
print(type(stock.distributions()), type(sys.meta_path[-1].find_distributions(stock.DistributionFinder.Context())))
"""

OURS = """
import importlib.metadata as stock, sys
kinds = {type(dist) is stock.PathDistribution for dist in stock.distributions(path=[sys.argv[1]])}
assert kinds == {%s}, kinds
"""


def metadata(name, version, more="", end="\n"):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more.splitlines(), "", "About it: é ☃", ""]
    return end.join(lines)


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    return path


def fill(root):
    """Distributions of all kinds that tools have left behind, and some that none would."""
    root.mkdir(parents=True, exist_ok=True)
    write(root, "module.py", "value = 1\n")
    write(root, "plain-1.0.dist-info/METADATA", metadata("plain", "1.0", 'Requires-Dist: two.words\nRequires-Dist: x; extra == "y"'))
    write(root, "plain-1.0.dist-info/RECORD", "module.py,sha256=abc,10\nplain-1.0.dist-info/METADATA,,\n\"a, b.py\",,3\n")
    write(root, "plain-1.0.dist-info/entry_points.txt", "[console_scripts]\nplain = module:main\n# no\n\n[other.group]\n a=b:c.d [e, f]\nb = module\n")
    write(root, "plain-1.0.dist-info/top_level.txt", "module\n")
    write(root, "plain-1.0.dist-info/INSTALLER", "pip\n")
    write(root, "plain-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    write(root, "plain-1.0.dist-info/direct_url.json", '{"url": "file:///x", "dir_info": {"editable": true}}')
    write(root, "plain-1.0.dist-info/LICENSE", "free\n")
    write(root, "plain-1.0.dist-info/licenses/MIT", "free\n")
    write(root, "Two.Words-2.0.dist-info/METADATA", metadata("Two.Words", "2.0", end="\r\n"))
    write(root, "Two.Words-2.0.dist-info/RECORD", "")
    write(root, "Two.Words-2.0.dist-info/entry_points.txt", "[console_scripts]\r\ntwo = module:two\r\rthree = module:three\r\n")
    write(root, "plain-0.9.dist-info/METADATA", metadata("plain", "0.9"))  # a second one, further on
    write(root, "MIXED_case-1.dist-info/METADATA", "\ufeff" + metadata("MIXED_case", "1"))
    write(root, "MIXED_case-1.dist-info/entry_points.txt", "")
    write(root, "Zope.Interface-1.DIST-INFO/METADATA", metadata("Zope.Interface", "1"))
    (root / "empty-1.dist-info").mkdir()
    write(root, "noversion.dist-info/METADATA", metadata("noversion", "3"))
    write(root, "old-1.egg-info/PKG-INFO", metadata("old", "1"))
    write(root, "old-1.egg-info/requires.txt", "one\ntwo@http://x\n\n[extra]\nthree\n\n[more:python_version<'3']\nfour\n")
    write(root, "old-1.egg-info/SOURCES.txt", "module.py\na, b.py\n")
    write(root, "older-1.egg-info/PKG-INFO", metadata("older", "1"))
    write(root, "older-1.egg-info/installed-files.txt", "../module.py\nPKG-INFO\n")
    write(root, "oldest-1.egg-info", metadata("oldest", "1"))
    write(root, "broken-1.egg-info", b"\xff\n")
    write(root, "hard-1.dist-info/METADATA", metadata("hard", "1"))
    os.link(root / "hard-1.dist-info" / "METADATA", root / "hard-1.dist-info" / "RECORD")
    write(root, "soft-1.dist-info/PKG-INFO", metadata("soft", "1"))
    (root / "soft-1.dist-info" / "METADATA").symlink_to("PKG-INFO")
    (root / "soft-1.dist-info" / "entry_points.txt").symlink_to("nowhere")
    (root / "linked-1.dist-info").symlink_to("plain-1.0.dist-info")
    (root / "dangling-1.dist-info").symlink_to("nowhere")
    (root / "linked-1.egg-info").symlink_to("oldest-1.egg-info")
    (root / "inner-1.dist-info" / "METADATA").mkdir(parents=True)
    (root / "inner-1.dist-info" / "entry_points.txt").mkdir()
    write(root, "closed-1.dist-info/METADATA", metadata("closed", "1")).chmod(0o600)
    write(root, "shut-1.dist-info/METADATA", metadata("shut", "1"))
    (root / "shut-1.dist-info").chmod(0o700)
    write(root, "écrit-1.dist-info/METADATA", metadata("écrit", "1"))
    write(root, "notmeta.dist-info.txt", "")
    let_settle(root)


def fill_oddly(root):
    """Distributions that stock chokes on."""
    (root / ".dist-info").mkdir(parents=True)
    write(root, "-.dist-info/METADATA", metadata("", "1"))
    write(root, "plain-1.0.dist-info/METADATA", metadata("plain", "1.0"))
    write(root, "latin-1.dist-info/METADATA", metadata("latin", "1").encode("utf-8") + b"\xe9\n")
    write(root, "latin-1.dist-info/entry_points.txt", b"[console_scripts]\nlatin = \xe9\n")
    write(root, "nul-1.dist-info/METADATA", metadata("nul", "1\0"))
    write(root, "nul-1.dist-info/entry_points.txt", "[nul]\na\0 = b\n")
    write(root, "odd-1.dist-info/entry_points.txt", "x = before.any.section\n[odd]\n= y\nz =\nno value\nk = a:b\n[]\nq = r\n")
    let_settle(root)


def let_settle(root):
    """Nothing there looks as if it had changed a moment ago."""
    past = time.time() - 1000
    for path in [*root.rglob("*"), root]:
        os.utime(path, (past, past), follow_symlinks=path == root)


@pytest.fixture(scope="session")
def library(public):
    """A root that does not change."""
    root = public / "metadata-library"
    fill(root)
    return root


@pytest.fixture(scope="session")
def oddities(public):
    root = public / "metadata-oddities"
    fill_oddly(root)
    return root


@pytest.fixture
def served(pair, library, oddities):
    pair.daemon.warm(pair.shim, paths=[library, oddities])
    return pair.daemon.env(PYTHONPATH=library, SHIMPORT_BUDGET_MS=5000)


def test_everything_is_as_stock_has_it(pair, library, oddities, served):
    odd = dict(served, PYTHONPATH=str(oddities))
    for root, env in ((library, served), (oddities, odd)):
        pair.same("-B", "-c", WHOLE, root, env=env, check=True)
        if not pair.interpreter.free_threaded:
            pair.run_shim("-c", OURS % False, root, env=env, check=True)


def test_a_listing_that_cannot_be_told_is_left_to_stock(pair, public):
    for number, odd in enumerate((b"bytes\xff-1.dist-info", b"EGG-INFO")):
        root = public / f"metadata-odd-{pair.interpreter}-{number}.egg"
        write(root, "plain-1.0.dist-info/METADATA", metadata("plain", "1.0"))
        write(root, "EGG-INFO/PKG-INFO", metadata("egg", "1"))
        os.makedirs(os.path.join(os.fsencode(root), odd), exist_ok=True)
        pair.daemon.warm(pair.shim, paths=[root])
        env = pair.daemon.env(PYTHONPATH=root, SHIMPORT_BUDGET_MS=5000)
        code = REPORT + "print(json.dumps([everything(path=[sys.argv[1]]), summary()]))"
        pair.same("-B", "-c", code, root, env=env, check=True)
        pair.run_shim("-c", OURS % True, root, env=env, check=True)


def test_no_file_is_opened_and_no_directory_listed(pair, library, served, tmp_path):
    if pair.interpreter.free_threaded:
        pytest.skip("left to stock")
    code = """
import importlib.metadata as stock, os, sys
os.path.exists("/begin")
for name in ("plain", "two.words", "old", "oldest", "noversion"):
    dist = stock.distribution(name)
    dist.version, dist.requires, dist.entry_points, dist.read_text("RECORD"), dist.read_text("none")
    dist.read_text("SOURCES.txt"), dist.read_text("top_level.txt"), dist._normalized_name
os.path.exists("/end")
"""
    trace = tmp_path / "trace"
    harness.run(["strace", "-f", "-o", trace, "-e", "trace=%file,getdents64", pair.shim, "-c", code], env=served, check=True)
    seen = trace.read_text().partition("/begin")[2].partition("/end")[0]
    assert str(library) not in seen, seen


CHANGES = """
stock.PathDistribution.read_text = lambda self, name: 'Name: patched\\nVersion: 9\\n'
stock.PathDistribution._normalized_name = property(lambda self: 'patched')
stock.Distribution.entry_points = property(lambda self: [])
stock.Prepared.normalize = staticmethod(str)
stock.EntryPoints._from_text = staticmethod(lambda text: iter([]))
stock.EntryPoint.__init__ = lambda self, name, value, group: vars(self).update(name=1, value=2, group=3)
stock.Sectioned.read = staticmethod(lambda text, filter_=None: iter([]))
stock.FastPath.children = lambda self: ['new-1.dist-info']
stock.Lookup.search = lambda self, prepared: iter([])
stock.MetadataPathFinder._search_paths = classmethod(lambda cls, name, paths: [])
stock.MetadataPathFinder.find_distributions = classmethod(lambda cls, context: iter([]))
os.listdir = lambda path: ['listed-1.dist-info']
pathlib.Path.read_text = lambda self, *a, **k: 'Name: path\\nVersion: 7\\n'
pathlib.PosixPath.joinpath = lambda self, *a: pathlib.PurePosixPath.joinpath(self, 'x', *a)
import io; io.open = None
stock.PathDistribution = type('PathDistribution', (stock.PathDistribution,), {'version': 'other'})
stock.EntryPoint = type('EntryPoint', (stock.EntryPoint,), {})
stock.FastPath = type('FastPath', (stock.FastPath,), {'search': lambda self, name: []})
sys.meta_path.remove(next(f for f in sys.meta_path if hasattr(f, 'find_distributions')))
del next(f for f in sys.meta_path if hasattr(f, 'find_distributions')).find_distributions
sys.modules.pop('importlib.metadata'); import importlib.metadata as stock
importlib.reload(stock)
stock.DistributionFinder.Context.path = property(lambda self: [])
stock.DistributionFinder.Context.name = 'plain'
sys.path.insert(0, 7)
sys.path.insert(0, b'/usr')
sys.path.insert(0, [])
sys.path[:0] = ['\\udcff', '/nul\\0', 'a' * 5000, '', '.', '//', '/nonexistent', __import__('os').__file__]
sys.path[:] = [entry + '///' for entry in sys.path]
sys.path[:] = sys.path * 3
sys.path = tuple(sys.path)
sys.path = (entry for entry in sys.path)
sys.path = None
del sys.path
sys.path[:] = [pathlib.Path(sys.argv[1])]
"""


def test_what_a_program_puts_in_place_of_stock_is_called(pair, library, served):
    """Each of these changes what stock gives, and so what we give."""
    code = """
import importlib, importlib.metadata as stock, os, pathlib, sys
def shown(what):
    try:
        return repr(what())
    except Exception as error:
        return type(error).__name__ + str(error)
def show():
    print(shown(lambda: sorted((d._normalized_name, d.version, str(d.entry_points), str(d._path))
                               for d in stock.distributions(path=[sys.argv[1]]) if "plain" in str(d._path) or "new" in str(d._path))))
    print(shown(lambda: stock.version("plain")), shown(lambda: [str(d._path) for d in stock.distributions(name="plain")]))
for change in sys.argv[2].strip().splitlines():
    print(change, flush=True)
    if os.fork() == 0:
        before = next(iter(stock.distributions(name="plain")))
        show()
        try:
            exec(change)
        except Exception as error:
            print(type(error).__name__)
        getattr(stock.FastPath.__new__, "cache_clear", int)()
        show()
        print(shown(lambda: before.version), shown(lambda: before.entry_points), shown(lambda: before._normalized_name), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
    pair.same("-B", "-c", code, library, CHANGES, env=served, check=True)


def test_a_distribution_may_be_given_another_path(pair, library, served):
    code = """
import importlib.metadata as stock, pathlib, sys
def shown(what):
    try:
        return repr(what())
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
def fresh():
    return stock.distribution("plain")
other = fresh()._path.parent / "Two.Words-2.0.dist-info"
def ask(dist):
    print(shown(lambda: dist.version), shown(lambda: dist._normalized_name), shown(lambda: dist.entry_points), shown(lambda: vars(dist)))
for way in ("dist._path = other", "vars(dist)['_path'] = other", "dist.__dict__ = {'_path': other}", "dist.more = 1",
            "dist._path; vars(dist)", "setattr(dist, '_path', dist._path)", "del dist._path", "vars(dist).clear()", "dist.__init__(other)"):
    dist = fresh()
    try:
        exec(way)
    except Exception as error:
        print(type(error).__name__)
    print(way)
    ask(dist)
"""
    pair.same("-B", "-c", code, env=served, check=True)


def test_an_audit_hook_sees_what_stock_opens(pair, library, served):
    code = """
import importlib.metadata as stock, sys
found = stock.distributions(name="two.words")
seen = []
sys.addaudithook(lambda event, args: seen.append((event, str(args[0]))) if event in ("open", "os.listdir") else None)
stock.version("plain"), stock.entry_points(group="console_scripts"), [dist.version for dist in found]
print([one for one in seen if sys.argv[1] in one[1]])
"""
    pair.same("-B", "-c", code, library, env=served, check=True)


# -- freshness ------------------------------------------------------------------------------------------------

ASK = """
import importlib.metadata as stock
found = {{}}
for dist in stock.distributions(path=[{root!r}]):
    found[str(dist._path.name)] = [dist.version, sorted(map(str, dist.entry_points)), dist.read_text("RECORD"), dist.read_text("top_level.txt")]
answer = found
"""
BARRIER = "import importlib; importlib.invalidate_caches()\n"


def asked(site, running=None, before=BARRIER, fresh=True):
    """What stock finds; a new process must find the same, and one that runs on, after a barrier."""
    code = ASK.format(root=str(site.root))
    theirs = site.stock.tell("import importlib.metadata as stock\nstock.FastPath.__new__.cache_clear()\n" + code)
    if fresh:
        script = code + "\nimport json; print(json.dumps(answer))"
        assert json.loads(site.pair.run_shim("-B", "-c", script, env=site.env, check=True).stdout) == theirs
    if running is not None:
        assert running.tell(before + code) == theirs
    return theirs


@pytest.fixture
def distributions(one_pair, tmp_path):
    """A root that changes, of the daemon that tests share: it serves importlib.metadata as well."""
    made = []

    def make(daemon=one_pair.daemon, link=False):
        root = tmp_path / "root"
        if link:
            (tmp_path / "real").mkdir()
            root.symlink_to("real")
        site = sites.Site(daemon, one_pair, root)
        made.append(site)
        site.stock = sites.Running(one_pair.stock, site.env)
        for name in ("one", "two", "three"):
            write(site.root, f"{name}-1.dist-info/METADATA", metadata(name, "1"))
            write(site.root, f"{name}-1.dist-info/RECORD", f"{name}.py,,\n")
            write(site.root, f"{name}-1.dist-info/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        write(site.root, "file-1.egg-info", metadata("file", "1"))
        write(site.root, "module.py", "value = 1\n")
        let_settle(site.root)
        site.warm()
        assert is_ours(site)
        return site

    yield make
    for site in made:
        for running in [*site.started, site.stock]:
            running.close()


def is_ours(site):
    """Whether the root's distributions come from its image."""
    return site.pair.run_shim("-c", OURS % False, site.root, env=site.env).returncode == 0


def steps(root):
    """Changes, one by one."""

    def rewrite_as_if_nothing_was():
        path = root / "one-1.dist-info" / "METADATA"
        before = path.stat()
        path.write_text(path.read_text().replace("Version: 1", "Version: 8"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    yield "rewritten in place", rewrite_as_if_nothing_was
    yield "replaced", lambda: os.replace(write(root, "two-1.dist-info/new", metadata("two", "2")), root / "two-1.dist-info" / "METADATA")
    yield "entry points rewritten", lambda: write(root, "two-1.dist-info/entry_points.txt", "[console_scripts]\nother = two:main\n")
    yield "entry points gone", lambda: (root / "one-1.dist-info" / "entry_points.txt").unlink()
    yield "entry points come", lambda: write(root, "one-1.dist-info/entry_points.txt", "[console_scripts]\nagain = one:main\n")
    yield "a file that was missing", lambda: write(root, "one-1.dist-info/top_level.txt", "one\n")
    yield "record rewritten", lambda: write(root, "three-1.dist-info/RECORD", "changed\n")
    yield "added", lambda: write(root, "four-1.dist-info/METADATA", metadata("four", "4"))
    yield "renamed", lambda: (root / "three-1.dist-info").rename(root / "three-2.dist-info")
    yield "removed", lambda: shutil.rmtree(root / "two-1.dist-info")
    yield "an egg-info that is a file", lambda: write(root, "file-1.egg-info", metadata("file", "5"))
    yield "a directory in its place", lambda: ((root / "file-1.egg-info").unlink(), write(root, "file-1.egg-info/PKG-INFO", metadata("file", "6")))
    yield "a link in its place", lambda: (shutil.rmtree(root / "one-1.dist-info"), (root / "one-1.dist-info").symlink_to("four-1.dist-info"))


def test_every_change_is_seen_by_the_next_process_and_after_a_barrier(distributions):
    site = distributions()
    running = site.start()
    last = asked(site, running)
    for what, change in steps(site.root):
        change()
        now = asked(site, running)
        assert now != last, what
        last = now
    site.settle()
    asked(site, running)


def test_every_change_is_seen_within_100_ms_by_a_process_that_runs_on(distributions):
    site = distributions()
    running = site.start()
    asked(site, running)
    for _, change in steps(site.root):
        change()
        time.sleep(0.1)
        asked(site, running, before="", fresh=False)


def test_what_changed_is_served_again_from_the_next_image(distributions):
    site = distributions()
    for _, change in steps(site.root):
        change()
    site.settle()
    asked(site)
    harness.wait_until(lambda: is_ours(site), "it to be served again")


def test_a_distribution_that_is_held_reads_what_is_there_now(distributions):
    site = distributions()
    running = site.start()
    hold = "import builtins, importlib.metadata as stock\nbuiltins.held = {d.name: d for d in stock.distributions(path=[%r])}"
    running.tell(hold % str(site.root))
    read = BARRIER + "answer = [held[n].read_text('METADATA') for n in ('one', 'two', 'file')]"
    before = running.tell(read)
    write(site.root, "one-1.dist-info/METADATA", metadata("one", "77"))
    shutil.rmtree(site.root / "two-1.dist-info")
    for _ in range(2):
        after = running.tell(read)
        assert after == [metadata("one", "77"), None, before[2]]
        site.settle()


def look_alike(what):
    """What stat cannot tell from what was there before."""
    return what == "rewritten in place"


def test_behind_a_link_and_with_hard_links_stat_is_asked(distributions, tmp_path):
    site = distributions(link=True)
    for path in [path for path in site.root.rglob("*") if path.is_file()]:
        os.link(path, tmp_path / f"{path.parent.name}-{path.name}")
    write(site.root, "module.py", "value = 2\n")  # so that it is built again
    let_settle(site.root)
    site.settle()
    harness.wait_until(lambda: is_ours(site), "it to be served again")
    running = site.start()
    last = asked(site, running)
    (tmp_path / "one-1.dist-info-METADATA").write_text(metadata("one", "by another name"))
    assert asked(site, running) != last
    for what, change in steps(site.root):
        if not look_alike(what):
            change()
            asked(site, running)


def test_where_no_watch_sees_it_stat_does(distributions, make_daemon, one_pair):
    daemon = make_daemon(config="[daemon]\nValidate=stat\n")
    daemon.warm(one_pair.shim)
    site = distributions(daemon)
    running = site.start()
    last = asked(site, running)
    for what, change in steps(site.root):
        if not look_alike(what):
            change()
            assert asked(site, running) != last, what
            last = asked(site, running)


def test_what_not_everybody_may_read_is_in_no_image(distributions):
    site = distributions()
    (site.root / "one-1.dist-info" / "METADATA").chmod(0o600)
    (site.root / "two-1.dist-info").chmod(0o700)
    write(site.root, "three-1.dist-info/RECORD", "secret\n").chmod(0o640)
    asked(site)
    site.settle()
    named = {left["file"] for left in site.settle()["left_out"]}
    if os.geteuid() == 0:  # whose daemon gives its images to others
        assert named == {"one-1.dist-info/METADATA", "two-1.dist-info", "three-1.dist-info/RECORD"}
    asked(site)
