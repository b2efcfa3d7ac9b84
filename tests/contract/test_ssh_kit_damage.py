"""A kit on disk that is not as it was built, or that somebody else could change: never given out."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.ssh import KitFolder, find_kit
from agent.adapters.ssh.manifest import MANIFEST, hash_of
from agent.core.ssh_kit import KitTrouble, SshKit
from tests.ssh_kit import lay_kit
from tests.tries import tries

FILES = {"dropbear": b"a server", "lib/libc.so.6": b"a library", "start": b"#!/bin/sh\n"}
NOBODY = 65534
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def refusal(root: Path) -> str:
    found = find_kit(root)
    assert isinstance(found, KitTrouble), found
    return found.message


def replace_by_link(folder: Path) -> None:
    (folder / "dropbear").unlink()
    (folder / "dropbear").symlink_to(folder / "start")


def replace_by_fifo(folder: Path) -> None:
    (folder / "dropbear").unlink()
    os.mkfifo(folder / "dropbear", 0o644)


def move_behind_link(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another content": (
        lambda folder: (folder / "dropbear").write_bytes(b"a serveR"),
        "dropbear is not what",
    ),
    "a file gone": (lambda folder: (folder / "lib/libc.so.6").unlink(), "lib/libc.so.6 is missing, or"),
    "a file more": (lambda folder: (folder / "lib/evil.so").write_bytes(b""), "lib/evil.so is missing, or"),
    "a link more": (lambda folder: (folder / "lib/evil").symlink_to("/"), "lib/evil is missing, or"),
    "another mode": (lambda folder: (folder / "dropbear").chmod(0o755), "dropbear is not what"),
    "setuid": (lambda folder: (folder / "dropbear").chmod(0o4644), "dropbear is not what"),
    "others may write to a file": (
        lambda folder: (folder / "dropbear").chmod(0o666),
        "or others can write to it",
    ),
    "others may write to the kit": (lambda folder: folder.chmod(0o777), "or others can write to it"),
    "others may write to the place": (
        lambda folder: folder.parent.chmod(0o775),
        "or others can write to it",
    ),
    "a link instead of a file": (replace_by_link, "Too many levels of symbolic links"),
    "a pipe instead of a file": (replace_by_fifo, "dropbear is not a file"),
    "a link instead of the kit": (move_behind_link, "is a link"),
    "the manifest gone": (lambda folder: (folder / MANIFEST).unlink(), "No such file"),
    "the manifest changed": (
        lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b" "),
        "another hash than its name",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kit_that_is_not_as_it_was_built_is_not_given_out(tmp_path: Path, damage: str) -> None:
    folder = lay_kit(tmp_path, FILES)
    assert isinstance(find_kit(tmp_path), SshKit)
    act, words = DAMAGES[damage]
    act(folder)
    assert words in refusal(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damage_is_seen_by_who_has_looked_before(tmp_path: Path, damage: str) -> None:
    folder = lay_kit(tmp_path, FILES)
    kits = KitFolder(tmp_path)
    try:
        assert isinstance(await kits.look(), SshKit)
        act, words = DAMAGES[damage]
        act(folder)
        found = await kits.look()
    finally:
        kits.close()
    assert isinstance(found, KitTrouble)
    assert words in found.message


@NEEDS_ROOT
@pytest.mark.parametrize("name", ["dropbear", "."])
def test_a_kit_of_another_user_is_not_given_out(tmp_path: Path, name: str) -> None:
    os.chown(lay_kit(tmp_path, FILES) / name, NOBODY, NOBODY)
    assert f"belongs to user {NOBODY}" in refusal(tmp_path)


def test_a_kit_of_another_architecture_is_not_given_out(tmp_path: Path) -> None:
    lay_kit(tmp_path, FILES, "s390x")
    assert "it is for s390x, and this host is " in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "not written as one"), (b'{"format": 2}', "its format is 2"), (b"[]", "not written as one")],
)
def test_a_manifest_of_another_kind_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    folder = tmp_path / hash_of(content)
    folder.mkdir()
    (folder / MANIFEST).write_bytes(content)
    (tmp_path / "current").symlink_to(folder.name)
    assert words in refusal(tmp_path)


def test_a_folder_where_the_link_should_be_is_no_kit(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    assert refusal(tmp_path).startswith("there is no SSH kit")


def test_the_link_leads_nowhere_but_into_its_own_folder(tmp_path: Path) -> None:
    folder = lay_kit(tmp_path / "elsewhere", FILES)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "current").symlink_to(folder)
    assert f"the SSH kit {tmp_path}/here/" in refusal(tmp_path / "here")


@NEEDS_ROOT
def test_a_kit_on_a_disk_that_nothing_may_be_run_from_says_so(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=0755", "none", tmp_path], check=True)
    try:
        lay_kit(tmp_path, FILES)
        found = find_kit(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert isinstance(found, KitTrouble)
    assert "mounted noexec" in found.message
    assert "[ssh] kit" in found.remedy


@settings(max_examples=tries(100), deadline=None)
@given(st.data())
def test_no_changed_bit_of_any_file_is_ever_overlooked(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = lay_kit(Path(name), FILES)
        path = folder / data.draw(st.sampled_from([*FILES, MANIFEST]))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        assert isinstance(find_kit(Path(name)), KitTrouble)
