# SPDX-License-Identifier: MIT
"""A project with many trivial tests, for what running pytest costs before and beside the tests themselves."""

FILES = 50
TESTS = 10  # in each file

TEST = '''
def test_{n}_{m}():
    assert {n} + {m} == {sum}
'''


def make(directory):
    """Returns the statements that run the tests."""
    tests = directory / "suite" / "tests"
    tests.mkdir(parents=True)
    (tests.parent / "pytest.ini").write_text("[pytest]\n")
    for n in range(FILES):
        text = "".join(TEST.format(n=n, m=m, sum=n + m) for m in range(TESTS))
        (tests / f"test_part{n}.py").write_text(text)
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tests.parent), str(tests)]
    return f"import pytest\nif pytest.main({arguments!r}): raise SystemExit('a test failed')"
