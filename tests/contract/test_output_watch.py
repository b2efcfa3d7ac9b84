"""Who notices outputs: what holds in memory and on disk alike. What hostile jobs do is test_output_watch_hostile."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.globs import compile_choice
from agent.core.quiet import Noticed, Sighting
from agent.interfaces import JobFolderMissingError, OutputLimits
from tests.contract.folders_on_disk import JOB, OTHER, PLENTY
from tests.contract.job_folder import OpenWorld, World, fake, real
from tests.contract.noticing import noticing, paths
from tests.contract.nvml_world import until


@pytest.fixture(params=[fake, real], ids=["fake", "disk"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    open_world: OpenWorld = request.param
    async with open_world(tmp_path) as world:
        yield world


async def test_a_watch_begins_with_what_is_there(world: World) -> None:
    folders, job = world
    job.write("a", b"one")
    job.write("deep/er/b", b"second")
    async with noticing(folders) as seen:
        await until(lambda: len(seen) == 2)
    files = (await folders.list_outputs(JOB, PLENTY)).files
    assert seen == [Sighting(file.path, file.size_bytes, file.modified_ns, Noticed.FOUND) for file in files]


async def test_each_file_is_told_as_it_is_closed_with_what_it_is_then(world: World) -> None:
    folders, job = world
    async with noticing(folders) as seen:
        job.write("a", b"x")
        await until(lambda: bool(seen))
        job.write("a", b"xxx")
        await until(lambda: seen[-1].size_bytes == 3)
        (file,) = (await folders.list_outputs(JOB, PLENTY)).files
        assert seen[-1] == Sighting("a", 3, file.modified_ns, Noticed.CLOSED)
        assert paths(seen) == {"a"}


async def test_a_file_that_is_kept_open_is_told_once_it_is_closed(world: World) -> None:
    folders, job = world
    async with noticing(folders) as seen:
        job.write("first", b"")
        await until(lambda: paths(seen) == {"first"})
        let_go = job.hold("log", b"line\n")
        job.write("second", b"")
        await until(lambda: "second" in paths(seen))
        assert "log" not in paths(seen)
        let_go()
        await until(lambda: "log" in paths(seen))
        assert seen[-1].noticed is Noticed.CLOSED
        assert seen[-1].size_bytes == 5


async def test_a_file_that_is_renamed_into_place_is_told_as_that(world: World) -> None:
    folders, job = world
    async with noticing(folders) as seen:
        job.write("a.tmp", b"whole")
        await until(lambda: paths(seen) == {"a.tmp"})
        job.rename("a.tmp", "a")
        await until(lambda: "a" in paths(seen))
    assert (seen[-1].path, seen[-1].size_bytes, seen[-1].noticed) == ("a", 5, Noticed.MOVED_IN)


async def test_only_what_is_chosen_is_told(world: World) -> None:
    folders, job = world
    for name in ("a.pt", "a.tmp", "cache/a.pt"):
        job.write(name, b"x")
    async with noticing(folders, compile_choice(("*.pt",), ("cache/",))) as seen:
        await until(lambda: "a.pt" in paths(seen))
        for name in ("b.tmp", "cache/b.pt", "b.pt"):
            job.write(name, b"x")
        await until(lambda: "b.pt" in paths(seen))
    assert paths(seen) == {"a.pt", "b.pt"}


async def test_a_file_that_is_gone_again_is_not_told(world: World) -> None:
    folders, job = world
    async with noticing(folders) as seen:
        job.write("first", b"")
        await until(lambda: paths(seen) == {"first"})
        job.write("a", b"x")
        job.unlink("a")
        job.write("last", b"")
        await until(lambda: "last" in paths(seen))
    assert paths(seen) == {"first", "last"}


async def test_two_may_watch_one_job(world: World) -> None:
    folders, job = world
    async with noticing(folders) as one, noticing(folders) as other:
        job.write("a", b"x")
        await until(lambda: paths(one) == paths(other) == {"a"})


async def test_a_job_without_a_folder_can_not_be_watched(world: World) -> None:
    folders, _ = world
    with pytest.raises(JobFolderMissingError):
        await anext(folders.watch_outputs(OTHER, OutputLimits(9, 9, 9), compile_choice(("**",), ())))
