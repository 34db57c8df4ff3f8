# SPDX-License-Identifier: MIT
"""Regular expressions whose programs come from an image: the same as stock's in all that can be asked, and what bounds
what may get there."""

import json
import os
import shutil
import textwrap
import time

import pytest

import harness
from lessons import Lessons, generation_of, pattern, report

COUNT = int(os.environ.get("PATTERNS") or 400)

# What `re` makes by itself, with a program of an image passed over: whoever profiles is left to stock.
STOCK = """
import re, sys
def stock(text, flags=0):
    sys.setprofile(lambda *arguments: None)
    try:
        return re._compiler.compile(text, flags)
    finally:
        sys.setprofile(None)
"""

COMPARE = STOCK + """
import json, _shimport, warnings
warnings.simplefilter("ignore")
SAMPLES = ["", "a", "abc 123\\n  def", "foo=bar; x-y_z: [1, 2]", "\\u00e9\\u0130\\u03c3 \\U0001f600", "<a href='b'>c</a>", "ABCabc" * 9]
def sample(pattern, text):
    kind = (lambda s: s.encode("utf-8", "surrogatepass")) if isinstance(text, bytes) else (lambda s: s)
    found = []
    for s in map(kind, SAMPLES):
        for match in (pattern.match(s), pattern.search(s), pattern.fullmatch(s)):
            found.append(match and (match.span(), match.groups(), match.lastgroup, match.groupdict()))
        found.append(pattern.sub(kind("-"), s, count=3))
    return found
def described(pattern):
    return repr([pattern.pattern, type(pattern.pattern), pattern.flags, pattern.groups, dict(pattern.groupindex),
                 list(pattern.groupindex), repr(pattern)])
shown = []
for (text, flags), pattern in zip(module.PATTERNS, module.compiled):
    if isinstance(pattern, str):
        shown.append(pattern)
        continue
    own = stock(text, flags)
    assert own == pattern and hash(own) == hash(pattern), (text, flags)
    assert pattern.pattern is text and described(own) == described(pattern)
    shown.append([described(pattern), sample(pattern, text) if len(text) < 60 else None])
import hashlib
print(json.dumps([_shimport.status()["patterns"] if SHIM else 0, len(shown), hashlib.sha1(repr(shown).encode()).hexdigest()]))
"""


@pytest.fixture
def lessons(daemon, pair, tmp_path):
    if pair.interpreter.free_threaded:
        pytest.skip("free-threaded Python is left to stock")
    directory = tmp_path / "room"
    directory.mkdir()
    return Lessons(daemon, pair, directory)


def known_of(lessons):
    """How many patterns of the module KNOWN are served: in a debug build those of bytes are stock's."""
    return 1 if lessons.pair.interpreter.debug else 2


def first_lesson(daemon, pair, directory):
    directory.mkdir()
    made = Lessons(daemon, pair, directory)
    made.write("known", KNOWN)
    made.warm()
    made.learn("import known", 2)
    return made


@pytest.fixture(scope="module")
def one_lesson(daemon, one_pair, tmp_path_factory):
    """With one interpreter, for what does not depend on which. The patterns of `known` are in the image, and stay there."""
    return first_lesson(daemon, one_pair, tmp_path_factory.mktemp("known") / "room")


@pytest.fixture
def new_lesson(daemon, one_pair, tmp_path):
    """Likewise for one test, to do something to it."""
    return first_lesson(daemon, one_pair, tmp_path / "room")


@pytest.fixture
def own_lesson(make_daemon, one_pair, tmp_path):
    """Likewise with a daemon of its own."""
    return first_lesson(make_daemon(), one_pair, tmp_path / "room")


KNOWN = r"""
    import re
    word = re.compile(r"(?P<first>known[a-z]+)-(?P<second>\d+)", re.IGNORECASE)
    octets = re.compile(rb"known\x00+")
    """


def test_what_is_compiled_from_an_image_is_what_stock_compiles(lessons, tmp_path):
    generator = harness.ROOT / "tests" / "patterns.py"
    count = int(harness.run([lessons.pair.stock, generator, tmp_path, COUNT], check=True, timeout=600).stdout)
    rooms = sorted(tmp_path.glob("room*"), key=lambda room: room.name)
    rooms = [room for room in rooms if any(room.iterdir())]
    lessons.warm(*rooms)
    env = lessons.env(*rooms)
    for _ in range(2):
        for number in range(len(rooms)):
            lessons.pair.run_shim("-c", f"import patterns{number}", env=env, check=True)
    lessons.warm(*rooms)  # one build for what fits into a packet
    served = compared = 0
    for number in range(len(rooms)):
        lessons.learn(f"import patterns{number}", 60, env)
        code = f"import patterns{number} as module\n{COMPARE}"
        shim = json.loads(lessons.pair.run_shim("-c", f"SHIM = 1\n{code}", env=env, check=True).stdout)
        stock = json.loads(lessons.pair.run_stock("-c", f"SHIM = 0\n{code}".replace("_shimport, ", ""), env=env, check=True).stdout)
        assert shim[1:] == stock[1:]
        served += shim[0]
        compared += shim[1]
    assert compared == count and served > count / 2
    print(f"{lessons.pair.interpreter}: {served} of {compared} patterns served")


def test_all_that_is_around_the_program_is_stocks(lessons):
    lessons.write("known", KNOWN)
    lessons.warm()
    lessons.learn("import known", known_of(lessons))
    lessons.run(STOCK + r"""
import known, _shimport, pickle, copy
text = known.word.pattern
served = lambda: _shimport.status()["patterns"]
before = served()

assert re.compile(text, re.I) is known.word and served() == before  # re's own cache
re.purge()
again = re.compile(text, re.I)
assert again is not known.word and again == known.word == stock(text, 2) and served() == before + 1
assert again is re.compile(text, re.I) is re.compile(text, 2)
assert pickle.loads(pickle.dumps(again)) == again and copy.deepcopy(again) is again
assert (type(text), text, 2) in re._cache and re._cache[type(text), text, 2] is again

match = again.match("KNOWNx-12")
assert match.groupdict() == {"first": "KNOWNx", "second": "12"} and match.lastgroup == "second"
assert again.groupindex == {"first": 1, "second": 2} and again.flags == re.compile(text + "(?:)", re.I).flags
assert again.sub(r"\g<second>\1", "knowna-1") == "1knowna"

# Other flags, another type, a subclass: others, or stock's.
assert stock(text, 0) == re.compile(text) and re.compile(text) != again
class Text(str): pass
re.purge()
before = served()
assert re.compile(Text(text), re.I) == again and re.compile(Text(text), re.I).pattern.__class__ is Text
assert served() == before
assert re.compile(text.encode(), re.I) != again

for i in range(re._MAXCACHE * 2):
    re.compile(f"x{i}")
assert len(re._cache) <= re._MAXCACHE and re.compile(text, re.I) == again and served() == before + 1
""")


def both(lesson, code, env=None):
    """What code shows on both sides, where the patterns of the module `known` are served."""
    code = textwrap.dedent(code)
    env = env or lesson.env()
    results = [run("-c", code, env=env) for run in (lesson.pair.run_stock, lesson.pair.run_shim)]
    stock, shim = (harness.shown(result) for result in results)
    harness.assert_same(lesson.pair.neutral(shim), lesson.pair.neutral(stock))
    assert "Traceback" not in stock
    return results[1].stdout


def test_debug_output_traces_and_inspection_are_stocks(one_lesson):
    both(one_lesson, r"""
        import known, re, sys, inspect
        text = known.word.pattern
        re.compile(text, re.I | re.DEBUG)
        calls = []
        def trace(frame, event, argument):
            calls.append((event, frame.f_code.co_name, frame.f_lineno))
            return trace
        re.purge()
        sys.settrace(trace)
        re.compile(text, re.I)
        sys.settrace(None)
        print(len(calls), calls[:60])
        compile = re._compiler.compile
        print(inspect.signature(compile), inspect.getsource(compile), compile.__defaults__, compile.__doc__, compile.__code__.co_names,
              compile.__code__.co_varnames, list(compile.__code__.co_lines())[-1][2], compile.__module__, type(compile))
        for arguments in [(), (1,), (text, "x"), (text, 2, 3), (None,)]:
            try:
                compile(*arguments)
            except Exception as error:
                print(type(error), error)
        print(compile(p=text, flags=2) == known.word)
        """)


def test_what_the_parser_imports_to_decode_bytes_is_imported(lessons):
    """In development mode, and in a debug build, CPython looks at the name of the codec, and so imports it."""
    lessons.write("known", KNOWN)
    lessons.warm()
    lessons.learn("import known", known_of(lessons))
    look = "import sys; before = 'encodings.latin_1' in sys.modules; import known; print(before, 'encodings.latin_1' in sys.modules)"
    for flags in ([], ["-X", "dev"]):
        lessons.pair.same(*flags, "-c", look, env=lessons.env())


@pytest.mark.parametrize(
    "patch",
    [
        "re._parser.parse = lambda *arguments: seen.append('parse') or parse(*arguments)",
        "re._compiler._code = lambda *arguments: seen.append('code') or code(*arguments)",
        "re._parser._parse = lambda *arguments: seen.append('_parse') or _parse(*arguments)",
        "_sre.compile = lambda *arguments: seen.append('_sre') or sre(*arguments)",
        "re._compiler._sre = type('T', (), {'__getattr__': lambda self, name: seen.append(name) or getattr(_sre, name)})()",
        "re._compiler.compile = lambda *arguments: seen.append('compile') or compiled(*arguments)",
        "re._compiler.isstring = lambda text: seen.append('isstring') or True",
    ],
)
def test_a_program_that_replaces_a_part_of_re_has_its_own_called(one_lesson, patch):
    shown = both(one_lesson, f"""
        import known, re, _sre
        parse, code, _parse, sre = re._parser.parse, re._compiler._code, re._parser._parse, _sre.compile
        compiled = re._compiler.compile
        seen = []
        {patch}
        re.purge()
        print(re.compile(known.word.pattern, re.I) == known.word, re.compile(known.octets.pattern) == known.octets, seen)
        """)
    assert "[]" not in shown


def test_another_re_in_front_of_the_librarys_compiles_by_itself(one_lesson, tmp_path):
    own = tmp_path / "own"
    source = os.path.join(one_lesson.pair.interpreter.stdlib(), "re")
    shutil.copytree(source, own / "re")
    parser = own / "re" / "_parser.py"
    parser.write_text(parser.read_text() + "\n_old = parse\ndef parse(str, flags=0, state=None):\n    print(str)\n    return _old(str, flags, state)\n")
    env = one_lesson.env(own, one_lesson.directory)
    one_lesson.warm(own)
    for _ in range(3):
        assert "known[a-z]" in both(one_lesson, "import re, known", env=env)
    assert one_lesson.count("import known", env) == 0


def test_what_does_not_compile_or_warns_or_depends_on_the_locale_is_left_to_stock(lessons):
    lessons.write("odd", r"""
        import re, warnings
        good = re.compile("oddly good+")
        shown = []
        for text, flags in [("odd(", 0), ("odd[[a]", 0), ("oddly(?i)", 0), (b"odd[a-z]", re.L), (b"(?L)odd", 0),
                            ("odd\\q", 0), (b"oddly", re.U), ("x" * 9000, 0), ("odd\ud800\U0001f600\u0130[\u0131-\u017f]", re.I)]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    shown.append(repr(re.compile(text, flags)))
                except Exception as error:
                    shown.append(f"{type(error).__name__} {error} {getattr(error, 'pos', None)}")
            shown += [f"{warning.category.__name__} {warning.message} {warning.lineno}" for warning in caught]
        """)
    lessons.warm()
    lessons.learn("import odd", 2)
    assert both(lessons, "import odd; print(odd.shown)").count("Warning") >= 1
    assert lessons.count("import odd") == 2


def test_a_re_that_was_imported_before_is_looked_at(lessons, tmp_path):
    """By a .pth line that comes before ours. One that is not the library's is left alone."""
    lessons.write("known", KNOWN)
    lessons.warm()
    lessons.learn("import known", known_of(lessons))
    site = lessons.pair.site(lessons.pair.shim)
    early = site / "0-early.pth"
    early.write_text("import re\n")
    try:
        assert lessons.count("import known") == known_of(lessons)
        own = tmp_path / "own"
        shutil.copytree(os.path.join(lessons.pair.interpreter.stdlib(), "re"), own / "re")
        env = lessons.env(own, lessons.directory)
        assert lessons.count("import known, re; assert 'own' in re.__file__", env) == 0
    finally:
        early.unlink()


def test_it_can_be_switched_off(make_daemon, one_lesson):
    code = "import known"
    assert one_lesson.count(code) == 2
    assert one_lesson.count(code, one_lesson.env(SHIMPORT_REGEX="off")) == 0
    config = "[daemon]\nRegex=off\n"
    off = Lessons(make_daemon(name="off", config=config), one_lesson.pair, one_lesson.directory)
    off.warm()
    generation = generation_of(off)
    for _ in range(3):
        assert off.count(code) == 0
    time.sleep(2)
    assert generation_of(off) == generation


def test_a_warm_makes_the_programs_at_once(new_lesson):
    new_lesson.write("early", "import re\nearly = re.compile('early early?')\n")
    new_lesson.warm()
    assert [new_lesson.count("import known, early") for _ in range(2)] == [2, 2]
    new_lesson.warm()
    assert new_lesson.count("import known, early") == 3


def test_an_edit_of_the_module_has_its_patterns_made_anew(new_lesson):
    new_lesson.write("known", KNOWN.replace("known", "newer"))
    new_lesson.learn("import known; assert known.octets.pattern[:5] == b'newer'", 2)
    texts = new_lesson.pattern_texts()
    assert "(?P<first>newer[a-z]+)-(?P<second>\\d+)" in texts and not any("known" in text for text in texts)


def test_programs_are_taken_over_when_another_module_changes(new_lesson):
    for number in range(3):
        generation = max(image["generation"] for image in new_lesson.daemon.status()["images"])
        new_lesson.write("other", f"x = {number}")
        harness.wait_until(
            lambda: max(image["generation"] for image in new_lesson.daemon.status()["images"]) > generation, "an image"
        )
        assert new_lesson.count("import known, other") == 2


def test_a_text_that_its_module_does_not_show_is_in_no_image(new_lesson):
    new_lesson.write("private", r"""
        import os, re
        shown = re.compile(r"quite public[a-z]*")
        template = re.compile(r"prefix-%s-%s\d+suffix" % ("one", "three"))
        secret = re.compile(os.environ["SECRET"])
        mixed = re.compile("quite public[a-z]*" + os.environ["SECRET"])
        """)
    new_lesson.warm()
    env = new_lesson.env(SECRET="hunter2[0-9]+hunter2")
    new_lesson.learn("import known, private", 4, env)
    for _ in range(2):
        assert new_lesson.count("import known, private", env) == 4
    time.sleep(3)
    content = b"".join(new_lesson.images())
    assert b"quite public[a-z]*" in content and b"prefix-one-three" in content
    assert b"hunter2" not in content


# -- bad input ---------------------------------------------------------------------------------------------------------


def memory(pid):
    """KiB of a process's own, without the images that it looks at when they are made."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


def test_a_report_of_anything_changes_nothing(new_lesson):
    odd = [
        dict(text=b"known" * 4000),
        dict(text=b""),
        dict(text=b"abc", width=2),
        dict(text=b"\xff\xff\xff\xff", width=4),
        dict(text=b"abcd", width=3),
        dict(text=b"abcd", width=4_000_000_000),
        dict(text=b"known", flags=0xFFFFFFFF),
        dict(text=b"known", flags=4),
        dict(text=b"(((((known", flags=0),
        dict(text=b"known", files=()),
        dict(text=b"known", files=("/etc/passwd",)),
        dict(text=b"known", files=("../known.py", "known.py/", "", "known.py\0")),
        dict(text=b"known", files=("known.py",) * 50),
        dict(text=b"known+", files=("nothing.py",)),
        dict(text="(?i)[\U00010000-\U0010ffff]".encode("utf-32-le"), width=4),
    ]
    for _ in range(2):
        report(new_lesson.daemon, [pattern(generation_of(new_lesson), **each) for each in odd])
        report(new_lesson.daemon, [pattern(99, b"known")])
    time.sleep(3)
    new_lesson.run("""
        import known, re, _shimport
        assert known.word.match("knowna-1") and _shimport.status()["patterns"] == 2
        """)
    assert new_lesson.daemon.process.poll() is None


def test_patterns_that_take_long_do_not_hold_up_a_build(new_lesson):
    """Many classes of all characters, each of which has its case looked up."""
    slow = "".join("%d[\\0-\\uffff]" % number for number in range(60))
    new_lesson.write("slow", f'import re\nquick = re.compile("quick slow?")\nslow = re.compile("{slow}", re.I)\n')
    new_lesson.warm()
    new_lesson.learn("import slow, known", 3)
    assert new_lesson.count("import slow, known") == 3
    image = next(image for image in new_lesson.daemon.status()["images"] if image["root"] == str(new_lesson.directory))
    assert image["state"] == "served" and image["built_ms"] < 20_000


def test_a_flood_of_patterns_is_bounded_and_nobody_notices(own_lesson):
    """A hundred thousand different ones, each reported twice, in some ten seconds."""
    before = memory(own_lesson.daemon.pid)
    slowest = 0
    for number in range(400):
        if number % 50 == 0:
            generation = generation_of(own_lesson)
        texts = [b"known%d_%d" % (number, i) for i in range(250)]
        for _ in range(2):
            report(own_lesson.daemon, [pattern(generation, text) for text in texts])
        began = time.monotonic()
        own_lesson.daemon.status()
        slowest = max(slowest, time.monotonic() - began)
    assert memory(own_lesson.daemon.pid) - before < 16 * 1024
    assert slowest < 5
    assert own_lesson.count("import known") == 2
    status = own_lesson.daemon.status()
    assert status["builds_failed"] == 0 and all(image["bytes"] < 256 << 20 for image in status["images"])


def test_a_text_of_a_mebibyte_compiles_and_is_not_reported(new_lesson):
    new_lesson.write("large", "import re\nlarge = re.compile('large' * 209715)\n")
    new_lesson.warm()
    generation = generation_of(new_lesson)
    for _ in range(2):
        assert new_lesson.count("import large, known") == 2
    time.sleep(2)
    assert generation_of(new_lesson) == generation
