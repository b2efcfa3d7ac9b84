"""sdk/pytest_chutes — the authors' pytest plugin: the fixture chute_instance, async tests of chutes, `import chutes` without an installation.

Tests no chute itself. The published `chutes` package is left alone where it is installed, and so is pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest

SDK = Path(__file__).resolve().parent
MARKERS = (
    'chute("FILE:CHUTE"): the file, beside the test or below the root, and the chute in it that chute_instance gives',
    "integration: several parts together, as the jobs of a workflow",
)


class Place(NamedTuple):
    file: Path
    attribute: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "chute_file", "FILE or FILE:CHUTE of the fixture chute_instance, from the root on", default=""
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    # Before the author's conftest.py, which may import it as well.
    offer_chutes()


def pytest_configure(config: pytest.Config) -> None:
    offer_chutes()
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if not config.pluginmanager.hasplugin("asyncio"):
        config.addinivalue_line("markers", "asyncio: a coroutine, run in an event loop of its own")


def offer_chutes() -> None:
    """Where `import chutes` finds nothing, or a mere folder of that name, it finds ours."""
    found = importlib.util.find_spec("chutes")
    if (found is None or found.origin is None) and str(SDK) not in sys.path:
        # Last, so that nothing else that lies there hides anything of the author's.
        sys.path.append(str(SDK))


@pytest.fixture
def chute_instance(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The chute of the marker `chute`, else of the ini option `chute_file`; its file is imported anew for each test."""
    refuse_another_sdk()
    with imported_anew(asked_place(request)) as chute:
        yield chute


def refuse_another_sdk() -> None:
    ours, found = SDK / "chutes", Path(str(importlib.import_module("chutes").__file__)).resolve()
    if ours not in found.parents:
        pytest.fail(
            f"chute_instance gives chutes of gpu-agent's own `chutes` package, and `import chutes` finds {found} here. "
            "Run these tests in an environment without that one.",
            pytrace=False,
        )


def asked_place(request: pytest.FixtureRequest) -> Place:
    marker = request.node.get_closest_marker("chute")
    written = (
        str(marker.args[0]) if marker is not None and marker.args else request.config.getini("chute_file")
    )
    if not written:
        pytest.fail(
            'chute_instance does not know which chute: mark the test with @pytest.mark.chute("main.py:chute"), '
            "or write chute_file = main.py:chute into the ini file",
            pytrace=False,
        )
    file, colon, attribute = written.rpartition(":")
    file, attribute = (file, attribute) if colon else (written, "chute")
    folders = [request.config.rootpath] if marker is None else [request.path.parent, request.config.rootpath]
    for folder in folders:
        if (folder / file).is_file():
            return Place((folder / file).resolve(), attribute)
    looked = " and ".join(str(folder) for folder in folders)
    pytest.fail(f"chute_instance: there is no file {file}; looked for in {looked}", pytrace=False)


@contextmanager
def imported_anew(place: Place) -> Iterator[Any]:
    """What its import brought along out of its own folder goes with it, so that no test sees another's."""
    loading, errors = importlib.import_module("chutes._loading"), importlib.import_module("chutes.errors")
    name = place.file.stem
    # A test may have imported it by itself; that one is put back.
    own = sys.modules.pop(name) if is_file_of(sys.modules.get(name), place.file) else None
    before, path = set(sys.modules), list(sys.path)
    try:
        try:
            chute = loading.load(str(place.file), place.attribute)
        except (errors.LoadError, errors.RegistrationError) as refused:
            pytest.fail(f"chute_instance: {refused}", pytrace=False)
        yield chute
    finally:
        sys.path[:] = path
        for new in [each for each in set(sys.modules) - before if lies_beside(place.file, each)]:
            del sys.modules[new]
        if own is not None:
            sys.modules[name] = own


def lies_beside(file: Path, module: str) -> bool:
    """Not what an environment below the same folder has installed: some libraries can't be imported twice."""
    top = sys.modules.get(module.partition(".")[0])
    found = Path(str(getattr(top, "__file__", None)))
    return file.parent in {found.parent, *([found.parent.parent] if found.stem == "__init__" else [])}


def is_file_of(module: object, file: Path) -> bool:
    found = getattr(module, "__file__", None)
    return found is not None and Path(found).resolve() == file


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine that is marked `asyncio`, or is a test of a chute, where nobody else has taken it on."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or not is_for_us(pyfuncitem):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}
    asyncio.run(pyfuncitem.obj(**given))
    return True


def is_for_us(item: pytest.Function) -> bool:
    if item.get_closest_marker("anyio") is not None or item.get_closest_marker("trio") is not None:
        return False
    is_marked = any(item.get_closest_marker(name) is not None for name in ("asyncio", "integration"))
    return is_marked or "chute_instance" in item.fixturenames
