"""jobs/stranger_probe — what /health says of containers that are not ours and have GPUs. Ends none, and keeps no GPU back."""

from collections.abc import Callable, Sequence

from agent.core.gpu_strangers import GpuStranger, may_overlap, own_uuids
from agent.interfaces import Engine, Gpus
from agent.jobs.health import CheckState, Finding, Probe

MOST_NAMED = 10
REMEDY = (
    "One that only watches, such as an exporter of metrics, may stay. Stop any other, or leave its GPUs out of [gpus] use: "
    "while it has no process on a GPU, nothing keeps jobs off it."
)


def gpu_strangers_probe(engine: Engine, gpus: Gpus, use: Callable[[], Sequence[str]]) -> Probe:
    """`use`: the config's `[gpus] use`."""

    async def probe() -> Finding:
        own = own_uuids((await gpus.inventory()).wholes, use())
        if not own:
            return Finding(CheckState.OK, "there is no GPU to lease")
        seen = await engine.gpu_strangers()
        overlapping = [stranger for stranger in seen.found if may_overlap(stranger, own)]
        unseen = f"; {seen.unseen} containers were not looked at yet" if seen.unseen else ""
        if overlapping:
            told = "not the agent's, and may use GPUs that it leases:"
            counted = f"{told} containers, {len(overlapping)}{unseen}"
            return Finding(CheckState.WARN, counted, REMEDY, f"{told} {_name_all(overlapping)}{unseen}")
        count = len(seen.found)
        told = f"containers of others that have GPUs, but none that the agent leases: {count}"
        return Finding(CheckState.OK, f"{told}{unseen}")

    return probe


def _name_all(strangers: Sequence[GpuStranger]) -> str:
    more = len(strangers) - MOST_NAMED
    named = "; ".join(map(_name, strangers[:MOST_NAMED]))
    return f"{named}; and {more} more" if more > 0 else named


def _name(stranger: GpuStranger) -> str:
    of = f" of gpu-agent {stranger.agent}" if stranger.agent else ""
    return f"container {stranger.name}{of} has {', '.join(stranger.gpus)}"
