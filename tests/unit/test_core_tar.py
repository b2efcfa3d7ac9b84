"""The tar reader of deploys: what the standard library writes is read as it was meant, and everything else is refused by name."""

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.tar import (
    BLOCK_BYTES,
    BadArchiveError,
    Member,
    MemberKind,
    TarReader,
    is_end,
    padding_of,
    split_path,
)
from tests.fakes.tars import member, tar_of

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
# Names that a path may be made of; the longest needs the extended headers of each form.
WORDS = st.text("abcdefgh.-_ü雪 ", min_size=1, max_size=60).filter(lambda word: word not in {".", ".."})


def members_of(archive: bytes) -> Iterator[tuple[Member, bytes]]:
    stream, reader = io.BytesIO(archive), TarReader()
    while True:
        block = stream.read(BLOCK_BYTES)
        if is_end(block):
            return
        found = reader.header(block)
        size = reader.wanted
        content = stream.read(size)
        stream.read(padding_of(size))
        if found is None:
            reader.extend(content)
        else:
            yield found, content


@pytest.mark.parametrize("tar_format", FORMATS.values(), ids=FORMATS)
@settings(deadline=None)
@given(paths=st.lists(st.lists(WORDS, min_size=1, max_size=5), min_size=1, max_size=4), data=st.data())
def test_files_are_read_as_the_standard_library_writes_them(
    tar_format: int, paths: list[list[str]], data: st.DataObject
) -> None:
    files = {"/".join(path): data.draw(st.binary(max_size=1500)) for path in paths}
    try:
        archive = tar_of(files, tar_format)
    except ValueError:  # too long for the oldest form
        return
    read = {"/".join(found.parts): content for found, content in members_of(archive)}
    assert read == files


@pytest.mark.parametrize("tar_format", FORMATS.values(), ids=FORMATS)
def test_folders_and_what_can_be_executed_are_told(tar_format: int) -> None:
    folder, program = tarfile.TarInfo("pkg"), tarfile.TarInfo("pkg/run.sh")
    folder.type, program.mode = tarfile.DIRTYPE, 0o755
    found = [entry for entry, _ in members_of(tar_of({"pkg": folder, "pkg/run.sh": program}, tar_format))]
    assert [entry.kind for entry in found] == [MemberKind.FOLDER, MemberKind.FILE]
    assert [entry.is_executable for entry in found] == [False, True]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "FIFO"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"V", "unknown kind"),
    ],
)
def test_what_is_no_file_and_no_folder_is_named_and_refused(kind: bytes, words: str) -> None:
    (found,) = (entry for entry, _ in members_of(tar_of({"odd": member(kind, "main.py")})))
    assert found.name == "odd"
    assert words in (found.trouble or "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("../up", "leads out"),
        ("a/../../up", "leads out"),
        ("a//b", "plain"),
        ("a/./b", "plain"),
        ("a\nb", "control"),
        ("x" * 256, "more than"),
        ("/".join(["d"] * 33), "deep"),
    ],
)
def test_a_path_that_leads_out_or_is_odd_is_refused(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split_path(path.encode())


def test_a_name_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        split_path(b"caf\xe9.py")


@pytest.mark.parametrize("path", [b"./main.py", b"././main.py", b"main.py"])
def test_what_stands_in_front_of_a_path_and_means_nothing_is_left_out(path: bytes) -> None:
    assert split_path(path) == ("main.py",)


@pytest.mark.parametrize("path", [b".", b"./", b""])
def test_the_top_folder_itself_has_no_name(path: bytes) -> None:
    assert split_path(path) == ()


def test_a_damaged_header_is_no_member() -> None:
    archive = bytearray(tar_of({"main.py": b"x"}))
    archive[0] ^= 1
    with pytest.raises(BadArchiveError, match="damaged"):
        list(members_of(bytes(archive)))


def test_an_extended_header_may_not_fill_the_memory() -> None:
    archive = tar_of({"main.py": b""}, tarfile.PAX_FORMAT)
    info = tarfile.TarInfo("head")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(BadArchiveError, match="too large"):
        list(members_of(info.tobuf(tarfile.USTAR_FORMAT) + archive))


@pytest.mark.parametrize(
    "content", [b"9 path=a", b"0 path=a\n", b"path=a\n", b"99 path=a\n", b"11 path=ab", b"8 pathxa\n"]
)
def test_an_extended_header_that_is_none_is_refused(content: bytes) -> None:
    info = tarfile.TarInfo("head")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    padded = content + b"\1" * padding_of(len(content))
    with pytest.raises(BadArchiveError, match="extended header"):
        list(members_of(info.tobuf(tarfile.USTAR_FORMAT) + padded))


@settings(deadline=None)
@given(st.binary(max_size=4 * BLOCK_BYTES))
def test_noise_ends_in_a_refusal_and_nothing_else(noise: bytes) -> None:
    try:
        list(members_of(noise))
    except BadArchiveError:
        return
    assert is_end(noise[:BLOCK_BYTES])


@settings(deadline=None)
@given(st.data())
def test_an_archive_with_a_few_bytes_changed_never_yields_a_path_that_leads_out(data: st.DataObject) -> None:
    archive = bytearray(tar_of({"a/b.py": b"1" * 700, "c" * 120: b"2"}, tarfile.GNU_FORMAT))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = [entry for entry, _ in members_of(bytes(archive))]
    except BadArchiveError:
        return
    assert not {"..", ".", ""} & {part for entry in found for part in entry.parts}
