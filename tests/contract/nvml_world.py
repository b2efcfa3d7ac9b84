"""The daemon's side of NVML with a real child on the stand-in, closed at the end; and the wait for what comes by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.gpus import NvmlGpus
from agent.adapters.nvml.port import NvmlPort
from agent.adapters.nvml.smi import Smi
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import Host

Make = Callable[[Host], Standin]
# Of one GPU. A child starts within a tenth of it, on a host that is not busy.
STEP_SECONDS = 1.5
WAIT_SECONDS = 10.0


@asynccontextmanager
async def client_on(host: Standin) -> AsyncIterator[NvmlClient]:
    client = NvmlClient(environ=host.environ)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def gpus_on(host: Standin, record: Path) -> AsyncIterator[NvmlGpus]:
    async with gpus_in(host.environ, record) as gpus:
        yield gpus


@asynccontextmanager
async def gpus_in(environ: Mapping[str, str], record: Path) -> AsyncIterator[NvmlGpus]:
    gpus = NvmlGpus(NvmlClient(environ=environ), record, STEP_SECONDS)
    try:
        yield gpus
    finally:
        await gpus.close()


@asynccontextmanager
async def port_on(
    host: Standin, folder: Path, reset_seconds: float = WAIT_SECONDS
) -> AsyncIterator[NvmlPort]:
    """A reset runs the `nvidia-smi` that is first on the PATH of this process."""
    client = NvmlClient(environ=host.environ)
    smi = Smi(client.set_aside, folder / "reset.lock", reset_seconds)
    port = NvmlPort(NvmlGpus(client, folder / "record", STEP_SECONDS), smi)
    try:
        yield port
    finally:
        await port.close()


def reading_port(gpus: NvmlGpus) -> NvmlPort:
    """For what only reads: it has no place for the lock of a reset."""
    return NvmlPort(gpus, Smi(NvmlClient().set_aside, Path("/nonexistent/reset.lock")))


async def call(client: NvmlClient, method: str, **params: object) -> Any:  # noqa: ANN401 - JSON
    return await client.call(method, params, STEP_SECONDS)


async def rows(client: NvmlClient) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", (await call(client, "inventory"))["gpus"])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


def child_of(client: NvmlClient) -> int:
    """Its process id."""
    assert client._wire is not None
    return client._wire.transport.get_pid()
