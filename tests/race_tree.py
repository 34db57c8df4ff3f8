# SPDX-License-Identifier: MIT
"""What tests/race.py changes: roots of modules, and every kind of change that an import can notice."""

import ctypes
import os
import pathlib
import py_compile
import shutil

import harness

NAMES = ["m0", "m1", "m2", "m3", "m4"]
PACKAGES = ["p0", "p1", "p2"]
IMPORTED = [*NAMES, *PACKAGES, *(f"{p}.{m}" for p in PACKAGES for m in ("m0", "m1", "sub", "sub.m0")), "tree", "tree.a"]
VERSIONS = ["1.0", "2.0", "3.0"]  # of what pip installs
IMPORTED += ["raced", *(f"raced.{harness.wheel_module(version)}" for version in VERSIONS)]
REAL = ["email", "json", "xml"]  # packages of the standard library, on two branches of the git work tree
SLOW = 600  # seconds for a program of others, on a machine with much else to do
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def exchange(one, other):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


class Tree:
    """Four roots and what can be done to them."""

    def __init__(self, directory, chance, python, watched):
        self.random = chance
        self.directory = directory
        self.count = 0
        self.above = directory / "above"
        self.roots = [self.above / "first", self.above / "second", directory / "git"]
        self.aside = directory / "aside"
        self.changes = [getattr(self, name) for name in dir(Tree) if name.startswith("change_")]
        if not watched:  # what stat cannot tell, see "Not covered" in PROTOCOL.md
            self.changes.remove(self.change_same_size_and_time)
        self.vanished = None  # how to bring back what is gone for a round
        for path in (*self.roots, self.aside):
            path.mkdir(parents=True)
        self.make_venv(python)
        self.make_git(self.roots[2], python)
        for root in self.roots[:2]:
            for name in NAMES[:3]:
                self.write(root / f"{name}.py")
            for name in PACKAGES[:2]:
                self.make_package(root / name)

    def text(self):
        self.count += 1
        return f"value = '{self.count:09}'\n"

    def write(self, path):
        path.write_text(self.text())

    def make_package(self, path):
        (path / "sub").mkdir(parents=True)
        for name in ("__init__", "m0", "m1", "sub/__init__", "sub/m0"):
            self.write(path / f"{name}.py")

    def make_git(self, root, python):
        self.git("init", "-q", "-b", "one")
        for branch in ("one", "two"):
            if branch == "two":
                self.git("checkout", "-q", "-b", branch)
            (root / "tree").mkdir(exist_ok=True)
            (root / "tree" / "__init__.py").write_text(f"value = '{branch}'\n")
            (root / "tree" / "a.py").write_text(f"value = '{branch} a'\n")
            if branch == "two":
                shutil.rmtree(root / "m4", ignore_errors=True)
                (root / "m4.py").write_text("value = 'two m4'\n")
            else:
                (root / "m4").mkdir()
                (root / "m4" / "__init__.py").write_text("value = 'one m4'\n")
            self.make_real(root / "real", branch, python)
            self.git("add", "-A")
            self.git("-c", "user.name=race", "-c", "user.email=race@localhost", "commit", "-qm", branch)

    def make_real(self, real, branch, python):
        """What people wrote; on the second branch each source differs, some are gone, and some have become packages."""
        if branch == "one":
            stdlib = harness.run([python, "-c", "import os; print(os.path.dirname(os.__file__))"], check=True).stdout.strip()
            for name in REAL:
                ignore = shutil.ignore_patterns("__pycache__", "tests")
                shutil.copytree(pathlib.Path(stdlib, name), real / name, ignore=ignore)
            (real / "__init__.py").write_text("")
        sources = sorted(real.rglob("*.py"))
        self.real = sorted({".".join(path.relative_to(real.parent).with_suffix("").parts) for path in sources})
        if branch == "one":
            return
        for n, path in enumerate(sources):
            path.write_bytes(path.read_bytes() + b"\nvalue = 'two'\n")
            if path.name != "__init__.py" and n % 7 == 0:
                path.unlink()
            elif path.name != "__init__.py" and n % 7 == 1:
                path.with_suffix("").mkdir()
                path.rename(path.with_suffix("") / "__init__.py")

    def make_venv(self, python):
        harness.run([python, "-m", "venv", "--without-pip", self.directory / "venv"], check=True)
        self.pip = [python, "-m", "pip", "--python", self.directory / "venv" / "bin" / "python3"]
        if harness.run([*self.pip, "--version"]).returncode:
            print(f"{python} has no pip: nothing is installed by it", flush=True)
            self.pip = None
        self.wheels = [harness.make_wheel(self.directory, version) for version in VERSIONS]
        self.roots.append(harness.Pair.site(self.directory / "venv" / "bin" / "python3"))

    def git(self, *arguments):
        harness.run(["git", "-C", self.roots[2], *arguments], check=True)

    def root(self):
        return self.random.choice(self.roots[:2])

    def place(self):
        """Somewhere a module may stand, in a package more often than not."""
        packages = [path.parent for path in self.root().glob("p*/**/__init__.py")]
        return self.random.choice([self.root(), *packages])

    def module(self):
        """A source that exists, or None."""
        found = sorted(path for path in self.root().rglob("*.py") if not path.is_dir())
        return self.random.choice(found) if found else None

    def open_module(self):
        """One that may be read and written: change_chmod() may have been there before."""
        module = self.module()
        if module and module.exists() and not os.access(module, os.R_OK | os.W_OK):
            module.chmod(0o644)
        return module

    def remove(self, path):
        if path.is_dir() and not path.is_symlink():
            for below in path.rglob("*"):
                if below.is_dir() and not below.is_symlink():
                    below.chmod(0o755)
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()

    def spare(self):
        """A path aside that nothing stands at."""
        self.count += 1
        return self.aside / f"spare{self.count}"

    # -- the changes --

    def change_write_in_place(self):
        if module := self.open_module():
            module.write_text(self.text() + "#" * self.random.randrange(40) + "\n")

    def change_same_size_and_time(self):
        module = self.open_module()
        if module and not module.is_symlink() and module.stat().st_nlink == 1:
            before = module.stat()
            text = module.read_text()
            new = self.text() + "#" * 100
            module.write_text(new[: max(len(text), 21)])
            os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))

    def change_write_and_rename(self):
        if module := self.module():
            spare = self.spare()
            self.write(spare)
            spare.rename(module)

    def change_rename(self):
        """To another name beside it, over what is there, or in exchange for it."""
        module = self.module()
        if module and module.exists():
            other = module.with_name(f"{self.random.choice(NAMES)}.py")
            if other.exists() and self.random.randrange(2):
                exchange(module, other)
            elif not other.is_dir():
                module.rename(other)

    def change_exchange_directories(self):
        paths = [root / name for root in self.roots[:2] for name in PACKAGES]
        paths = [path for path in paths if path.exists()]
        if len(paths) > 1:
            exchange(*self.random.sample(paths, 2))

    def change_sourceless(self):
        """The source of a module goes, and its bytecode takes its place."""
        module = self.open_module()
        if module and module.exists():
            try:
                py_compile.compile(str(module), cfile=str(module) + "c", doraise=True)
            except (py_compile.PyCompileError, OSError):
                return
            module.unlink()

    def change_delete(self):
        if module := self.module():
            module.unlink()

    def change_create(self):
        self.create(self.place() / f"{self.random.choice(NAMES)}.py")

    def create(self, path):
        self.remove(path)
        self.write(path)

    def change_shadow(self):
        """A module that stands in the second root appears in the first, or goes again."""
        path = self.roots[0] / f"{self.random.choice(NAMES)}.py"
        if path.exists():
            self.remove(path)
        else:
            self.create(path)

    def change_module_to_package_and_back(self):
        name = self.random.choice(NAMES + PACKAGES)
        root = self.root()
        package, module = root / name, root / f"{name}.py"
        if package.exists() or package.is_symlink():
            self.remove(package)
            self.create(module)
        else:
            self.remove(module)
            self.make_package(package)

    def change_directory_renamed_over(self):
        path = self.root() / self.random.choice(PACKAGES)
        spare = self.spare()
        self.make_package(spare)
        if path.is_dir() and not path.is_symlink():
            path.rename(self.spare())
        self.remove(path)
        spare.rename(path)

    def change_file_link(self):
        target = self.spare()
        self.write(target)
        self.age(target)
        path = self.place() / f"{self.random.choice(NAMES)}.py"
        self.remove(path)
        path.symlink_to(target)

    def age(self, path):
        """What changed a moment ago is not validated by stat, but left to stock: so it is made older, now and then."""
        if self.random.randrange(3):
            for below in (path, *path.rglob("*")):
                os.utime(below, (1e9 + self.count, 1e9 + self.count))

    def change_behind_a_link(self):
        links = [path for root in self.roots[:2] for path in root.rglob("*.py") if path.is_symlink() and path.exists()]
        if links:
            target = self.random.choice(links).resolve()
            target.chmod(0o644)
            self.random.choice([lambda: target.write_text(self.text() + "#\n"), target.unlink])()

    def change_directory_link(self):
        target = self.spare()
        self.make_package(target)
        self.age(target)
        path = self.root() / self.random.choice(PACKAGES)
        self.remove(path)
        path.symlink_to(target)

    def change_hard_link(self):
        source = self.spare()
        self.write(source)
        self.age(source)
        path = self.place() / f"{self.random.choice(NAMES)}.py"
        self.remove(path)
        os.link(source, path)

    def change_chmod(self):
        module = self.module()
        if module and module.exists():
            module.chmod(self.random.choice([0, 0o644, 0o600]))

    def change_chmod_directory(self):
        place = self.place()
        place.chmod(self.random.choice([0o700, 0o755]))

    def change_file_to_directory(self):
        path = self.root() / f"{self.random.choice(NAMES)}.py"
        if path.is_dir():
            self.remove(path)
            self.create(path)
        else:
            self.remove(path)
            path.mkdir()

    def change_syntax_error(self):
        if module := self.open_module():
            module.write_text("value = = 1\n")

    def change_compile(self):
        if module := self.module():
            try:
                py_compile.compile(str(module), doraise=True)
            except (py_compile.PyCompileError, OSError):
                pass

    def change_forget_compiled(self):
        for path in self.root().rglob("__pycache__"):
            shutil.rmtree(path)

    def change_branch(self):
        if self.random.random() < 0.3:
            self.git("checkout", "-q", "-f", self.random.choice(["one", "two"]))

    def change_pip(self):
        if not self.pip or self.random.randrange(12):
            return
        if self.random.randrange(4):
            options = ["--no-index", "--no-deps", "--no-cache-dir", "--force-reinstall", "--disable-pip-version-check"]
            harness.run([*self.pip, "install", *options, "-q", self.random.choice(self.wheels)], check=True, timeout=SLOW)
        else:
            harness.run([*self.pip, "uninstall", "-y", "-q", "raced"], check=True, timeout=SLOW)

    def change_directory(self):
        """A whole root is another directory, or one above it is."""
        path = self.random.choice([*self.roots[:2], self.above])
        if not self.random.randrange(10):
            spare = self.spare()
            for below in path.rglob("*.py"):  # what has lost its permissions cannot be copied
                if below.exists() and not below.is_symlink() and not os.access(below, os.R_OK):
                    below.chmod(0o644)
            shutil.copytree(path, spare, symlinks=True)
            for below in (spare, *spare.iterdir()):  # stock believes in the times of directories
                if below.is_dir() and not below.is_symlink():
                    os.utime(below)
            path.rename(self.spare())
            spare.rename(path)

    def vanish(self):
        """Something is gone, or locked, until the next round. Returns whether that is seen without asking."""
        path = self.random.choice([*self.roots[:2], self.above, self.root() / self.random.choice(PACKAGES)])
        if not path.is_dir() or path.is_symlink():
            return True
        if self.random.randrange(2):
            spare = self.spare()
            path.rename(spare)
            self.vanished = lambda: spare.rename(path)
            return True
        path.chmod(0)
        self.vanished = lambda: path.chmod(0o755)
        return path != self.above

    def change(self):
        """One or some of the changes. Returns their names, and whether they are seen without asking."""
        if self.vanished:
            self.vanished()
            self.vanished = None
        changes = self.random.choices(self.changes, k=self.random.choice([1, 1, 1, 2, 4]))
        for change in changes:
            change()
        seen = True if self.random.randrange(25) else self.vanish()
        if self.count % 500 == 0:
            self.tidy()
        return [change.__name__ for change in changes] + ["vanish"] * bool(self.vanished), seen

    def tidy(self):
        led_to = {link.resolve() for root in self.roots[:2] for link in root.rglob("*") if link.is_symlink()}
        for path in self.aside.iterdir():
            if not self.vanished and not any(path in (link, *link.parents) for link in led_to):
                self.remove(path)
