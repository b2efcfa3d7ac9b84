"""The copies of the SDK at a start: those of earlier agents go, unless some function may still see one."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.job import Run
from agent.daemon.sdk import lay_out_sdk
from agent.errors import Phase
from tests.contract.folders_on_disk import opened
from tests.contract.store_values import TestedStore, accepted
from tests.contract.test_store_functions import CALL
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore

PLANNED = Run(plan="digest")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "chutes_launch.py").write_text("launch")
    return tmp_path / "source"


async def upgrade(tmp_path: Path, store: TestedStore, source: Path, text: str) -> list[str]:
    """Start with another SDK; what of the copies is there then."""
    (source / "chutes_launch.py").write_text(text)
    async with opened(tmp_path) as folders:
        made = Path(await lay_out_sdk(folders, store, source))
    return sorted((path / "chutes_launch.py").read_text() for path in made.parent.iterdir())


async def test_a_start_without_running_functions_leaves_the_current_copy_alone(
    tmp_path: Path, source: Path
) -> None:
    store = MemoryStore(FakeClock().now)
    waiting = await accepted(store, "waiting", call=CALL)
    container = await accepted(store, "container")
    await store.save(replace(container, phase=Phase.RUNNING, run=PLANNED))
    ended = await accepted(store, "ended", call=CALL)
    await store.save(replace(ended, phase=Phase.FINISHED, run=PLANNED, finished_at=1.0))
    assert waiting.run.plan is None
    assert await upgrade(tmp_path, store, source, "1") == ["1"]
    assert await upgrade(tmp_path, store, source, "2") == ["2"]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.STOPPING])
async def test_while_a_function_may_see_an_earlier_copy_all_of_them_stay(
    tmp_path: Path, source: Path, phase: Phase
) -> None:
    store = MemoryStore(FakeClock().now)
    job = await accepted(store, "f", call=CALL)
    await upgrade(tmp_path, store, source, "1")
    row = await store.save(replace(job, phase=phase, run=PLANNED))
    assert await upgrade(tmp_path, store, source, "2") == ["1", "2"]
    assert await upgrade(tmp_path, store, source, "3") == ["1", "2", "3"]
    await store.save(replace(row, phase=Phase.FINISHED, finished_at=1.0))
    assert await upgrade(tmp_path, store, source, "3") == ["3"]
