"""bench/network — what the rules of the jobs' network add to a job's start: two agents by turns, one of which has a stand-in for nft."""

import os
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most, describe, error_of_median
from bench.host import BRIDGE, Agent, Bench, run_alone
from bench.sightings import Sightings
from bench.submit import our_seconds

MOST_ADDED_SECONDS = 0.015
SAMPLES = 60
WARM_UP = 3
# Takes rules and reads them back as nft does, and tells the kernel nothing. So its agent does all that the other does, but
# neither is there a rule for a packet to pass, nor does the kernel have any to take to the network of a new container. It shows
# the rules of both tables as those of one: the agent counts them together.
STAND_IN = """#!/bin/sh
kept=$(dirname "$0")/rules
if [ "$1" = -f ]; then exec cat > "$kept"; elif [ "$4" = inet ]; then exec cat "$kept"; fi
"""


async def measure(bench: Bench) -> list[Figure]:
    path = f"{make_stand_in(bench.folder)}:{os.environ['PATH']}"
    async with (
        bench.agent() as ruled,
        bench.agent(environment={"PATH": path}) as free,
        ruled.phases() as ruled_phases,
        free.phases() as free_phases,
    ):
        with_rules, without = [], []
        for number in range(bench.size(SAMPLES, 10) + WARM_UP):
            taken = await start_seconds(ruled, ruled_phases), await start_seconds(free, free_phases)
            if number >= WARM_UP:
                with_rules.append(taken[0])
                without.append(taken[1])
    print(f"  with: {describe(with_rules, 'ms', 1e3)}; without: {describe(without, 'ms', 1e3)}")
    differences = [1e3 * (one - other) for one, other in zip(with_rules, without, strict=True)]
    name = f"submit → running, network egress: what the rules add, median of {len(differences)}"
    most, error = MOST_ADDED_SECONDS * 1e3, f" ± {error_of_median(differences):.1f}"
    return [at_most("network", name, median(differences), most, "{:.1f} ms", error)]


def make_stand_in(folder: Path) -> Path:
    place = folder / "stand-in"
    place.mkdir()
    program = place / "nft"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return place


async def start_seconds(agent: Agent, phases: Sightings) -> float:
    return await our_seconds(agent, phases, agent.spec("sleep", "600", network=BRIDGE))


if __name__ == "__main__":
    run_alone(measure)
