"""`outputs ls|get`: listed, fetched, resumed, checked, and never outside of the folder."""

import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli import outputs
from agent.cli.landing import open_landing
from agent.cli.screen import Form
from tests.fakes.engine import Program
from tests.shell.cli_world import CliWorld, cli_world

LARGE = bytes(range(256)) * 20_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path / "host") as made:
        yield made


@pytest.fixture(autouse=True)
def host_folder(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()


async def job_with(world: CliWorld, files: dict[str, bytes]) -> str:
    world.engine.program = Program(seconds=0.0)
    job_id = await world.api.submit()
    await world.api.call("GET", f"/v1/jobs/{job_id}?wait=finished")
    for name, content in files.items():
        path = root_of(world, job_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return job_id


def root_of(world: CliWorld, job_id: str) -> Path:
    return world.api.state / "jobs" / job_id / "outputs"


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_ls_lists_files_with_sizes_and_digests_and_what_cannot_be_had(world: CliWorld) -> None:
    job_id = await job_with(world, {"a.txt": b"a", "models/m.bin": b"mm"})
    (root_of(world, job_id) / "link").symlink_to("/etc/passwd")
    code, seen = await world.run(outputs.ls, job_id)
    assert code == 0
    lines = seen.out.getvalue().splitlines()
    assert hashlib.sha256(b"a").hexdigest()[:12] in lines[1]
    assert lines[3].startswith("not to be had: link")
    _, seen = await world.run(outputs.ls, job_id, "models/", form=Form.JSON)
    assert [file["path"] for file in json.loads(seen.out.getvalue())["items"]] == ["models/m.bin"]
    code, seen = await world.run(outputs.ls, job_id, "model")
    assert (code, "there is no output 'model'" in seen.err.getvalue()) == (-1, True)


@pytest.mark.slow
async def test_get_says_where_the_list_was_cut_short_and_fails(world: CliWorld, tmp_path: Path) -> None:
    job_id = await job_with(world, {})
    for number in range(1001):  # the world's Outputs list 1000 entries
        (root_of(world, job_id) / str(number)).touch()
    code, seen = await world.run(outputs.get, job_id, "7", output=tmp_path / "here")
    assert (code, "the list ends early: stopped after 1000 entries" in seen.err.getvalue()) == (1, True)
    _, seen = await world.run(outputs.get, job_id, "7", output=tmp_path / "here", form=Form.JSON)
    assert json.loads(seen.out.getvalue())["truncated"] == "stopped after 1000 entries"


async def test_get_fetches_everything_whole_and_leaves_nothing_else(world: CliWorld, tmp_path: Path) -> None:
    files = {"a.txt": b"a", "models/m.bin": LARGE, "empty": b"", "with space %41 ü": b"odd"}
    job_id = await job_with(world, files)
    code, seen = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert code == 0
    assert tree(tmp_path / "here") == files
    assert seen.err.getvalue().endswith(f"4 files, 4.9 MiB, in {tmp_path / 'here'}\n")
    _, seen = await world.run(outputs.get, job_id, output=tmp_path / "here", form=Form.JSON)
    told = json.loads(seen.out.getvalue())
    assert {file["state"] for file in told["items"]} == {"kept"}
    assert {file["path"] for file in told["items"]} == {
        "a.txt",
        "models/m.bin",
        "empty",
        "with space %2541 ü",
    }


async def test_get_takes_one_file_or_one_folder(world: CliWorld, tmp_path: Path) -> None:
    job_id = await job_with(world, {"a/1": b"1", "a/2": b"2", "b": b"b"})
    await world.run(outputs.get, job_id, "a", output=tmp_path / "folder")
    await world.run(outputs.get, job_id, "a/2", output=tmp_path / "file")
    assert tree(tmp_path / "folder") == {"a/1": b"1", "a/2": b"2"}
    assert tree(tmp_path / "file") == {"a/2": b"2"}


async def test_a_file_that_differs_stays_without_force_and_the_others_come(
    world: CliWorld, tmp_path: Path
) -> None:
    job_id = await job_with(world, {"a": b"theirs", "b": b"b"})
    (tmp_path / "a").write_bytes(b"mine")
    code, seen = await world.run(outputs.get, job_id, output=tmp_path)
    assert code == 1
    assert "a is there, and differs" in seen.err.getvalue()
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"mine", b"b")
    code, _ = await world.run(outputs.get, job_id, output=tmp_path, force=True)
    assert (code, (tmp_path / "a").read_bytes()) == (0, b"theirs")


@pytest.mark.parametrize("cut", [10, 300, 100_000, 3_000_000])
async def test_a_broken_fetch_goes_on_where_it_stopped(world: CliWorld, tmp_path: Path, cut: int) -> None:
    job_id = await job_with(world, {"m.bin": LARGE})
    # The list and the file come over one connection, one behind the other.
    listed = await world.api.call("GET", f"/v1/jobs/{job_id}/outputs")
    world.proxy.cuts.append(len(listed.raw) + cut)
    code, seen = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert (code, tree(tmp_path / "here")) == (0, {"m.bin": LARGE})
    if cut < 100_000:
        return
    assert seen.err.getvalue().count("the agent is away") == 1
    (resumed,) = [request for request in world.proxy.requests if b"Range: bytes=" in request]
    assert b"If-Range: " in resumed
    start = int(resumed.partition(b"Range: bytes=")[2].partition(b"-")[0])
    assert cut - 1000 < start <= cut


async def test_a_part_left_by_an_earlier_fetch_is_gone_on_with_and_checked(
    world: CliWorld, tmp_path: Path
) -> None:
    job_id = await job_with(world, {"m.bin": LARGE})
    digest = hashlib.sha256(LARGE).hexdigest()
    with (
        open_landing(tmp_path / "here") as landing,
        landing.place("m.bin") as place,
        place.part(digest) as part,
    ):
        part.write(LARGE[:1000])
    code, _ = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert code == 0
    assert tree(tmp_path / "here") == {"m.bin": LARGE}
    assert any(b"Range: bytes=1000-" in request for request in world.proxy.requests)


async def test_a_part_that_is_wrong_is_found_out_by_the_digest_and_not_kept(
    world: CliWorld, tmp_path: Path
) -> None:
    job_id = await job_with(world, {"m.bin": LARGE})
    digest = hashlib.sha256(LARGE).hexdigest()
    with (
        open_landing(tmp_path / "here") as landing,
        landing.place("m.bin") as place,
        place.part(digest) as part,
    ):
        part.write(b"wrong" * 200)
    code, seen = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert (code, "content_differs" in seen.err.getvalue()) == (1, True)
    assert tree(tmp_path / "here") == {}
    code, _ = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert (code, tree(tmp_path / "here")) == (0, {"m.bin": LARGE})


async def test_a_link_in_the_way_is_refused_and_nothing_is_written_behind_it(
    world: CliWorld, tmp_path: Path
) -> None:
    job_id = await job_with(world, {"folder/x": b"x", "y": b"y"})
    outside, here = tmp_path / "outside", tmp_path / "here"
    outside.mkdir()
    here.mkdir()
    (here / "folder").symlink_to(outside)
    code, seen = await world.run(outputs.get, job_id, output=here, force=True)
    assert (code, "landing_refused" in seen.err.getvalue()) == (1, True)
    assert list(outside.iterdir()) == []
    assert (here / "y").read_bytes() == b"y"


async def test_names_that_are_no_text_land_as_the_bytes_that_they_are(
    world: CliWorld, tmp_path: Path
) -> None:
    job_id = await job_with(world, {})
    name = b"\xff\x1b[31m\nred"
    (root_of(world, job_id) / os.fsdecode(name)).write_bytes(b"x")
    code, _ = await world.run(outputs.get, job_id, output=tmp_path / "here")
    assert code == 0
    assert os.listdir(os.fsencode(tmp_path / "here")) == [name]  # noqa: PTH208 - names as bytes
