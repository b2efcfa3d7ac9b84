"""A file of secrets that can't be read any more, or is of another program's form, is as good as gone: it ends nothing but its own job."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, JobFolderMissingError
from agent.core.container import Credentials
from agent.core.notify import NotifyTarget
from agent.interfaces import SecretFiles
from agent.spec import Upload, UploadTo
from tests.contract.folders_on_disk import JOB, RECORD, opened

UPLOAD = Upload(to=UploadTo.PUT, url="https://store.example.org/{path}?sig=hush")
NOTIFY = NotifyTarget("https://hooks.example.org/", "hush")
ALL = SecretFiles({"TOKEN": "hush"}, Credentials("me", "hush"), NOTIFY, UPLOAD)
DAMAGED = [b"", b"{", b"\xff", b"[]", b'{"of": "another form"}']


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, ALL)
        yield folders


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs" / JOB / "secrets"


@pytest.mark.parametrize("damage", DAMAGED)
async def test_without_its_registrys_password_a_job_has_lost_its_secrets(
    damage: bytes, folders: DiskFolders, secrets: Path
) -> None:
    (secrets / "registry.json").write_bytes(damage)
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)
    with pytest.raises(JobFolderMissingError):
        await folders.prepare(JOB)


async def test_so_it_is_where_a_value_is_no_text(folders: DiskFolders, secrets: Path) -> None:
    (secrets / "env" / "TOKEN").write_bytes(b"\xff")
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)


@pytest.mark.parametrize("damage", DAMAGED)
async def test_where_to_notify_is_lost_and_nothing_else(
    damage: bytes, folders: DiskFolders, secrets: Path
) -> None:
    (secrets / "notify.json").write_bytes(damage)
    assert await folders.notify_target(JOB) is None
    assert await folders.secrets(JOB) == SecretFiles(
        {"TOKEN": "hush"}, Credentials("me", "hush"), None, UPLOAD
    )


@pytest.mark.parametrize("damage", DAMAGED)
async def test_where_outputs_go_is_lost_and_nothing_else(
    damage: bytes, folders: DiskFolders, secrets: Path
) -> None:
    (secrets / "upload.json").write_bytes(damage)
    assert await folders.upload_target(JOB) is None
    assert await folders.secrets(JOB) == SecretFiles(
        {"TOKEN": "hush"}, Credentials("me", "hush"), NOTIFY, None
    )
