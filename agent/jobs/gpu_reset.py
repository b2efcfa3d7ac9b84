"""jobs/gpu_reset — carries out the resets that were ordered, one at a time, and keeps each end until it is judged. Judges none itself.

The order is the GPU's kept state `resetting`: no grant gives it out, and no restart forgets it. A daemon that dies before the end
was judged leaves the order as it stands, and the next one resets the GPU again, which does no harm: nobody has it.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet

import structlog

from agent.core.gpu_findings import GateVerdict, ResetEnd
from agent.core.gpu_record import GpuHealth
from agent.core.gpu_reset import next_reset, refuse_kind
from agent.core.gpus import Gpu
from agent.interfaces import Gpus

log = structlog.get_logger()


class GpuResets:
    """Whoever looks at the GPUs calls all of it, in turn: after each reset a look, which tells its end, before the next."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._ends: dict[str, ResetEnd] = {}

    def end_of(self, uuid: str) -> ResetEnd | None:
        """How its reset ended, if nobody has judged that yet."""
        return self._ends.get(uuid)

    def forget(self, judged: Collection[str]) -> None:
        """Their ends are on disk."""
        for uuid in judged:
            self._ends.pop(uuid, None)

    async def carry_out_next(
        self, gpus: Iterable[Gpu], healths: Mapping[str, GpuHealth], held: AbstractSet[str]
    ) -> bool:
        """Whether there was one. `held` is read after `healths`, which whoever grants knows, too: no lease of these is newer."""
        gpu = next_reset(gpus, healths, held)
        if gpu is None:
            return False
        log.warning("gpu.reset_begun", gpu=gpu.uuid, pci=gpu.pci)
        end = self._ends[gpu.uuid] = await self._reset(gpu)
        log.warning("gpu.reset_ended", gpu=gpu.uuid, failure=end.failure)
        return True

    async def _reset(self, gpu: Gpu) -> ResetEnd:
        """The order may be old, and another daemon's."""
        if (refusal := refuse_kind(gpu)) is not None:
            return ResetEnd(refusal.words)
        gate = (await self._gpus.gates([gpu.uuid]))[gpu.uuid]
        if gate.verdict is GateVerdict.FOREIGN:
            return ResetEnd(
                f"a process that is not the agent's uses it ({gate.holders}); end it and ask again"
            )
        return await self._gpus.reset(gpu)
