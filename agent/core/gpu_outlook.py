"""core/gpu_outlook — which GPUs that are not well stay so until somebody acts, and what each waits for. Pure; judges none.

All others get well by themselves: when they were quiet or clean for their time, or when a reset that is under way is done.
"""

from collections.abc import Iterable, Mapping, Sequence

from agent.core.gpu_findings import GpuState, Need
from agent.core.gpu_health import is_used
from agent.core.gpu_record import GpuHealth

_WORDS = (
    (Need.REBOOT, "needs a reboot of the host"),
    (Need.RESET, "needs a reset"),
    (Need.OPERATOR, "is held until an operator restores it"),
)


def stuck_gpus(uuids: Iterable[str], healths: Mapping[str, GpuHealth], use: Sequence[str]) -> dict[str, str]:
    """By UUID what it waits for, as words that follow its name and "which"."""
    words = {uuid: _words(uuid, healths.get(uuid), use) for uuid in uuids}
    return {uuid: said for uuid, said in words.items() if said is not None}


def _words(uuid: str, health: GpuHealth | None, use: Sequence[str]) -> str | None:
    if not is_used(uuid, use):
        return "the config does not lend ([gpus] use)"
    if health is None:  # it is judged in a moment
        return None
    said = ["is missing"] if health.state is GpuState.MISSING else []
    # What a reset lifts is on its way while one is under way.
    met = {Need.RESET} if health.state is GpuState.RESETTING else set()
    said += [words for need, words in _WORDS if need in health.needs - met]
    return " and ".join(said) or None
