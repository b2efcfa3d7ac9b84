"""adapters/nvml/errors — what may go wrong between the daemon and the child that talks to NVML. Decides nothing of it."""

from typing import ClassVar

from agent.errors import AgentError, Blame

_WORDS = {
    "library_not_found": "NVIDIA's library (libnvidia-ml.so.1) is not on this host",
    "driver_not_loaded": "NVIDIA's kernel driver is not loaded",
    "driver_mismatch": "NVIDIA's library and kernel driver are of different versions",
    "no_permission": "the agent may not open NVIDIA's devices",
    "function_not_found": "NVIDIA's library is too old for this agent",
}


class NvmlError(AgentError):
    """The GPUs can't be asked now."""

    code: ClassVar[str] = "gpus_not_readable"
    blame: ClassVar[Blame] = Blame.HOST
    remedy: ClassVar[str] = "See `gpu-agent doctor` and `nvidia-smi` on the host."


class NvmlRefusedError(NvmlError):
    """NVML answered that it can't be used. A host without it is a CPU-only host, which is no fault."""

    code: ClassVar[str] = "gpu_driver_refused"
    remedy: ClassVar[str] = (
        "A host without NVIDIA GPUs needs nothing. Else install or load the driver; after an upgrade of the driver, reboot."
    )

    def __init__(self, why: str, message: str) -> None:
        super().__init__(_WORDS.get(why, f"NVML can't be used: {message}"))
        self.why = why


class NvmlSilentError(NvmlError):
    """NVML did not answer in time. `at` is the index of the GPU it was asked of, if it was of one."""

    code: ClassVar[str] = "gpu_driver_silent"
    remedy: ClassVar[str] = (
        "That GPU is left alone for a while, and the others go on. If it stays so: `nvidia-smi` and `dmesg` on the host, then a reboot."
    )

    def __init__(self, method: str, seconds: float, at: int | None) -> None:
        where = "" if at is None else f" at GPU {at}"
        super().__init__(f"NVML hangs{where}: no answer to {method} within {seconds:g} s")
        self.at = at


class NvmlBrokenError(NvmlError):
    """The child that talks to NVML died, or wrote what is no answer."""

    code: ClassVar[str] = "gpu_reader_broken"
    remedy: ClassVar[str] = "It is started again by itself. If it goes on, the agent's log says more."

    def __init__(self, cause: str) -> None:
        super().__init__(f"the process that asks the GPUs is broken: {cause}")


class NvmlStuckError(NvmlError):
    """Children that were killed are still there, held by the kernel: another would only be one more."""

    code: ClassVar[str] = "gpu_driver_stuck"
    remedy: ClassVar[str] = "Reboot the host: nothing less frees a process that the driver holds."

    def __init__(self, stuck: int) -> None:
        super().__init__(f"{stuck} processes hang in NVIDIA's driver and can't be killed: reboot the host")
