"""A file of an image that would rather not be looked into, on a real engine."""

import io
import tarfile
import uuid
from dataclasses import replace

import pytest

from tests.contract.engine_contract import MIB, bare_plan
from tests.docker.conftest import DockerStage

# Name, type and target of each entry.
NO_FILES = {
    "two-links-in-a-circle": (
        ("etc/passwd", tarfile.SYMTYPE, "other"),
        ("etc/other", tarfile.SYMTYPE, "passwd"),
    ),
    "a-link-to-itself": (("etc/passwd", tarfile.SYMTYPE, "passwd"),),
    "a-folder-that-is-a-link-to-itself": (("etc", tarfile.SYMTYPE, "etc"),),
    "a-folder-that-is-a-file": (("etc", tarfile.REGTYPE, ""),),
    "a-link-below-a-file": (("etc/passwd", tarfile.SYMTYPE, "../etc/hostname/x"),),
    "a-link-of-too-many-parts": (("etc/passwd", tarfile.SYMTYPE, "/" + "a/" * 2000),),
    "a-link-to-too-long-a-name": (("etc/passwd", tarfile.SYMTYPE, "/" + "a" * 300),),
    "a-pipe": (("etc/passwd", tarfile.FIFOTYPE, ""),),
    "a-folder": (("etc/passwd", tarfile.DIRTYPE, ""),),
}


@pytest.mark.parametrize("kind", NO_FILES)
async def test_what_leads_to_no_file_is_none_and_no_fault_of_the_engine(
    kind: str, stage: DockerStage
) -> None:
    await stage.request(
        "POST", f"/images/create?fromSrc=-&repo=inside-{kind}&tag=1", archive_of(NO_FILES[kind])
    )
    plan = replace(bare_plan(stage.agent, str(uuid.uuid4()), f"inside-{kind}:1"), command=("/none",))
    container = await stage.engine.create(plan, {})
    assert await stage.engine.look_inside(container, "/etc/passwd", MIB) is None


def archive_of(entries: tuple[tuple[str, bytes, str], ...]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, target in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry)
    return buffer.getvalue()
