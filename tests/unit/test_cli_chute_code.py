"""What `chute deploy` sends: the same files as the same bytes, nothing that is no code, and links out of the folder never."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from agent.cli.chute_code import read_code
from agent.cli.refusals import BadArgumentError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "mine"
    for name in ("main.py", "pkg/a.py", ".git/config", "pkg/__pycache__/a.pyc", ".venv/bin/python", "run.sh"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / "run.sh").chmod(0o755)
    return home


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        return {info.name: info for info in tar.getmembers()}


def test_a_folder_is_sent_without_what_is_no_code(folder: Path) -> None:
    code = read_code(str(folder), None)
    assert list(members(code.archive)) == ["main.py", "pkg/a.py", "run.sh"]
    assert code.entry == "main.py:chute"


def test_the_same_files_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = read_code(str(folder), None).archive
    assert first[4:8] == bytes(4)  # the time that gzip has of it
    os.utime(folder / "main.py", (1, 1))
    folder.rename(tmp_path / "moved")
    assert read_code(str(tmp_path / "moved"), None).archive == first


def test_what_can_be_executed_stays_so(folder: Path) -> None:
    found = members(read_code(str(folder), None).archive)
    assert [found["run.sh"].mode, found["main.py"].mode] == [0o755, 0o644]
    assert {(info.mtime, info.uid, info.uname) for info in found.values()} == {(0, 0, "")}


def test_a_file_is_sent_alone_and_is_the_entry(folder: Path) -> None:
    code = read_code(f"{folder / 'main.py'}:mine", None)
    assert (list(members(code.archive)), code.entry) == (["main.py"], "main.py:mine")


def test_a_tarball_is_sent_as_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "code.tgz").write_bytes(b"whatever it is")
    code = read_code(str(tmp_path / "code.tgz"), "app.py:c")
    assert (code.archive, code.entry) == (b"whatever it is", "app.py:c")


def test_the_only_file_of_a_folder_is_the_entry(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    assert read_code(str(tmp_path), None).entry == "app.py:chute"
    assert read_code(f"{tmp_path}:mine", None).entry == "app.py:mine"
    (tmp_path / "other.py").write_text("")
    with pytest.raises(BadArgumentError, match="--entry"):
        read_code(str(tmp_path), None)
    assert read_code(str(tmp_path), "other.py").entry == "other.py:chute"


def test_a_link_to_a_file_of_the_folder_is_that_file(folder: Path) -> None:
    (folder / "same.py").symlink_to("main.py")
    found = members(read_code(str(folder), None).archive)
    assert found["same.py"].isfile()
    assert found["same.py"].size == found["main.py"].size


@pytest.mark.parametrize("target", ["/etc/passwd", "pkg", "nowhere", "../outside"])
def test_a_link_that_leads_elsewhere_is_never_followed(folder: Path, target: str) -> None:
    (folder.parent / "outside").write_text("secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(BadArgumentError, match="is a link"):
        read_code(str(folder), None)


def test_what_is_no_file_is_named(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadArgumentError, match="pipe is no file"):
        read_code(str(folder), None)


@pytest.mark.parametrize("target", ["nothing.py", "nothing", "main.txt"])
def test_what_is_not_there_is_said(tmp_path: Path, target: str) -> None:
    (tmp_path / "main.txt").write_text("")
    with pytest.raises(BadArgumentError):
        read_code(str(tmp_path / target), None)


def test_an_attribute_that_is_none_is_said(folder: Path) -> None:
    with pytest.raises(BadArgumentError, match="name of a chute"):
        read_code(f"{folder}:a.b", None)


@pytest.mark.slow
def test_too_much_code_is_refused_with_the_largest_files(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(os.urandom(33 << 20))
    with pytest.raises(BadArgumentError, match=r"weights\.bin \(33\.0 MiB\)"):
        read_code(str(folder), None)
