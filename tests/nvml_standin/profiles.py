"""Hosts for the stand-in, as values. `Host.text` are the lines that state.c reads.

A `gpu` line begins a GPU, a `mig` line an instance of it, and what follows are that unit's facts: a key and its values, the
same key again for one more. `fail FUNCTION CODE` and `hang FUNCTION` (or `*`) are facts too. A fact that is not there is
NOT_SUPPORTED.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

GIB = 1 << 30
INTERNAL, SINGLE, MULTIPLE, HOST_BRIDGE, NODE, SYSTEM = 0, 10, 20, 30, 40, 50
NVLINK_OK, NVLINK_NOT = 0, 5
NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST, MISMATCH, NO_PERMISSION = 3, 9, 15, 18, 4
_SWITCH = "00000000:C1:00.0"


@dataclass(frozen=True, slots=True)
class Instance:
    slot: int
    uuid: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Card:
    uuid: str
    facts: tuple[str, ...]
    instances: tuple[Instance, ...] = ()

    def without(self, key: str) -> "Card":
        return replace(self, facts=tuple(fact for fact in self.facts if fact.split()[0] != key))

    def having(self, *facts: str) -> "Card":
        """These facts instead of what it has under their keys."""
        card = self
        for key in {fact.split()[0] for fact in facts}:
            card = card.without(key)
        return replace(card, facts=(*card.facts, *facts))


@dataclass(frozen=True, slots=True)
class Host:
    cards: tuple[Card, ...] = ()
    links: tuple[str, ...] = ()
    init: str = "0"
    storm: str = ""

    def text(self) -> str:
        lines = [f"init {self.init}"]
        for card in self.cards:
            lines += [f"gpu {card.uuid}", *card.facts]
            for instance in card.instances:
                lines += [f"mig {instance.slot} {instance.uuid}", *instance.facts]
        storm = [f"storm {self.storm}"] if self.storm else []
        return "\n".join([*lines, *self.links, *storm]) + "\n"

    def but(self, place: int, *facts: str) -> "Host":
        """The same host where one GPU has other facts."""
        cards = (*self.cards[:place], self.cards[place].having(*facts), *self.cards[place + 1 :])
        return replace(self, cards=cards)

    def without(self, place: int) -> "Host":
        return replace(self, cards=self.cards[:place] + self.cards[place + 1 :])


def uuid_of(place: int) -> str:
    return f"GPU-{place:08x}-1111-2222-3333-444444444444"


def _card(place: int, name: str, gib: int, numa: int, bus: int) -> Card:
    return Card(
        uuid_of(place),
        (
            f"name {name}",
            f"pci 00000000:{bus:02X}:00.0",
            f"memory {gib * GIB} {500 << 20} {4 << 20}",
            f"minor {place}",
            f"numa {numa}",
            "mig_mode 0",
            "ecc 0",
            "rows 0 0 0 0",
            "recovery 0",
            "reasons 1",
            "utilisation 7 3",
            "power 70500",
            "temperature 31",
            f"energy {1000 * (place + 1)}",
        ),
    )


def _pairs(cards: Sequence[Card], level: int, nvlink: int) -> tuple[str, ...]:
    return tuple(f"link {one.uuid} {other.uuid} {level} {nvlink}" for one, other in combinations(cards, 2))


def hgx_h100() -> Host:
    """Eight GPUs on NVSwitches, four a socket. The far end of each of 18 links is a switch."""
    cards = tuple(
        _card(place, "NVIDIA H100 80GB HBM3", 80, place // 4, 0x1B + 0x10 * place).having(
            *[f"nvlink 1 {_SWITCH}"] * 18, "fabric 3 0 0"
        )
        for place in range(8)
    )
    return Host(cards, _pairs(cards, SYSTEM, NVLINK_OK))


def a100_mig() -> Host:
    """Eight GPUs, two of them in MIG mode; their slots have holes, and one instance's name does not tell its profile."""
    cards = [_card(place, "NVIDIA A100-SXM4-80GB", 80, place // 4, 0x07 + 8 * place) for place in range(8)]
    cards[2] = _split(cards[2], {0: "1g.10gb", 3: "1g.10gb", 6: "2g.20gb"})
    cards[5] = _split(cards[5], {1: "3g.40gb"})
    quiet = Instance(4, "MIG-5-4", (f"memory {20 * GIB} 0 0", "attributes 2 1 19968"))
    cards[5] = replace(cards[5], instances=(*cards[5].instances, quiet))
    return Host(tuple(cards), _pairs(cards, NODE, NVLINK_NOT))


def _split(card: Card, slots: dict[int, str]) -> Card:
    place = int(card.uuid[4:12], 16)
    instances = tuple(
        Instance(
            slot,
            f"MIG-{place}-{slot}",
            (
                f"name NVIDIA A100-SXM4-80GB MIG {profile}",
                f"memory {int(profile.split('.')[1][:-2]) * GIB} 0 {1 << 20}",
            ),
        )
        for slot, profile in slots.items()
    )
    return replace(card.having("mig_mode 1", "slots 7"), instances=instances)


def l40s_pcie() -> Host:
    """Two behind one PCIe switch, two that share a host bridge, on two NUMA nodes."""
    cards = tuple(_card(place, "NVIDIA L40S", 45, place // 2, 0x21 + 0x20 * place) for place in range(4))
    across = tuple(
        f"link {one.uuid} {other.uuid} {SYSTEM} {NVLINK_NOT}" for one in cards[:2] for other in cards[2:]
    )
    return Host(
        cards,
        (*_pairs(cards[:2], SINGLE, NVLINK_NOT), *_pairs(cards[2:], HOST_BRIDGE, NVLINK_NOT), *across),
    )


def consumer() -> Host:
    """Two cards of which the driver tells but half, the first with a desktop on it."""
    cards = [_card(place, "NVIDIA GeForce RTX 4090", 24, 0, 0x01 + place) for place in range(2)]
    for key in ("mig_mode", "ecc", "rows", "recovery", "numa", "energy"):
        cards = [card.without(key) for card in cards]
    return Host((cards[0].having("graphics 1234 52428800"), cards[1]), _pairs(cards, NODE, NVLINK_NOT))


def sick() -> Host:
    """Four GPUs: the second is lost, the third hangs at every touch."""
    return l40s_pcie().but(1, f"fail * {GPU_IS_LOST}").but(2, "hang *")


def no_driver() -> Host:
    return Host(init=str(DRIVER_NOT_LOADED))


def mismatch() -> Host:
    return Host(init=str(MISMATCH))
