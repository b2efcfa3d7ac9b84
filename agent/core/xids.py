"""core/xids — what each XID error of the driver means for its GPU: a table that the config overrides by row. Watches nothing.

Sources: NVIDIA's XID catalogue; of the application's own, 68 is from the list that NVIDIA's device plugin for Kubernetes ignores.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class XidAction(StrEnum):
    """What an XID asks for. The values are the words of `[gpus.xid]` in the config."""

    APPLICATION = "application"  # the program's own doing: it is blamed, the GPU is well
    RESET = "reset"  # the GPU is of no use until it is reset; its job ends by the host's fault
    LOST = "lost"  # the GPU is off the bus until the host boots anew, and so is what ran on it
    FACTS = "facts"  # kept back until the counters of the driver have been clean for a while
    SUSPECT = "suspect"  # nobody knows: kept back, told once, nothing is stopped; all that have no row
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class XidRow:
    action: XidAction
    meaning: str


def _rows(action: XidAction, meanings: Mapping[int, str]) -> dict[int, XidRow]:
    return {xid: XidRow(action, meaning) for xid, meaning in meanings.items()}


ROWS: Mapping[int, XidRow] = {
    **_rows(
        XidAction.APPLICATION,
        {
            13: "an exception of the graphics engine",
            31: "a page fault in GPU memory",
            43: "the GPU stopped work for one program",
            45: "the work of one program was cleaned up",
            68: "an exception of the video engine",
            69: "a class error of the graphics engine",
        },
    ),
    **_rows(
        XidAction.RESET,
        {
            46: "the GPU stopped processing",
            62: "a microcontroller of the GPU halted",
            64: "a bad page or row could not be written down for retirement",
            95: "an uncontained memory error",
            109: "a context switch timed out",
            110: "a security fault",
            119: "the GPU's system processor did not answer",
            120: "an error of the GPU's system processor",
            136: "the training of a link failed",
            140: "an unrecovered memory error",
            143: "the GPU could not be initialised",
            155: "an NVLink error",
            156: "a resource was retired",
            158: "a fatal timeout",
        },
    ),
    **_rows(XidAction.LOST, {79: "the GPU fell off the bus", 151: "the rotation of keys failed"}),
    **_rows(
        XidAction.FACTS,
        {
            48: "a double-bit memory error",
            63: "a bad page or row was written down for retirement",
            74: "an NVLink error",
            92: "many corrected memory errors",
            94: "a contained memory error",
            **dict.fromkeys(range(144, 151), "an error of an NVLink unit"),
        },
    ),
}


@dataclass(frozen=True, slots=True)
class XidTable:
    """The table as this host has it: the operator's rows over the built-in ones."""

    overrides: Mapping[int, XidAction] = field(default_factory=dict)

    def action(self, xid: int) -> XidAction:
        if xid in self.overrides:
            return self.overrides[xid]
        return ROWS[xid].action if xid in ROWS else XidAction.SUSPECT


def describe(xid: int) -> str:
    """The XID in words, for events and messages."""
    return f"XID {xid}: {ROWS[xid].meaning if xid in ROWS else 'not in the table'}"


def read_xid(value: object) -> int:
    """Read the key of an operator's row. Raises ValueError. One spelling a number: "031" beside "31" would be two rows for one."""
    if re.fullmatch(r"[1-9][0-9]{0,3}", str(value)) is None:
        raise ValueError("an XID is a number from 1 to 9999, such as 31")
    return int(str(value))


def read_action(value: object) -> XidAction:
    """Read what an operator's row asks for. Raises ValueError."""
    if not isinstance(value, str) or value not in set(XidAction):
        raise ValueError(f"what to do is one of {', '.join(XidAction)}")
    return XidAction(value)
