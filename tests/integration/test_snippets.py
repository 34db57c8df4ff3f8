# SPDX-License-Identifier: MIT
"""Code that modules write and have compiled: what comes out of an image is what stock compiles, and only what its modules
show gets there."""

import os
import time

import pytest

import harness
from lessons import Lessons, generation_of, pattern, report

SNIPPET, EVAL = 1 << 31, 1 << 30

# A module's code, as far as it can be told from another of the same text. What it does comes after.
DESCRIBE = """
import types
def described(code):
    names = [n for n in dir(code) if n.startswith('co_') and n not in ('co_lnotab', 'co_lines', 'co_positions', 'co_branches', 'co_consts')]
    return [(n, getattr(code, n)) for n in names] + [list(code.co_lines()), list(code.co_positions())] + [
        described(c) if isinstance(c, types.CodeType) else (type(c), c) for c in code.co_consts]
"""

WRITER = r'''
    from __future__ import annotations
    import collections, dataclasses, enum, typing

    Point = collections.namedtuple("Point", "alpha beta gamma", defaults=[7])

    @dataclasses.dataclass(order=True, frozen=True)
    class Thing:
        first: int
        second: typing.List[str] = dataclasses.field(default_factory=list)
        third: float = 1.5
        __hash__ = None

    class Pair(typing.NamedTuple):
        left: int
        right: str = "r"

    WRITTEN = """
    def written(first, *second, third=None, **fourth):
        'What it says.'
        left = lambda right: (first, right, third)
        class Inner(list):
            alpha = [beta for beta in range(3) if beta != 1]
            def gamma(self): return super().__len__()
        try:
            return left(second), Inner.alpha, f"{third!r:>5}", Inner().gamma(), 1e3, (1, 2, ('a', b'b')), {1, 2}.issuperset({1})
        finally:
            del left
    """
    namespace = {}
    exec(WRITTEN, namespace)
    written = namespace["written"]
    # Of these, the one with the name, the one in a class, and the one with what stands before it.
    code = compile(WRITTEN, "a name of its own", "exec")
    again = compile(WRITTEN, "a name of its own", "exec", 0, True)
    class Body:
        exec("alpha = 1\nbeta = alpha + 1")
        gamma = eval(" \t alpha, beta")
    evaluated = eval("first + second", {"first": 1}, {"second": 2})
    annotated = {}
    exec("def written(first: left.right) -> third: pass", annotated)
'''

# Parts of the texts that have to be in the image then.
TEXTS = (
    "lambda _cls, alpha, beta, gamma: ", "lambda _cls, left, right: ", "__init__(self,first", "def written(first, *second",
    "alpha = 1\nbeta = alpha + 1", "alpha, beta", "first + second", "def written(first: left.right)",
)


def learn(lessons, code, texts):
    """Have the code run until an image has snippets with all these texts: maybe that of the standard library, whose modules
    write some, and which has the words of others."""

    def known():
        lessons.run(code)
        found = lessons.pattern_texts(everywhere=True)
        return all(any(part in text for text in found) for part in texts)

    harness.wait_until(known, "the snippets to be in an image")


def learn_writer(lessons, word="alpha"):
    learn(lessons, "import writer", [text.replace("alpha", word) for text in TEXTS])


@pytest.fixture
def lessons(daemon, pair, tmp_path):
    if pair.interpreter.free_threaded:
        pytest.skip("free-threaded Python is left to stock")
    return made(daemon, pair, tmp_path / "room")


@pytest.fixture
def one(daemon, one_pair, tmp_path):
    return made(daemon, one_pair, tmp_path / "room")


def made(daemon, pair, directory):
    directory.mkdir()
    lessons = Lessons(daemon, pair, directory, "snippets")
    lessons.write("writer", WRITER)
    lessons.warm()
    return lessons


SHOW = DESCRIBE + r"""
import sys, writer
from writer import *
print(Point(1, 2), Point._fields, Point.__new__.__doc__, Point(1, 2)._replace(alpha=5), Point._field_defaults)
print(Thing(1), Thing(1) < Thing(2), Thing(1) == Thing(1), Pair(1), Thing.__init__.__qualname__, Thing.__init__.__annotations__)
print(written(1, 2, third=3), written.__doc__, written.__qualname__, written.__module__, Body.gamma, evaluated)
print(annotated['written'].__annotations__, WRITTEN.count('first'))
print(code is again, code == again, code.co_filename, again.co_filename, [c.co_filename for c in code.co_consts if hasattr(c, 'co_filename')])
print(described(code), described(written.__code__), described(Point.__new__.__code__), described(Thing.__init__.__code__))
print(compile('left', 'x', 'exec', 0x100000).co_flags, compile('left', 'x', 'exec', dont_inherit=True).co_flags)
try:
    exec("def alpha():\n    raise ValueError('beta')\nalpha()")
except ValueError as error:
    import traceback; traceback.print_exc()
for name in ('a\0b', 'caf\u00e9', '\udc80', ''):
    try: print(ascii(compile(WRITTEN, name, 'exec').co_filename))
    except ValueError as error: print(error)
for wrong in ('left right', '(', 'return', '1 +', '\0', 'x = \ud800', '"' * 3):
    for call in (exec, eval, lambda text: compile(text, 'file', 'exec')):
        try: print(call(wrong))
        except (SyntaxError, ValueError, UnicodeError) as error: print(type(error), error.args)
print(exec, eval, compile, exec.__text_signature__, eval.__doc__, compile.__name__, exec.__self__, exec.__module__)
import inspect, pickle, builtins
print(inspect.signature(compile), pickle.loads(pickle.dumps(exec)) is exec is builtins.exec, sys.getsizeof(exec))
try: exec('alpha = 1', 1)
except TypeError as error: print(error)
try: eval()
except TypeError as error: print(error)
"""


def test_what_comes_from_an_image_is_what_stock_compiles(lessons):
    learn_writer(lessons)
    lessons.pair.same("-c", SHOW, env=lessons.env())


def test_where_no_image_has_any_stock_compiles(lessons):
    lessons.pair.same("-c", SHOW, env=lessons.env(SHIMPORT_SNIPPETS="off"))


def test_it_can_be_switched_off(make_daemon, one):
    learn_writer(one)
    assert one.count("import writer", one.env(SHIMPORT_SNIPPETS="off")) == 0
    off = made(make_daemon(config="[daemon]\nSnippets=off\n"), one.pair, one.directory.parent / "off")
    for _ in range(3):
        assert off.count("import writer") == 0
    off.warm()
    assert off.pattern_texts() == []


def test_a_warm_compiles_at_once_what_two_have_reported(one):
    for _ in range(2):
        one.run("import writer")
    one.warm()
    found = one.pattern_texts(everywhere=True)
    assert [text for text in TEXTS if not any(text in one for one in found)] == []


def test_a_text_is_given_away_as_new_code_each_time(one):
    learn_writer(one)
    one.run("""
        import writer
        made = [compile(writer.WRITTEN, str(n), "exec") for n in range(3)]
        assert [code.co_filename for code in made] == ["0", "1", "2"] and len({id(code) for code in made}) == 3
        inner = [next(const for const in code.co_consts if hasattr(const, "co_filename")) for code in made]
        assert [code.co_filename for code in inner] == ["0", "1", "2"]
        import _shimport; assert _shimport.status()["snippets"] >= 8 + 3
        """)


def test_an_audit_hook_sees_every_text(one):
    learn_writer(one)
    code = """
seen = []
sys.addaudithook(lambda event, args: seen.append((event, str(args[0])[:200])) if event in ('compile', 'exec') else None)
import writer
print(len([event for event, text in seen if event == 'compile']), [text for event, text in seen if event == 'compile'][-6:])
"""
    one.pair.same("-c", code, env=one.env())


def test_another_exec_is_the_programs_own(one):
    learn_writer(one)
    code = """
import builtins
old = builtins.exec, builtins.eval, builtins.compile
builtins.exec = lambda *args: (print('exec', str(args[0])[:60]), old[0](*args))[1] if isinstance(args[0], str) else old[0](*args)
builtins.eval = lambda *args: (print('eval', str(args[0])[:60]), old[1](*args))[1]
builtins.compile = lambda *args: (print('compile', args[1:]), old[2](*args))[1]
try:
    import writer
except NameError as error: # those were called from another frame
    print(error)
"""
    one.pair.same("-c", code, env=one.env())


def test_future_statements_of_the_caller_count(lessons):
    lessons.write("with_future", """
        from __future__ import annotations
        namespace = {}
        for _ in range(2):
            exec("def written(first: int): pass", namespace)
        print(namespace["written"].__annotations__)
        """)
    lessons.write("without", """
        namespace = {}
        for _ in range(2):
            exec("def written(first: int): pass", namespace)
        print(namespace["written"].__annotations__)
        """)
    lessons.warm()
    learn(lessons, "import with_future, without", ["def written(first: int)"])
    lessons.pair.same("-c", "import with_future, without", env=lessons.env())


def test_a_text_that_its_modules_do_not_show_is_in_no_image(one):
    one.write("private", """
        import os
        exec("quite_public = 1")
        exec("%s_public_%s = 2" % ("quite", "suffix"))
        exec(f"quite_public = {os.environ['SECRET']!r}")
        exec("quite_public" + os.environ["SECRET"] + " = 3")
        exec("quite_public = " + repr(os.environ["SIGNS"]))
        exec("quite_public = 4 # " + os.environ["SIGNS"])
        """)
    one.warm()
    env = one.env(SECRET="hunter2hunter", SIGNS="$%&!/")
    for _ in range(2):
        one.pair.run_shim("-c", "import private", env=env, check=True)
    time.sleep(3)
    one.warm()
    texts = one.pattern_texts()
    assert "quite_public = 1" in texts and "quite_public_suffix = 2" in texts
    content = b"".join(one.images())
    for secret in (b"hunter2", b"$%&!/"):
        at = content.find(secret)
        assert at < 0, content[max(0, at - 200) : at + 200]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
def test_another_users_image_answers_for_nobody_elses_texts(daemon, one_pair, public):
    """Who only has Alice's directory in sys.path does not run what her image says that a text comes to."""
    alice = 4321
    directory = public / "alices"
    directory.mkdir()
    lessons = Lessons(daemon, one_pair, directory, "snippets")
    path = lessons.write("hers", "namespace = {}\nexec('alices_own_word = 1', namespace)\n")
    for each in (directory, path):
        os.chown(each, alice, alice)
    lessons.warm()
    learn(lessons, "import hers", ["alices_own_word = 1"])
    code = (
        "import sys, pkgutil, _shimport\npkgutil.get_importer(sys.path[1])\nbefore = _shimport.status()['snippets']\n"
        "exec('alices_own_word = 1')\nprint(_shimport.status()['snippets'] - before)"
    )
    as_alice = ["setpriv", f"--reuid={alice}", f"--regid={alice}", "--clear-groups"]
    assert harness.run([*as_alice, one_pair.shim, "-B", "-c", code], env=lessons.env(), cwd="/", check=True).stdout == "1\n"
    assert lessons.run(code).stdout == "0\n"


def test_what_does_not_compile_or_warns_is_left_to_stock(one):
    one.write("odd", r"""
        import warnings
        warnings.simplefilter("always")
        for odd in ("odd odd", "odd = '\\q'", "odd is 1", "odd(", "None = odd"):
            try:
                exec(odd)
            except (SyntaxError, NameError) as error:
                print(error)
        exec("odd = 1")
        """)
    one.warm()
    learn(one, "import odd", ["odd = 1"])
    assert one.pattern_texts() == ["odd = 1"]
    one.pair.same("-c", "import odd", env=one.env())


def test_an_edit_has_the_module_s_snippets_made_anew(one):
    learn_writer(one)
    one.write("writer", WRITER.replace("alpha", "delta"))
    learn_writer(one, "delta")
    one.pair.same("-c", SHOW.replace("alpha=", "delta="), env=one.env())


def nested_finally(depth):
    """What the compiler would take minutes and gigabytes for."""
    lines = []
    for level in range(depth):
        blanks = " " * level
        lines += [f"{blanks}try:", f"{blanks} if first: return", f"{blanks} if first: return", f"{blanks}finally:"]
    return "\n".join(["def first():", *(" " + line for line in lines), " " * (depth + 1) + "first"]).encode()


def test_a_report_of_anything_changes_nothing(make_daemon, one_pair, tmp_path):
    one = made(make_daemon(), one_pair, tmp_path / "room")
    learn_writer(one)
    before = set(one.pattern_texts(everywhere=True))
    deep = [b"(" * 8000, b"-" * 8000 + b"first", b"[" * 100 + b"]" * 100, b"first\n" * 1300, b"if first:\n" + b" if first:\n" * 700,
            b"lambda:" * 1100 + b"first", b"not " * 2000 + b"first", b"first." * 1300 + b"first", b"first**" * 1100 + b"first",
            b"try: first\nfinally:\n try: first\n finally:\n  try: first\n  finally: first", nested_finally(15), b"y" * 4000 + b"_" * 4000,
            b"f'{" * 1000, b"'" + b"{" * 5000, b"\\\n" * 4000, b"\0", b"first = 1\0", b"\xff" * 100, b"9" * 5000, b"first\f" * 1000]
    odd = [dict(text=text, flags=SNIPPET | mode | futures) for text in deep for mode in (0, EVAL) for futures in (0, 0xFF)]
    odd += [
        dict(text=b"first = 1", flags=SNIPPET | 1 << 29),
        dict(text=b"first = 1", flags=SNIPPET | 0x1FF),
        dict(text=b"first = 1", width=0, flags=SNIPPET),
        dict(text="first = '\ud800'".encode("utf-16-le", "surrogatepass"), width=2, flags=SNIPPET),
        dict(text=b"first = 1", flags=SNIPPET, files=("nothing.py",)),
        dict(text=b"first = 1", flags=SNIPPET, files=("writer.py\nother.py",)),
    ]
    for each in odd:
        each.setdefault("files", ("writer.py",))
    for _ in range(2):
        for at in range(0, len(odd), 8):
            report(one.daemon, [pattern(generation_of(one), **each) for each in odd[at : at + 8]])
        time.sleep(0.2)
    began = time.monotonic()
    one.warm()
    assert time.monotonic() - began < 30
    assert before <= set(one.pattern_texts(everywhere=True))
    one.pair.same("-c", SHOW, env=one.env())
    status = one.daemon.status()
    assert status["builds_failed"] == 0, status


def test_exec_in_a_program_without_imports_reports_nothing(one):
    generation = generation_of(one)
    for _ in range(3):
        one.run("for n in range(50): exec('first = 1')")
    time.sleep(2)
    assert generation_of(one) == generation


BUILDER = r"""
import marshal, sys
from shimport import snippets
def told(text):
    try:
        snippets.parsed(text, 0)
        snippets.program(text, snippets.SNIPPET)
    except snippets.Declined as why:
        return str(why)
code = compile("def f(alpha, beta): return 'gamma delta', 'twice', 'quiet', 'password'", "x", "exec")
shows = lambda text: snippets.Vocabulary().shows(text, 0, {"module": marshal.dumps(code)})
"""


def ask_builder(pair, expression):
    env = pair.daemon.env(PYTHONPATH=str(harness.BUILD / "python"))
    return pair.run_stock("-c", f"{BUILDER}print({expression})", env=env, check=True).stdout.strip()


@pytest.mark.parametrize(
    "text", ["r = [x for x in {8, 0, 16}]", "8 in {8, 0, 16}", "for x in {'a', 'b', 'c'}: pass", "a = '\\N{EM DASH}'", "caf\u00e9 = 1"]
)
def test_what_marshal_or_a_compiler_elsewhere_would_change_is_left_to_processes(one_pair, text):
    assert ask_builder(one_pair, f"told({text!r})") != "None"


@pytest.mark.parametrize("text", ["'a' in {'a', 'b', 'c'}", "{'a', 'b'}", "a = 1", "def f():\n try:\n  return 1\n finally:\n  pass"])
def test_what_survives_is_compiled(one_pair, text):
    assert ask_builder(one_pair, f"told({text!r})") == "None"


def test_a_text_that_takes_the_compiler_long_is_declined_at_once(one_pair):
    leaves = "\n".join(["  if id: return"] * 250)
    enters = f"  async with {','.join(['id'] * 17)}:\n" + "\n".join(["   if id: return"] * 240)
    text = f"async def id():\n try:\n{leaves}\n finally:\n{enters}"
    start = time.monotonic()
    assert ask_builder(one_pair, f"told({text!r})") == "it would take long"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "text, shown",
    [
        ("p = 'gamma delta'", True), ("p = ', alpha='", True), ("alpha_beta = 1", True),
        ("p = 'delta gamma'", False), ("p = 'twice quiet password'", False), ("p = 'twicequiet'", False), ("p = 's3cr3t'", False),
    ],
)  # fmt: skip
def test_words_are_not_put_together_to_strings(one_pair, text, shown):
    assert ask_builder(one_pair, f"shows({text!r})") == str(shown)


def test_code_has_the_interpreters_own_file_name_and_interrupts_as_a_text_does(pair, lessons):
    lessons.write(
        "odd",
        """
        import marshal, os
        namespace, name = {}, "".join(["<str", "ing>"])
        exec("def odd_one(): return 1.5, 'alpha'", namespace)
        print(marshal.dumps(namespace["odd_one"].__code__))
        code = compile("namespace + name", name, "eval")
        print(code.co_filename is name, marshal.dumps(code))
        if "STOP" in os.environ:
            try:
                exec("raise KeyboardInterrupt", {})
            except KeyboardInterrupt:
                print("caught")
        """,
    )
    env = lessons.env(STOP="1")

    def known():
        pair.run_shim("-c", "import odd", env=env)
        found = lessons.pattern_texts(everywhere=True)
        return all(any(text in one for one in found) for text in ("odd_one", "namespace + name", "raise KeyboardInterrupt"))

    harness.wait_until(known, "the snippets to be in an image")
    assert "snippets': 3" in pair.run_shim("-c", "import odd, _shimport; print(_shimport.status())", env=env).stdout
    pair.same("-c", "import odd", env=env)
