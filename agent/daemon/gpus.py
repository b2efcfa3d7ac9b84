"""daemon/gpus — what tells of the host's GPUs, opened and closed: the driver behind its locks, and the kernel's log."""

import os
from contextlib import AsyncExitStack

from agent.adapters.gpu_locks import GpuLockFiles
from agent.adapters.kernel_log import KernelLogFile
from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.gpus import NvmlGpus
from agent.adapters.nvml.port import NvmlPort
from agent.adapters.nvml.smi import Smi
from agent.config import Config
from agent.core.gpu_locks import LockHolder
from agent.interfaces import Store
from agent.jobs.gpu_locking import LockedGpus

GPU_RECORD = "gpus.json"
GPU_RESET_LOCK = "gpu-reset.lock"


async def open_gpus(config: Config, agent_id: str, store: Store, stack: AsyncExitStack) -> LockedGpus:
    """Before anything is leased, those that we manage are locked: an agent that has one of them is named, and we leave."""
    me = LockHolder(agent_id, os.getpid(), str(config.state_dir))
    locks = GpuLockFiles(config.gpus.lock_dir, me)
    stack.callback(locks.close)
    client = NvmlClient()
    smi = Smi(client.set_aside, config.runtime_dir / GPU_RESET_LOCK)
    nvml = NvmlPort(NvmlGpus(client, config.state_dir / GPU_RECORD), smi)
    stack.push_async_callback(nvml.close)
    gpus = LockedGpus(nvml, locks, config.gpus.use)
    await gpus.hold(
        {uuid for job in await store.unfinished() if job.lease is not None for uuid in job.lease.gpus}
    )
    return gpus


def open_kernel_log(config: Config, stack: AsyncExitStack) -> KernelLogFile:
    """Not read yet: whoever listens comes first."""
    kernel_log = KernelLogFile(config.gpus.kernel_log)
    stack.callback(kernel_log.close)
    return kernel_log
