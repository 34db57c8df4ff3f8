# SPDX-License-Identifier: MIT
"""
The floor: what the imports of a script take when all code objects are in memory beforehand.

prelude() gives a script's beginning that unmarshals the code of all modules that the script is known to import, and
puts a finder in front that has their specs ready. What is left is what no importer can take away: creating modules
and executing their code.
"""

import json

import harness

# Prints the modules that a script imports from sources, in a line of their own.
LIST = """
import sys, json
from importlib.machinery import SourceFileLoader
found = []
for name, module in sys.modules.items():
    spec = getattr(module, "__spec__", None)
    if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.name == name:
        found.append((name, spec.origin, spec.submodule_search_locations is not None))
print("\\n" + json.dumps(found))
"""

PRELUDE = """
import sys, json, marshal, os, warnings
warnings.simplefilter("ignore")  # exec() below is in no module that is not __main__
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source, spec_from_file_location

class Loader(SourceFileLoader):
    def exec_module(self, module):
        exec(self.code, module.__dict__)

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return specs.pop(name, None)

specs = {{}}
for name, origin, is_package in json.loads({modules!r}):
    if name in sys.modules:
        continue
    loader = Loader(name, origin)
    with open(cache_from_source(origin), "rb") as file:
        loader.code = marshal.loads(file.read()[16:])
    locations = [os.path.dirname(origin)] if is_package else None
    specs[name] = spec_from_file_location(name, origin, loader=loader, submodule_search_locations=locations)
    specs[name].cached
sys.meta_path.insert(0, Finder)
"""


def prelude(python, statements, env):
    """The beginning of the script for this interpreter. Its modules have to have been compiled before."""
    listed = harness.run([python, "-c", statements + LIST], env=env, check=True).stdout
    return PRELUDE.format(modules=json.dumps(json.loads(listed.splitlines()[-1])))
