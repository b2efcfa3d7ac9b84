"""The edges between phases, as a table."""

from itertools import product

import pytest

from agent.core.state import ACTIVE, EDGES, IllegalMoveError, move
from agent.errors import Phase
from tests.unit.core_values import make_job

ALLOWED = """
queued starting
queued stopping
starting running
starting stopping
running stopping
stopping queued
stopping uploading
uploading finished
"""
PAIRS = {(Phase(line.split()[0]), Phase(line.split()[1])) for line in ALLOWED.split("\n") if line}


def test_the_edges_are_those_of_the_design() -> None:
    assert EDGES == PAIRS


@pytest.mark.parametrize(("at", "to"), sorted(product(Phase, Phase)))
def test_a_move_is_an_edge_with_its_event_or_it_is_refused(at: Phase, to: Phase) -> None:
    job = make_job(phase=at)
    if (at, to) not in PAIRS:
        with pytest.raises(IllegalMoveError):
            move(job, to)
        return
    moved, events = move(job, to, waiting_for="queue")
    assert (moved.phase, moved.waiting_for, moved.version) == (to, "queue", job.version)
    assert [(event.type, event.data["from"], event.data["to"]) for event in events] == [("job.phase", at, to)]


def test_what_may_have_a_container_is_active() -> None:
    assert {Phase.STARTING, Phase.RUNNING, Phase.STOPPING} == ACTIVE


def test_nothing_leaves_finished_and_all_reach_it() -> None:
    reached = {Phase.FINISHED}
    while grown := {at for at, to in EDGES if to in reached} - reached:
        reached |= grown
    assert reached == set(Phase)
    assert not [edge for edge in EDGES if edge[0] is Phase.FINISHED]
