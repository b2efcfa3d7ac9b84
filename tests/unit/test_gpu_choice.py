"""The chosen set is the one that the rule names: told by a reference that tries every set, written from the rule and not from the code."""

import random
from collections.abc import Iterable
from functools import cache
from itertools import combinations

import pytest

from agent.core.choice import ChosenSet, best_set, largest_linked
from agent.core.gpus import Gpu
from agent.core.topology import LinkClass, Links, bits
from agent.spec import Interconnect
from tests.unit.gpu_hosts import HOSTS, MIXED, MIXED_LINKS, NVSWITCH, NVSWITCH_LINKS

Key = tuple[object, ...]
STATES = 10_000


class Reference:
    """The rule, word by word, on one host."""

    def __init__(self, host: tuple[Gpu, ...], links: Links) -> None:
        self.address = {gpu.uuid: gpu.pci for gpu in host}
        self.links = links
        self.total = cache(self._total)
        self.best_of = cache(self._best_of)

    def link(self, pair: tuple[str, str]) -> int:
        return self.links.pairs.get(frozenset(pair), LinkClass.OTHER)

    def _total(self, uuids: tuple[str, ...]) -> int:
        return sum(self.link(pair) for pair in combinations(uuids, 2))

    def _best_of(self, left: tuple[str, ...], size: int) -> int:
        return max((self.total(some) for some in combinations(left, size)), default=0)

    def least(self, uuids: tuple[str, ...]) -> int:
        return min((self.link(pair) for pair in combinations(uuids, 2)), default=4)

    def choose(
        self, fit: list[str], free: list[str], count: int, interconnect: Interconnect
    ) -> set[str] | None:
        def key(uuids: tuple[str, ...]) -> Key:
            left = tuple(uuid for uuid in free if uuid not in uuids)
            own = () if interconnect is Interconnect.ANY else (-self.least(uuids), -self.total(uuids))
            others = (-self.best_of(left, size) for size in (2, 4, 8))
            return (*own, *others, sorted(self.address[uuid] for uuid in uuids))

        sets = [
            uuids
            for uuids in combinations(fit, count)
            if interconnect is not Interconnect.NVLINK or self.least(uuids) == LinkClass.NVLINK
        ]
        return set(min(sets, key=key)) if sets else None


def mask_of(host: tuple[Gpu, ...], uuids: Iterable[str]) -> int:
    place = {gpu.uuid: number for number, gpu in enumerate(host)}
    return sum(1 << place[uuid] for uuid in uuids)


def uuids_of(host: tuple[Gpu, ...], chosen: ChosenSet | None) -> set[str] | None:
    return None if chosen is None else {host[number].uuid for number in bits(chosen.mask)}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTS)
def test_in_ten_thousand_states_of_a_host_the_set_is_the_references(name: str) -> None:
    host, links = HOSTS[name]
    matrix, reference, dice = (
        links.matrix([gpu.uuid for gpu in host]),
        Reference(host, links),
        random.Random(name),
    )
    models = [{gpu.model for gpu in host}, *({gpu.model} for gpu in host)]
    granted = 0
    for _ in range(STATES):
        free = [gpu.uuid for gpu in host if dice.random() < 0.7]
        models_wanted = dice.choice(models)
        fit = [gpu.uuid for gpu in host if gpu.uuid in free and gpu.model in models_wanted]
        count, interconnect = dice.randint(1, len(host)), dice.choice(list(Interconnect))
        chosen = best_set(matrix, mask_of(host, fit), mask_of(host, free), count, interconnect)
        assert uuids_of(host, chosen) == reference.choose(fit, free, count, interconnect), (free, fit, count)
        granted += chosen is not None
    assert granted > STATES // 4


def test_on_links_at_random_the_set_is_the_references() -> None:
    dice = random.Random(7)
    for _ in range(150):
        host = MIXED[: dice.randint(3, 8)]
        links = Links(
            {frozenset((a.uuid, b.uuid)): LinkClass(dice.randint(0, 4)) for a, b in combinations(host, 2)}
        )
        matrix, reference = links.matrix([gpu.uuid for gpu in host]), Reference(host, links)
        uuids = [gpu.uuid for gpu in host]
        for interconnect in Interconnect:
            for count in range(1, len(host) + 1):
                chosen = best_set(matrix, mask_of(host, uuids), mask_of(host, uuids), count, interconnect)
                assert uuids_of(host, chosen) == reference.choose(uuids, uuids, count, interconnect)


def test_a_single_gpu_is_taken_where_it_breaks_no_pair() -> None:
    """Lower addresses come first only among equals: GPU-02 and GPU-03 have a bridge of NVLink, which a pair may want."""
    matrix = MIXED_LINKS.matrix([gpu.uuid for gpu in MIXED])
    chosen = best_set(matrix, 0b1000_1100, 0b1000_1100, 1, Interconnect.BEST)
    assert uuids_of(MIXED, chosen) == {"GPU-07"}


def test_the_score_is_told() -> None:
    matrix = NVSWITCH_LINKS.matrix([gpu.uuid for gpu in NVSWITCH])
    chosen = best_set(matrix, 0xFF, 0xFF, 2, Interconnect.BEST)
    assert chosen is not None
    assert (chosen.mask, chosen.considered) == (0b11, 1)  # all are alike: one set stands for all 28
    assert (chosen.score.least_link, chosen.score.links, chosen.score.left) == (4, 4, (4, 24, 0))


def test_the_largest_linked_set_is_told() -> None:
    matrix = MIXED_LINKS.matrix([gpu.uuid for gpu in MIXED])
    assert largest_linked(matrix, 0xFF) == 2
    assert largest_linked(matrix, 0b1111_0000) == 1
    assert largest_linked(matrix, 0) == 0
