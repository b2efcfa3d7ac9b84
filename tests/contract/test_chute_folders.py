"""The promises of interfaces.ChuteFolders, on a real disk and in memory: whole or nothing, whatever the archive is."""

import asyncio
import gzip
import io
import stat
import tarfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders.chutes import ReceivedArchive
from agent.interfaces import ChuteFilesMissingError, ChuteFolders, SecretFiles, Unpacked
from agent.spec import DeployRefusedError
from tests.contract.folders_on_disk import mounted, names, opened
from tests.fakes.chute_folders import FakeChuteFolders
from tests.fakes.tars import MAIN, member, tar_of, twice

VERSION, OTHER = "0190b6a0-0000-7000-8000-00000000000a", "0190b6a0-0000-7000-8000-00000000000b"
DEPLOY = '{"image": "python", "secrets": "hush"}'


@pytest.fixture(params=["disk", "memory"])
async def chutes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChuteFolders]:
    if request.param == "memory":
        yield FakeChuteFolders()
        return
    async with opened(tmp_path) as folders:
        yield folders.chutes


async def unpack(chutes: ChuteFolders, archive: bytes, version: str = VERSION) -> Unpacked:
    received = await chutes.receive()
    try:
        for at in range(0, len(archive), 1000):
            await received.write(archive[at : at + 1000])
        return await chutes.unpack(received, version, DEPLOY)
    finally:
        await received.close()


def holders_of(folder: Path, secret: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


async def faults_of(chutes: ChuteFolders, archive: bytes) -> list[str]:
    with pytest.raises(DeployRefusedError) as refused:
        await unpack(chutes, archive)
    with pytest.raises(ChuteFilesMissingError):
        await chutes.deploy(VERSION)
    assert await chutes.names() == set()
    return [fault.message for fault in refused.value.faults]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_an_archive_is_unpacked_and_its_deploy_kept(chutes: ChuteFolders, packed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    found = await unpack(chutes, tar_of({"main.py": MAIN, "pkg/a.py": b"a"}, packed=packed))
    assert found.files == {"main.py", "pkg/a.py"}
    assert await chutes.deploy(VERSION) == DEPLOY


async def test_how_the_files_were_packed_says_nothing_of_them(chutes: ChuteFolders) -> None:
    plain = await unpack(chutes, tar_of({"main.py": MAIN, "a.py": b"a"}))
    packed = await unpack(chutes, tar_of({"./a.py": b"a", "./main.py": MAIN}, packed=True), OTHER)
    assert plain.digest == packed.digest


@pytest.mark.parametrize(
    "files", [{"main.py": b"other"}, {"other.py": MAIN}, {"main.py": MAIN, "more.py": b""}]
)
async def test_other_files_have_another_digest(chutes: ChuteFolders, files: dict[str, bytes]) -> None:
    one = await unpack(chutes, tar_of({"main.py": MAIN}))
    assert (await unpack(chutes, tar_of(files), OTHER)).digest != one.digest


async def test_all_members_that_are_refused_are_named_at_once(chutes: ChuteFolders) -> None:
    archive = tar_of(
        {
            "main.py": MAIN,
            "link": member(tarfile.SYMTYPE, "/etc/shadow"),
            "../up.py": b"",
            "/abs.py": b"",
            "pipe": member(tarfile.FIFOTYPE),
        }
    )
    told = await faults_of(chutes, archive)
    assert [line.partition(":")[0] for line in told] == ["link", "../up.py", "/abs.py", "pipe"]


async def test_a_name_that_is_there_twice_is_refused(chutes: ChuteFolders) -> None:
    assert await faults_of(chutes, twice("main.py", [b"shown", b"run"])) == ["main.py: is there twice"]


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}])
async def test_a_file_in_the_place_of_a_folder_is_refused(
    chutes: ChuteFolders, files: dict[str, bytes]
) -> None:
    assert len(await faults_of(chutes, tar_of(files))) == 1


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive at all" * 100,
        tar_of({}),
        tar_of({"main.py": MAIN})[:512],
        tar_of({"main.py": MAIN * 100})[:1024],
        gzip.compress(tar_of({"main.py": MAIN}))[:-12],
        b"\x1f\x8b" + b"junk" * 100,
        gzip.compress(b"") * 200,
        gzip.compress(tar_of({"main.py": MAIN})) + b"more",
        tar_of({"main.py": MAIN})[:1024],
    ],
    ids=[
        "empty",
        "noise",
        "no_file",
        "cut_in_header",
        "cut_in_file",
        "cut_gzip",
        "bad_gzip",
        "empty_gzips",
        "more_behind",
        "no_end",
    ],
)
async def test_what_is_no_whole_archive_is_refused_and_leaves_nothing(
    chutes: ChuteFolders, archive: bytes
) -> None:
    assert len(await faults_of(chutes, archive)) == 1


@pytest.mark.slow
async def test_a_bomb_is_refused_long_before_it_is_unpacked(chutes: ChuteFolders) -> None:
    bomb = tar_of({"zeros": bytes(129 << 20)}, packed=True)
    assert len(bomb) < 1 << 20
    assert "128 MiB" in (await faults_of(chutes, bomb))[0]


@pytest.mark.slow
async def test_too_many_files_are_refused(chutes: ChuteFolders) -> None:
    told = await faults_of(chutes, tar_of({f"{number}": b"" for number in range(10_001)}, packed=True))
    assert "10000" in told[-1]


@pytest.mark.slow
async def test_on_disk_folders_that_only_paths_name_count_as_those_that_are_members(tmp_path: Path) -> None:
    deep = ["/".join([str(number), *("d" * 30), "a.py"]) for number in range(400)]
    async with opened(tmp_path) as folders:
        told = await faults_of(folders.chutes, tar_of(dict.fromkeys(deep, b""), packed=True))
        assert "10000 files and folders" in told[-1]
        assert (await unpack(folders.chutes, tar_of(dict.fromkeys(deep[:3], b"")))).files == set(deep[:3])


async def test_on_disk_a_folder_of_an_old_archive_may_have_a_content_which_is_skipped(tmp_path: Path) -> None:
    old = bytearray(tar_of({"old": b"x" * 700, "main.py": MAIN}, tarfile.USTAR_FORMAT))
    old[3:4] = b"/"
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old[:512])
    async with opened(tmp_path) as folders:
        assert (await unpack(folders.chutes, bytes(old))).files == {"main.py"}
        assert names(tmp_path / "state" / "chutes" / VERSION / "files") == ["main.py", "old"]


class _Held(io.BytesIO):
    """An archive whose reading takes until it is let go."""

    def __init__(self) -> None:
        super().__init__(tar_of({"main.py": MAIN}))
        self.is_let_go = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        assert self.is_let_go.wait(30)
        return super().read(size)


async def test_on_disk_deploys_that_take_long_leave_threads_to_all_others(tmp_path: Path) -> None:
    held = _Held()
    async with opened(tmp_path) as folders, asyncio.TaskGroup() as group:
        for number in range(20):  # there are four threads
            received = ReceivedArchive(folders._disk, held)
            group.create_task(folders.chutes.unpack(received, f"{VERSION[:-2]}{number:02x}", DEPLOY))
        await asyncio.sleep(0)  # all of them have asked for a thread
        try:
            async with asyncio.timeout(5):
                await folders.claim(OTHER, "{}", SecretFiles({}))
        finally:
            held.is_let_go.set()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()


async def test_removing_takes_all_of_it_and_twice_is_once(chutes: ChuteFolders) -> None:
    await unpack(chutes, tar_of({"main.py": MAIN}))
    await chutes.remove(VERSION)
    await chutes.remove(VERSION)
    with pytest.raises(ChuteFilesMissingError):
        await chutes.deploy(VERSION)


async def test_a_sweep_takes_what_no_row_knows_and_nothing_else(chutes: ChuteFolders) -> None:
    await unpack(chutes, tar_of({"main.py": MAIN}))
    await unpack(chutes, tar_of({"main.py": MAIN}), OTHER)
    names = await chutes.names()
    assert await chutes.sweep(names, {OTHER}) == [VERSION]
    assert await chutes.deploy(OTHER) == DEPLOY


async def test_what_was_made_since_its_names_were_asked_for_is_no_sweeps(chutes: ChuteFolders) -> None:
    names = await chutes.names()
    await unpack(chutes, tar_of({"main.py": MAIN}))
    assert await chutes.sweep(names, set()) == []
    assert await chutes.deploy(VERSION) == DEPLOY


async def test_on_disk_the_smallest_file_and_folder_count_as_a_block(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        found = await unpack(folders.chutes, tar_of({"main.py": MAIN, "a/b/c.py": b""}))
    assert found.size_bytes == 4 * 4096 + len(MAIN)


async def test_on_disk_any_user_reads_the_files_and_only_the_agent_the_deploy(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        program = tarfile.TarInfo()
        program.mode = 0o6755
        await unpack(folders.chutes, tar_of({"main.py": MAIN, "pkg/run.sh": program}))
        home = tmp_path / "state" / "chutes" / VERSION
        modes = {
            str(path.relative_to(home)): stat.S_IMODE(path.lstat().st_mode)
            for path in (home, *home.rglob("*"))
        }
    assert modes == {
        ".": 0o700,
        "deploy.json": 0o600,
        "files": 0o755,
        "files/main.py": 0o644,
        "files/pkg": 0o755,
        "files/pkg/run.sh": 0o755,
    }


async def test_on_disk_the_secrets_of_a_deploy_are_in_its_private_file_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        await unpack(folders.chutes, tar_of({"main.py": MAIN}))
    assert [path.name for path in holders_of(tmp_path, b"hush")] == ["deploy.json"]


async def test_on_disk_a_refused_archive_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        await faults_of(folders.chutes, tar_of({"main.py": MAIN, "out": member(tarfile.SYMTYPE, "/")}))
        assert names(tmp_path / "state" / "chutes") == []


async def test_on_disk_what_another_deploy_is_making_is_left_alone_by_a_sweep_that_knows_of_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as folders:
        (tmp_path / "state" / "chutes" / f"{VERSION}.0123abcd").mkdir()
        (tmp_path / "state" / "chutes" / f"{OTHER}.0123abcd").mkdir()
        found = await folders.chutes.names()
        assert await folders.chutes.sweep(found, {VERSION}) == [f"{OTHER}.0123abcd"]


async def test_on_disk_what_is_set_aside_keeps_its_files_and_none_of_its_secrets(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        await unpack(folders.chutes, tar_of({"main.py": MAIN}))
        assert await folders.chutes.ids() == {VERSION}
        where = tmp_path / "state" / await folders.chutes.set_aside(VERSION)
        assert await folders.chutes.ids() == set()
        assert names(where) == ["files"]
        assert holders_of(tmp_path, b"hush") == []


async def test_on_disk_a_version_that_the_disk_does_not_let_go_of_keeps_no_other_from_being_swept(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as folders:
        await unpack(folders.chutes, tar_of({"main.py": MAIN}))
        await unpack(folders.chutes, tar_of({"main.py": MAIN}), OTHER)
        with mounted(tmp_path / "state" / "chutes" / VERSION, "-t", "tmpfs", "tmpfs"):
            assert await folders.chutes.sweep(await folders.chutes.names(), set()) == [OTHER]


async def test_removals_and_sweeps_at_once_are_one(chutes: ChuteFolders) -> None:
    await unpack(chutes, tar_of({f"{number}.py": MAIN for number in range(50)}))
    names = await chutes.names()
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(chutes.remove(VERSION))
            group.create_task(chutes.sweep(names, set()))
    assert await chutes.names() == set()
