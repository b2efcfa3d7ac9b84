"""jobs/cords/probe — the check of cords in /health: how many jobs answer, and how calls ended. Mends nothing."""

from agent.jobs.cords.calls import Cords
from agent.jobs.health import CheckState, Finding, Probe

REMEDY = "Their owners see why in the answers, and in the logs of the jobs that these name."


def cords_probe(cords: Cords) -> Probe:
    """A chute that can't answer is its author's affair: whoever looks after the host is told, without names, and not alarmed."""

    async def probe() -> Finding:
        tally = cords.tally
        ends = ", ".join(f"{count} {end}" for end, count in sorted(tally.ends.items())) or "none"
        told = f"{cords.hosts.warm} jobs answer cords; calls since the start: {ends}; they took {tally.seconds:.1f} s"
        failing = cords.hosts.failing
        if failing:
            return Finding(CheckState.OK, f"{told}; {len(failing)} chutes could not answer", REMEDY)
        return Finding(CheckState.OK, told)

    return probe
