"""Fetched files land below one folder and nowhere else."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.folders.names import to_bytes, to_text
from agent.cli.landing import HostileNameError, LandingRefusedError, open_landing, parts_of

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def land(root: Path, path: str, mode: int = 0o644) -> None:
    with open_landing(root) as landing, landing.place(path) as place:
        with place.part(DIGEST) as part:
            part.write(CONTENT)
        place.commit(DIGEST, mode)


def test_a_file_lands_whole_with_its_folders_and_nothing_else_beside_it(tmp_path: Path) -> None:
    land(tmp_path / "new" / "root", "a/b/c.txt")
    assert (tmp_path / "new/root/a/b/c.txt").read_bytes() == CONTENT
    assert names(tmp_path / "new/root/a/b") == ["c.txt"]


def test_of_a_mode_only_executable_is_kept(tmp_path: Path) -> None:
    land(tmp_path, "plain", 0o666)
    land(tmp_path, "tool", 0o4755)
    assert (tmp_path / "plain").stat().st_mode & 0o7111 == 0
    assert (tmp_path / "tool").stat().st_mode & 0o7111 & ~0o011 == 0o100


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a//b",
        "",
        ".",
        "a/.",
        "%2E%2E/x",
        "%2e%2e/x",
        "a%2F..%2F..%2Fx",
        "a%00b",
    ],
)
def test_no_name_leads_out(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    with pytest.raises(HostileNameError):
        land(root, path)
    assert names(tmp_path) == ["root"]
    assert names(root) == []


def test_no_link_leads_out_neither_as_a_folder_nor_as_the_file(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "victim")
    (outside / "victim").write_text("precious")
    with pytest.raises(LandingRefusedError):
        land(root, "folder/x")
    with open_landing(root) as landing, landing.place("file") as place, pytest.raises(LandingRefusedError):
        place.digest()
    land(root, "file")
    assert (outside / "victim").read_text() == "precious"
    assert names(outside) == ["victim"]
    assert not (root / "file").is_symlink()


def test_what_is_there_is_told_by_its_digest_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "have").write_bytes(CONTENT)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with open_landing(tmp_path) as landing:
        for path, digest in (("have", DIGEST), ("missing", None)):
            with landing.place(path) as place:
                assert place.digest() == digest
        for path in ("folder", "pipe"):
            with landing.place(path) as place, pytest.raises(LandingRefusedError):
                place.digest()


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("file")
    with pytest.raises(LandingRefusedError):
        land(tmp_path, "a/b")
    with pytest.raises(LandingRefusedError):
        land(tmp_path / "a", "b")


def test_a_part_is_found_again_by_its_content_and_not_by_another(tmp_path: Path) -> None:
    name = "n" * 255
    with open_landing(tmp_path) as landing, landing.place(name) as place:
        with place.part(DIGEST) as part:
            part.write(b"half")
        with place.part(DIGEST) as part:
            assert part.read() == b"half"
        with place.part("0" * 64) as part:
            assert part.read() == b""
        place.discard("0" * 64)
        place.commit(DIGEST, 0o644)
    assert names(tmp_path) == [name]


@given(st.binary(min_size=1, max_size=60))
def test_every_name_of_the_agents_list_lands_under_the_very_bytes_that_the_job_used(name: bytes) -> None:
    path = to_text(name)
    if to_bytes(path) is not None:  # what the agent can list
        assert b"/".join(parts_of(path)) == name
