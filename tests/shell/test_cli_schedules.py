"""The commands of schedules against the real API, and what they draw on 80 columns."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli import pages, schedules
from agent.cli.chute_deploy import deploy
from agent.cli.screen import Form
from agent.core.job import EVERYONE
from agent.interfaces import ScheduleQuery
from tests.fakes.tars import MAIN
from tests.shell.cli_world import CliWorld, cli_world
from tests.shell.described import Report, answer_describes
from tests.unit.chute_values import a_job, a_manifest


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.api.clock.started -= made.api.clock.boot_seconds()  # 8:00:00 of 2027-01-15
        yield made


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"image": "busybox", "command": ["true"]}))
    return str(path)


async def add(
    world: CliWorld, spec: str, name: str = "nightly", cron: str = "0 3 * * *", **options: bool
) -> str:
    status, seen = await world.run(schedules.add, name, cron, spec, form=Form.JSON, **options)
    assert status == 0, seen.err.getvalue()
    return str(json.loads(seen.out.getvalue())["id"])


async def test_a_schedule_is_made_and_says_when_it_comes(world: CliWorld, spec: str) -> None:
    status, seen = await world.run(schedules.add, "nightly", "0 3 * * *", spec)
    assert status == 0
    assert seen.out.getvalue().endswith(" next 2027-01-16T03:00:00.000Z\n")


async def test_faults_are_told_with_their_way_out(world: CliWorld, spec: str) -> None:
    status, seen = await world.run(schedules.add, "a/b", "61 3 * * *", spec)
    assert (status, seen.out.getvalue()) == (-1, "")
    assert "name" in seen.err.getvalue()
    assert "61 is no minute" in seen.err.getvalue()


async def test_the_list_fits_80_columns_whatever_their_names(world: CliWorld, spec: str) -> None:
    await add(world, spec, "n" * 128, ",".join(["0", "1"] * 40) + " 3 * * *")
    await add(world, spec)
    await world.run(schedules.pause, ["nightly"])
    _, seen = await world.run(schedules.ls)
    lines = seen.out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["ID", "NAME", "CRON", "NEXT", "LAST", "FIRED", "MISSED"]
    assert "paused" in lines[1]
    assert "18h" in lines[2]


async def test_an_empty_list_says_how_one_is_made(world: CliWorld) -> None:
    _, seen = await world.run(schedules.ls)
    assert "gpu-agent schedule add" in seen.err.getvalue()


async def test_scripts_get_all_pages_as_one(
    world: CliWorld, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    ids = [await add(world, spec, f"s{number}") for number in range(5)]
    _, seen = await world.run(schedules.ls, form=Form.JSON)
    assert [each["id"] for each in json.loads(seen.out.getvalue())["items"]] == ids[::-1]


async def test_one_is_found_by_its_name_or_by_the_beginning_of_its_id(world: CliWorld, spec: str) -> None:
    one = await add(world, spec, "one")
    await add(world, spec, "other")
    for given in ("one", one, one.upper()):
        status, seen = await world.run(schedules.show, given, form=Form.JSON)
        assert (status, json.loads(seen.out.getvalue())["id"]) == (0, one)
    status, seen = await world.run(schedules.show, one[:8])
    assert (status, "several schedules begin with" in seen.err.getvalue()) == (-1, True)
    for unknown in ("no such name", "ffff"):
        status, seen = await world.run(schedules.show, unknown)
        assert (status, "gpu-agent schedule ls" in seen.err.getvalue()) == (-1, True)


async def test_all_that_is_known_is_shown(world: CliWorld, spec: str) -> None:
    await add(world, spec, catch_up=True)
    await world.run(schedules.run, "nightly")
    _, seen = await world.run(schedules.show, "nightly")
    shown = seen.out.getvalue()
    assert "0 3 * * * (UTC); makes up for the latest one that was missed" in shown
    assert shown.count("(in ") == 5
    assert "run by hand" in shown
    assert "0 fired, 0 skipped, 0 missed" in shown


async def test_what_keeps_it_from_starting_is_told_in_the_list_too(world: CliWorld, spec: str) -> None:
    schedule = await add(world, spec, cron="* * * * *")
    (world.api.state / "schedules" / schedule).unlink()
    world.api.clock.started += 65
    await world.api.schedules.timetable.take_due()
    for command, words in ((schedules.ls, []), (schedules.show, ["nightly"])):
        _, seen = await world.run(command, *words)
        told = f"{seen.out.getvalue()} {seen.err.getvalue()}"
        assert "is gone or damaged" in " ".join(told.split())


async def test_a_run_prints_the_jobs_id(world: CliWorld, spec: str) -> None:
    await add(world, spec)
    status, seen = await world.run(schedules.run, "nightly")
    (job,) = world.api.store.jobs()
    assert (status, seen.out.getvalue()) == (0, f"{job.id}\n")


async def test_pauses_begin_and_end(world: CliWorld, spec: str) -> None:
    await add(world, spec)
    _, paused = await world.run(schedules.pause, ["nightly"])
    _, resumed = await world.run(schedules.resume, ["nightly"])
    assert paused.out.getvalue() == "nightly paused\n"
    assert resumed.out.getvalue() == "nightly next 2027-01-16T03:00:00.000Z\n"


async def test_some_are_removed(world: CliWorld, spec: str) -> None:
    ids = [await add(world, spec, name) for name in ("a", "b")]
    status, seen = await world.run(schedules.remove, ["a", ids[1]])
    assert (status, seen.out.getvalue().split()) == (0, ids)
    _, left = await world.run(schedules.ls, form=Form.JSON)
    assert json.loads(left.out.getvalue())["items"] == []


async def test_one_of_a_chute_is_found_by_its_name_and_stays(world: CliWorld, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_bytes(MAIN)
    answer_describes(world.api, Report.of(a_manifest(a_job("train", schedule="@daily"))))
    await world.run(deploy, str(tmp_path / "main.py"), image="busybox", catch_up=True)
    status, seen = await world.run(schedules.remove, ["trainer/train"])
    assert (status, "Pause it" in seen.err.getvalue()) == (-1, True)
    _, seen = await world.run(schedules.show, "trainer/train", form=Form.JSON)
    assert json.loads(seen.out.getvalue())["catch_up"] is True


async def test_a_name_is_ones_own_before_it_is_anybodys(world: CliWorld, spec: str) -> None:
    own = await add(world, spec)
    row = await world.api.store.schedule(own, EVERYONE)
    assert row is not None
    theirs = [f"0190eeee-0000-7000-8000-00000000000{number}" for number in (1, 2)]
    for schedule_id, owner in zip(theirs, ("bob", "eve"), strict=True):
        await world.api.store.add_schedule(replace(row, id=schedule_id, owner=owner))
    status, _ = await world.run(schedules.remove, ["nightly"])
    left = [each.id for each in await world.api.store.schedules(ScheduleQuery(), EVERYONE)]
    assert (status, left) == (0, theirs[::-1])
    status, seen = await world.run(schedules.remove, ["nightly"])
    told = " ".join(seen.err.getvalue().split())
    assert status == -1
    for words in ("several schedules are named nightly", *theirs, "of bob", "of eve"):
        assert words in told


async def test_a_whole_id_is_an_id_whatever_is_named_like_it(world: CliWorld, spec: str) -> None:
    one = await add(world, spec)
    await add(world, spec, one)
    _, seen = await world.run(schedules.show, one, form=Form.JSON)
    assert json.loads(seen.out.getvalue())["id"] == one


async def test_one_that_cannot_be_read_is_shown_with_the_others_and_can_be_removed(
    world: CliWorld, spec: str
) -> None:
    damaged = await add(world, spec)
    await add(world, spec, "sound")
    await world.api.store.change_schedule(
        damaged, EVERYONE, lambda found: (replace(found, cron="when it suits"), {})
    )
    for command, words in ((schedules.ls, []), (schedules.show, ["nightly"])):
        status, seen = await world.run(command, *words)
        assert (status, "cannot be read" in f"{seen.out.getvalue()}{seen.err.getvalue()}") == (0, True)
    for command in (schedules.pause, schedules.resume, schedules.remove):
        status, _ = await world.run(command, ["nightly"])
        assert status == 0
