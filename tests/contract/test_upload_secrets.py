"""Where outputs are sent, and where half-sent ones lie: on a disk and in the fake that stands for it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, upload_secrets
from agent.core.notify import NotifyTarget
from agent.interfaces import JobFolderMissingError, SecretFiles
from agent.spec import Upload, UploadTo
from tests.contract.folders_on_disk import JOB, OTHER, RECORD, SECRETS, opened, texts_below
from tests.fakes.folders import FakeFolders

TARGET = Upload(to=UploadTo.PUT, url="https://a.example/{path}?k=hush-1", headers={"A": "hush-2"})
ANOTHER = Upload(to=UploadTo.TUS, url="https://b.example/?k=hush-3")
EVERYTHING = replace(SECRETS, notify=NotifyTarget("https://a.example/?k=hush-4", "hush-5"), upload=TARGET)


@pytest.fixture(params=["disk", "fake"])
async def folders(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DiskFolders | FakeFolders]:
    if request.param == "fake":
        yield FakeFolders()
        return
    async with opened(tmp_path) as one:
        yield one


def every(_path: str) -> bool:
    return True


async def test_a_target_rests_with_the_jobs_secrets_and_goes_with_them(
    folders: DiskFolders | FakeFolders,
) -> None:
    await folders.claim(JOB, RECORD, EVERYTHING)
    assert await folders.secrets(JOB) == EVERYTHING
    assert await folders.upload_target(JOB) == TARGET
    await folders.keep_upload_place(JOB, "a", "https://a.example/up/1")
    await folders.drop_used_secrets(JOB)
    assert await folders.upload_target(JOB) is None
    assert await folders.upload_places(JOB, every, 9) == {}
    assert await folders.notify_target(JOB) == EVERYTHING.notify


async def test_a_job_may_have_no_other_secret_than_where_its_outputs_go(
    folders: DiskFolders | FakeFolders,
) -> None:
    only = SecretFiles({}, upload=TARGET)
    await folders.claim(JOB, RECORD, only)
    assert await folders.secrets(JOB) == only
    await folders.drop_upload_secrets(JOB)
    assert await folders.secrets(JOB) == SecretFiles({})


async def test_a_target_can_be_given_anew_after_all_secrets_were_dropped(
    folders: DiskFolders | FakeFolders,
) -> None:
    await folders.claim(JOB, RECORD, EVERYTHING)
    await folders.drop_used_secrets(JOB)
    await folders.keep_upload_target(JOB, ANOTHER)
    await folders.keep_upload_place(JOB, "a", "https://b.example/up/1")
    assert await folders.upload_target(JOB) == ANOTHER
    await folders.drop_notify_target(JOB)  # its own turn comes meanwhile
    assert await folders.upload_target(JOB) == ANOTHER
    assert await folders.upload_places(JOB, every, 9) == {"a": "https://b.example/up/1"}
    await folders.drop_upload_secrets(JOB)
    assert await folders.upload_target(JOB) is None
    assert await folders.upload_places(JOB, every, 9) == {}


async def test_the_last_place_of_a_path_counts(folders: DiskFolders | FakeFolders) -> None:
    await folders.claim(JOB, RECORD, SecretFiles({}))
    assert await folders.upload_places(JOB, every, 9) == {}
    places = [("a", "https://a/1"), ("é\n", "https://a/2"), ("a", "https://a/3")]
    for path, place in places:
        await folders.keep_upload_place(JOB, path, place)
    assert await folders.upload_places(JOB, every, 9) == {"a": "https://a/3", "é\n": "https://a/2"}


async def test_of_many_places_those_that_are_wanted_and_were_kept_last_are_read(
    folders: DiskFolders | FakeFolders,
) -> None:
    await folders.claim(JOB, RECORD, SecretFiles({}))
    for number, path in enumerate(("a1", "a2", "b1", "a1", "b2", "a3")):
        await folders.keep_upload_place(JOB, path, f"https://a/{number}")
    read = await folders.upload_places(JOB, lambda path: path.startswith("a"), 2)
    assert read == {"a1": "https://a/3", "a3": "https://a/5"}


async def test_what_is_missing_is_a_clear_error_to_who_writes_and_fine_to_who_drops(
    folders: DiskFolders | FakeFolders,
) -> None:
    assert await folders.upload_target(OTHER) is None
    assert await folders.upload_places(OTHER, every, 9) == {}
    await folders.drop_upload_secrets(OTHER)
    with pytest.raises(JobFolderMissingError):
        await folders.keep_upload_target(OTHER, TARGET)
    with pytest.raises(JobFolderMissingError):
        await folders.keep_upload_place(OTHER, "a", "https://a/1")


@pytest.fixture
def below(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs" / JOB / "secrets"


async def test_nothing_of_it_is_left_on_disk_and_nobody_else_may_read_it(tmp_path: Path, below: Path) -> None:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, EVERYTHING)
        await folders.keep_upload_place(JOB, "a", "https://a.example/hush-6")
        assert [below.joinpath(name).stat().st_mode & 0o777 for name in ("upload.json", "tus.jsonl")] == [
            0o600
        ] * 2
        await folders.prepare(JOB)
        assert "hush" not in texts_below(tmp_path / "run")
        await folders.drop_upload_secrets(JOB)
        await folders.drop_notify_target(JOB)
        assert "hush" not in texts_below(tmp_path)


async def test_a_place_that_a_crash_cut_short_is_none_and_the_next_one_is_whole(
    tmp_path: Path, below: Path
) -> None:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, SecretFiles({}))
        await folders.keep_upload_place(JOB, "a", "https://a/1")
        file = below / upload_secrets.PLACES
        file.write_bytes(file.read_bytes() + b'\n["b", "http')
        assert await folders.upload_places(JOB, every, 9) == {"a": "https://a/1"}
        await folders.keep_upload_place(JOB, "c", "https://a/3")
        assert await folders.upload_places(JOB, every, 9) == {"a": "https://a/1", "c": "https://a/3"}
