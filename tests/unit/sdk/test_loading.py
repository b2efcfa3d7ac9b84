"""How an author's file is imported: under its own name, with its siblings, and with an error that says what is wrong with it."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chutes._loading import load, load_noting
from chutes._manifest import describe
from chutes.errors import LoadError, RegistrationError

CHUTE = "from chutes import Chute\nchute = Chute(username='me', name='loaded')\n"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "authors_file.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_chute_of_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    file = write(tmp_path, CHUTE + "app = Chute(username='me', name='other')\n")
    assert load(file).name == "loaded"
    assert load(file, "app").name == "other"


def test_a_file_finds_its_siblings(tmp_path: Path) -> None:
    write(tmp_path, "NAME = 'from the sibling'\n", "the_sibling.py")
    assert load(write(tmp_path, CHUTE + "from the_sibling import NAME\nchute.found = NAME\n")).found == (
        "from the sibling"
    )


def test_what_a_file_defines_can_be_pickled(tmp_path: Path) -> None:
    chute = load(write(tmp_path, CHUTE + "class Model: ...\nchute.model = Model()\n"))
    assert type(pickle.loads(pickle.dumps(chute.model))) is type(chute.model)


def test_each_load_is_a_fresh_import(tmp_path: Path) -> None:
    file = write(tmp_path, CHUTE)
    assert load(file) is not load(file)


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        file = write(tmp_path / folder, CHUTE + f"chute.folder = {folder!r}\n")
        assert load(file).folder == folder


def test_a_file_named_like_a_module_in_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="named like the module 'json', which is in use: rename the file"):
        load(write(tmp_path, CHUTE, "json.py"))
    with pytest.raises(LoadError, match="named like the module 'chutes'"):
        load(write(tmp_path, CHUTE, "chutes.py"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has nothing under the name 'chute'; its chutes are: none"),
        ("chute = 5", r"has something else \(int\) under"),
        ("from chutes import Chute as chute", r"has something else \(type\) under"),
    ],
)
def test_a_file_without_a_chute_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        load(write(tmp_path, text))


def test_a_chute_of_another_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="its chutes are: chute"):
        load(write(tmp_path, CHUTE), "app")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="there is no file"):
        load(str(tmp_path / "absent.py"))
    with pytest.raises(LoadError, match="there is no file"):
        load(str(tmp_path))


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"its name must end in \.py"):
        load(write(tmp_path, CHUTE, "main.txt"))


@pytest.mark.parametrize(
    ("text", "error"),
    [("import nowhere_to_be_found", ImportError), ("(", SyntaxError), ("1 / 0", ZeroDivisionError)],
)
def test_what_a_file_raises_comes_through_as_it_is(tmp_path: Path, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load(write(tmp_path, text))


def test_a_file_that_failed_can_be_loaded_once_it_is_mended(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        load(write(tmp_path, "1 / 0"))
    # A later second, or the interpreter takes the bytecode of the first for this one's.
    assert load(write(tmp_path, CHUTE + "# longer, so no stale bytecode fits\n")).name == "loaded"


REFUSED_TWICE = CHUTE + (
    "@chute.job(timeout=1)\nasync def one(self): ...\n"
    "@chute.cord('no path')\nasync def two(self): ...\n"
    "@chute.job()\nasync def three(self): ...\n"
)


def test_one_refused_function_ends_the_file(tmp_path: Path) -> None:
    with pytest.raises(RegistrationError, match="job 'one'"):
        load(write(tmp_path, REFUSED_TWICE))


def test_a_deploy_hears_of_all_of_them(tmp_path: Path) -> None:
    described = describe(load_noting(write(tmp_path, REFUSED_TWICE)))
    assert [(each["kind"], each["function"]) for each in described["refused"]] == [
        ("job", "one"),
        ("cord", "two"),
    ]
    assert [job["name"] for job in described["jobs"]] == ["three"]
