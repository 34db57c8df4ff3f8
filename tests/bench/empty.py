# SPDX-License-Identifier: MIT
"""As many empty modules as the standard library script imports: what importlib's own work costs, and nothing else."""

MODULES = 642


def make(directory):
    """Returns the statements that import them, from a directory that is to be in sys.path."""
    directory.mkdir()
    for n in range(MODULES):
        (directory / f"empty{n}.py").write_text("")
    return "\n".join(f"import empty{n}" for n in range(MODULES))
