"""chutes/_loading — finds the chute in an author's file. Judges nothing in it."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

from chutes._refusing import noting
from chutes.chute import Chute
from chutes.errors import LoadError

# Modules made here, by name: only these may be replaced by a later load.
_loaded: dict[str, ModuleType] = {}


def load(file: str, attribute: str = "chute") -> Chute:
    """Import the file and give its chute. What the file raises comes through as it is; LoadError is ours."""
    module = import_file(file)
    found = getattr(module, attribute, None)
    if not isinstance(found, Chute):
        what = "nothing" if found is None else f"something else ({type(found).__name__})"
        there = ", ".join(name for name, value in vars(module).items() if isinstance(value, Chute)) or "none"
        raise LoadError(f"{file} has {what} under the name {attribute!r}; its chutes are: {there}")
    return found


def load_noting(file: str, attribute: str = "chute") -> Chute:
    """As `load`, but refused functions are kept in `chute.refused_functions`, and the file goes on: so all are known at once."""
    with noting():
        return load(file, attribute)


def import_file(file: str) -> ModuleType:
    """Under its own module name and with its folder on sys.path, so that its siblings, pickles and subprocesses find it."""
    path = os.path.realpath(file)
    folder, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    if not os.path.isfile(path):
        raise LoadError(f"there is no file {file}")
    taken = sys.modules.get(name)
    if taken is not None and taken is not _loaded.get(name) and getattr(taken, "__file__", None) != path:
        raise LoadError(f"{file} is named like the module {name!r}, which is in use: rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is no Python file: its name must end in .py")
    if folder not in sys.path:
        sys.path.insert(1, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = _loaded[name] = module
    spec.loader.exec_module(module)
    return module
