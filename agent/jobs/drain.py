"""jobs/drain — the log of an exited container, copied once, raw, to the job's folder. Parses nothing."""

from contextlib import aclosing

from agent.interfaces import ContainerGoneError, Engine, Folders


async def drain(engine: Engine, folders: Folders, job_id: str, attempt: int, container: str) -> None:
    """Idempotent: what is there is whole, since only a commit makes it; a broken one begins anew.

    A container that somebody removed leaves no log. Raises EngineUnavailableError, StateFullError, StateReadOnlyError.
    """
    drained = await folders.open_log(job_id, attempt)
    if drained is not None:
        await drained.close()
        return
    part = await folders.log_part(job_id, attempt)
    try:
        async with aclosing(engine.read_logs(container, 0)) as chunks:
            async for chunk in chunks:
                await part.write(chunk)
        await part.commit()
    except ContainerGoneError:
        await part.discard()
    except BaseException:
        await part.discard()
        raise
