"""jobs/drain — the log of an exited container, copied once, raw, to the job's folder; and when its first line was written.

Reads no log for anybody: that is jobs/logs.
"""

from contextlib import aclosing

from agent.core.frames import FrameParser, first_line_frame, stamp_ns
from agent.interfaces import ContainerGoneError, Engine, Folders, LogWriter

# Each write is a round trip to a thread, whatever its size.
WRITE_BYTES = 1 << 20


async def drain(  # noqa: PLR0913, PLR0917 - the log's source, its place, and one fact
    engine: Engine,
    folders: Folders,
    job_id: str,
    attempt: int,
    container: str,
    first_ns: int | None = None,
) -> None:
    """Idempotent: what is there is whole, since only a commit makes it; a broken one begins anew.

    `first_ns`: the stamp of the first line ever, if it is known; it is kept as the file's first frame, and readers know by it
    whether lines were rotated away. A container that somebody removed leaves no log.
    Raises EngineUnavailableError, StateFullError, StateReadOnlyError.
    """
    drained = await folders.open_log(job_id, attempt)
    if drained is not None:
        await drained.close()
        return
    part = await folders.log_part(job_id, attempt)
    try:
        last = await _copy(engine, container, part, b"" if first_ns is None else first_line_frame(first_ns))
        await part.commit(last)
    except ContainerGoneError:
        await part.discard()
    except BaseException:
        await part.discard()
        raise


async def _copy(engine: Engine, container: str, part: LogWriter, head: bytes) -> bytes:
    """Returns what is left to write."""
    held = bytearray(head)
    async with aclosing(engine.read_logs(container, 0)) as chunks:
        async for chunk in chunks:
            held += chunk
            if len(held) >= WRITE_BYTES:
                await part.write(bytes(held))
                held.clear()
    return bytes(held)


async def read_head(engine: Engine, container: str, most_bytes: int) -> bytes:
    """What it printed, up to about so many bytes. Raises ContainerGoneError, EngineUnavailableError."""
    parser, head = FrameParser(), b""
    async with aclosing(engine.read_logs(container, 0)) as chunks:
        async for chunk in chunks:
            head += parser.feed(chunk).texts()
            if len(head) > most_bytes:
                break
    return head


async def first_stamp(engine: Engine, container: str) -> int | None:
    """Wait for the first line of a running container; its stamp in ns. None: it ended without one.

    Where it is called only after the engine has rotated its oldest file away, it tells the oldest line that is left.
    Raises ContainerGoneError, EngineUnavailableError.
    """
    parser = FrameParser()
    async with aclosing(engine.follow_logs(container, 0)) as chunks:
        async for chunk in chunks:
            slab = parser.feed(chunk)
            if slab.starts:
                return stamp_ns(slab.data, slab.starts[0])
    return None
