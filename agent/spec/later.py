"""spec/later — the fields that are known and do nothing yet: refused by name unless at their default, never accepted and ignored."""

from agent.spec.faults import Fault, join_path
from agent.spec.forms import Body

# Each with the values that ask for nothing. The types are compared too, since in Python 0 equals false.
NOTHING_ASKED: dict[str, tuple[object, ...]] = {
    "volumes": ([],),
}


def take_out_later_fields(body: Body) -> tuple[Body, list[Fault]]:
    """Give the body without these fields (their default says the same), and a fault for each that asks for something."""
    faults = find_asked(body)
    kept = {name: value for name, value in body.items() if name not in NOTHING_ASKED}
    return kept, faults


def find_asked(body: Body) -> list[Fault]:
    return [
        Fault(
            join_path(name),
            "not_supported_yet",
            "is known, but this version does nothing with it yet",
            "Leave it out.",
        )
        for name, nothing in NOTHING_ASKED.items()
        if name in body and not any(is_same(body[name], value) for value in nothing)
    ]


def is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
