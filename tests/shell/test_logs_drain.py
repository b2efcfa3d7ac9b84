"""The drain: once, whole, and anew after a break."""

import pytest

from agent.core.container import ContainerState
from agent.core.frames import FrameParser
from agent.interfaces import EngineUnavailableError
from agent.jobs.drain import drain
from tests.fakes.folders import FakeFolders
from tests.fakes.logs import FakeLog, FakeLogEngine

pytestmark = pytest.mark.looptime


def engine_with(lines: int) -> FakeLogEngine:
    engine = FakeLogEngine(chunk_bytes=999)
    log = engine.add("c1", FakeLog(), ContainerState.EXITED)
    for number in range(lines):
        log.write(1_700_000_000 * 10**9 + number, b"%d" % number)
    return engine


def raw(engine: FakeLogEngine) -> bytes:
    return b"".join(raw for _, raw in engine.boxes["c1"].log.files[-1].frames)


async def test_the_frames_are_kept_as_the_engine_sends_them() -> None:
    engine, folders = engine_with(lines=500), FakeFolders()
    await drain(engine, folders, "job", 2, "c1")
    assert folders.logs == {("job", 2): raw(engine)}


async def test_what_is_drained_is_not_drained_again() -> None:
    engine, folders = engine_with(lines=5), FakeFolders()
    folders.logs["job", 1] = b"drained before"
    await drain(engine, folders, "job", 1, "c1")
    assert (folders.logs, engine.reads) == ({("job", 1): b"drained before"}, 0)


async def test_a_drain_that_breaks_off_leaves_nothing_and_begins_anew() -> None:
    engine, folders = engine_with(lines=500), FakeFolders()
    engine.between = engine.crash
    with pytest.raises(EngineUnavailableError):
        await drain(engine, folders, "job", 1, "c1")
    assert folders.logs == {}
    engine.between = lambda: None
    engine.come_up()
    await drain(engine, folders, "job", 1, "c1")
    assert folders.logs == {("job", 1): raw(engine)}
    assert engine.open_streams == 0


async def test_a_container_that_is_gone_leaves_no_log() -> None:
    folders = FakeFolders()
    await drain(FakeLogEngine(), folders, "job", 1, "c1")
    assert folders.logs == {}


async def test_an_empty_log_is_a_log() -> None:
    folders = FakeFolders()
    await drain(engine_with(lines=0), folders, "job", 1, "c1")
    assert folders.logs == {("job", 1): b""}


async def test_the_stamp_of_the_first_line_ever_goes_with_the_log() -> None:
    engine, folders = engine_with(lines=3), FakeFolders()
    await drain(engine, folders, "job", 1, "c1", 42)
    slab = FrameParser().feed(folders.logs["job", 1])
    assert (slab.first_ns, slab.data[slab.starts[0] :]) == (42, raw(engine))
