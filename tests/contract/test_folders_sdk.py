"""The copy of the SDK that containers see: whole, readable by anybody, and never changed beneath a job that runs."""

import stat
from pathlib import Path

import pytest

from tests.contract.folders_on_disk import opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "chutes" / "__pycache__").mkdir(parents=True)
    (source / "chutes_launch.py").write_text("launch")
    (source / "chutes_launch.py").chmod(0o600)
    (source / "chutes" / "__init__.py").write_text("")
    (source / "chutes" / "__pycache__" / "x.pyc").write_text("left out")
    return source


async def lay_out(tmp_path: Path, source: Path) -> Path:
    async with opened(tmp_path) as folders:
        return Path(await folders.lay_out_sdk(source))


async def test_the_copy_has_every_file_and_any_user_reads_it(tmp_path: Path, source: Path) -> None:
    made = await lay_out(tmp_path, source)
    assert made.parent == tmp_path / "run" / "sdk"
    found = {str(path.relative_to(made)): stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*")}
    assert found == {"chutes_launch.py": 0o644, "chutes": 0o755, "chutes/__init__.py": 0o644}
    assert (stat.S_IMODE(made.stat().st_mode), (made / "chutes_launch.py").read_text()) == (0o755, "launch")


async def test_the_same_source_has_one_copy_and_another_one_its_own(tmp_path: Path, source: Path) -> None:
    first = await lay_out(tmp_path, source)
    inode = (first / "chutes_launch.py").stat().st_ino
    assert await lay_out(tmp_path, source) == first
    assert (first / "chutes_launch.py").stat().st_ino == inode
    (source / "chutes_launch.py").write_text("upgraded")
    second = await lay_out(tmp_path, source)
    assert second != first
    assert (first / "chutes_launch.py").read_text() == "launch"


async def test_a_copy_that_a_crash_cut_short_is_none(tmp_path: Path, source: Path) -> None:
    first = await lay_out(tmp_path, source)
    first.rename(first.with_name(f"{first.name}.0123456789abcdef"))
    (first.parent / f"{first.name}.0123456789abcdef" / "chutes_launch.py").unlink()
    assert await lay_out(tmp_path, source) == first
    assert (first / "chutes_launch.py").read_text() == "launch"
    assert [path.name for path in first.parent.iterdir()] == [first.name]


async def test_copies_of_earlier_agents_are_swept_and_the_current_one_stays(
    tmp_path: Path, source: Path
) -> None:
    first = await lay_out(tmp_path, source)
    (source / "chutes_launch.py").write_text("upgraded")
    second = await lay_out(tmp_path, source)
    async with opened(tmp_path) as folders:
        assert await folders.sweep_sdks(str(second)) == [first.name]
        assert await folders.sweep_sdks(str(second)) == []
    assert [path.name for path in second.parent.iterdir()] == [second.name]
    assert (second / "chutes_launch.py").read_text() == "upgraded"
