"""adapters/nvml/record — what was last known of the host's GPUs, as a file that survives everything. Asks no GPU."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from agent.core.gpus import Gpu
from agent.core.topology import NO_LINKS, LinkClass, Links

_log = structlog.get_logger()
_FORM = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A GPU or MIG instance that was seen. `whole` is the UUID of the GPU it is, or is part of; `minor` names its device."""

    gpu: Gpu
    whole: str
    minor: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """By UUID: `idle_bytes` is the memory in use on a GPU that nobody uses, `nvlinks_up` are the NVLinks that ever were up."""

    known: tuple[Known, ...] = ()
    links: Links = NO_LINKS
    idle_bytes: Mapping[str, int] = field(default_factory=dict)
    nvlinks_up: Mapping[str, frozenset[int]] = field(default_factory=dict)


NOTHING_KNOWN = Record()


def read_record(path: Path) -> Record:
    """A record that can't be read is as good as none: the driver is asked anew, and only what is missing now is forgotten."""
    try:
        return _record(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return NOTHING_KNOWN
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("gpus.record_unreadable", path=str(path), cause=str(error))
        return NOTHING_KNOWN


def write_record(path: Path, record: Record) -> None:
    """Renamed into place: whenever we die, the file is the old record or the new one. Raises OSError."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(_values(record), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _values(record: Record) -> dict[str, object]:
    return {
        "form": _FORM,
        "known": [asdict(known) for known in record.known],
        "links": [[*sorted(pair), int(link)] for pair, link in record.links.pairs.items()],
        "idle_bytes": dict(record.idle_bytes),
        "nvlinks_up": {uuid: sorted(numbers) for uuid, numbers in record.nvlinks_up.items()},
    }


def _record(values: Mapping[str, object]) -> Record:
    if values["form"] != _FORM:
        raise ValueError(f"form {values['form']!r}")
    known, links, idle = values["known"], values["links"], values["idle_bytes"]
    nvlinks_up = values.get("nvlinks_up", {})  # older agents kept none
    if not isinstance(known, list) or not isinstance(links, list):
        raise TypeError("no lists")
    if not isinstance(idle, dict) or not isinstance(nvlinks_up, dict):
        raise TypeError("no tables")
    return Record(
        tuple(_known(one) for one in known),
        Links({frozenset((one, other)): LinkClass(link) for one, other, link in links}),
        {str(uuid): int(used) for uuid, used in idle.items()},
        {str(uuid): frozenset(map(int, numbers)) for uuid, numbers in nvlinks_up.items()},
    )


def _known(values: Mapping[str, Any]) -> Known:
    gpu, whole = Gpu(**values["gpu"]), values["whole"]
    # A record from before GPUs said so themselves.
    return Known(gpu if gpu.mig is None else replace(gpu, whole=whole), whole, values["minor"])
