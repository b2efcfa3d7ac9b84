"""cli/show/gpus — GPUs as tables, and a small picture of what links them. Asks nobody."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.show.tables import facts_table, plain_table, state_text
from agent.cli.show.words import fit, one_line, size_text, time_text

Json = Mapping[str, Any]

# As people know them from the driver's own tool.
LINKS = {
    "nvlink": "NV",
    "same_pcie_switch": "PIX",
    "same_host_bridge": "PHB",
    "same_numa_node": "NODE",
    "other": "SYS",
}
LEGEND = "NV NVLink · PIX same PCIe switch · PHB same host bridge · NODE same node"


def gpus_view(listed: Json) -> RenderableType:
    gpus = listed["items"]
    if not gpus:
        return Text(f"no GPUs: {one_line(listed['condition'] or 'the host has none')}")
    parts: list[RenderableType] = []
    if listed["condition"]:
        parts.append(Text(one_line(listed["condition"]), style="yellow"))
    parts += [gpus_table(gpus), *notes(gpus)]
    if listed["links"]:
        parts += [Text(), links_table(gpus, listed["links"]), Text(LEGEND, style="dim")]
    return Group(*parts)


def gpus_table(gpus: Sequence[Json]) -> Table:
    """In 80 columns, with each UUID whole: it is what the other commands want."""
    table = plain_table(("#", "GPU", "MODEL", "MEMORY", "STATE"), ("#", "MEMORY"))
    for number, gpu in enumerate(gpus):
        model = f"MIG {gpu['mig']}" if gpu["mig"] else str(gpu["model"]).removeprefix("NVIDIA ")
        table.add_row(
            str(number),
            fit(gpu["uuid"], 40),
            fit(model, 12),
            size_text(gpu["memory"]),
            state_text(state_of(gpu)),
        )
    return table


def notes(gpus: Sequence[Json]) -> list[RenderableType]:
    """A line for each that has more to say: why it is not well, or whose it is."""
    said = [(number, use_of(gpu)) for number, gpu in enumerate(gpus)]
    return [Text(f"{number:>2}  {one_line(use)}", style="dim") for number, use in said if use]


def state_of(gpu: Json) -> str:
    """What an operator wants to know first: whether it is well, and then whether it is busy."""
    if gpu["state"] is None:
        return "not looked at"
    if gpu["state"] != "ok":
        return one_line(gpu["state"])
    return "leased" if gpu["leased"] else "free"


def use_of(gpu: Json) -> str:
    if gpu["words"]:
        return str(gpu["words"])
    if not gpu["used"]:
        return "not in [gpus] use"
    return f"job {gpu['job']}" if gpu["job"] else ""


def state_line(gpu: Json) -> str:
    return f"{gpu['uuid']} is {state_of(gpu)}"


def was_reset(gpu: Json) -> bool:
    """Of a GPU whose reset has ended: whether it is here, and wants no other."""
    return gpu["state"] != "missing" and "reset" not in gpu["needs"]


def reset_line(gpu: Json) -> str:
    """How its reset ended."""
    if not was_reset(gpu):
        return f"{gpu['uuid']} is {state_of(gpu)}: {gpu['words']}"
    left = gpu["probation_left"]
    wait = "" if left is None else f"; well again in {left:.0f} s, if nothing more is seen"
    return f"{gpu['uuid']} was reset, and is {state_of(gpu)}{wait}"


def links_table(gpus: Sequence[Json], links: Sequence[Json]) -> Table:
    """Each GPU against each, by its number in the list."""
    between = {frozenset(pair["gpus"]): LINKS.get(pair["link"], "?") for pair in links}
    whole = [(number, gpu["uuid"]) for number, gpu in enumerate(gpus) if not gpu["mig"]]
    table = plain_table(("", *(str(number) for number, _ in whole)))
    for number, uuid in whole:
        cells = ("·" if other == uuid else between.get(frozenset((uuid, other)), "?") for _, other in whole)
        table.add_row(str(number), *cells)
    return table


def gpu_view(gpu: Json) -> RenderableType:
    left = gpu["probation_left"]
    facts = [
        ("GPU", one_line(gpu["uuid"])),
        ("model", one_line(gpu["model"])),
        ("memory", size_text(gpu["memory"])),
        ("at", f"PCI {one_line(gpu['pci'] or '-')}, NUMA node {gpu['numa_node']}"),
        ("state", state_of(gpu)),
        ("why", one_line(gpu["words"] or "-")),
        ("waits for", ", ".join(gpu["needs"]) or "-"),
        ("well again in", "-" if left is None else f"{left:.0f} s, if nothing more is seen"),
        ("job", one_line(gpu["job"] or "-")),
    ]
    parts: list[RenderableType] = [facts_table(facts)]
    if gpu["history"]:
        parts += [Text(), history_table(gpu["history"])]
    return Group(*parts)


def history_table(history: Sequence[Mapping[str, object]]) -> Table:
    table = plain_table(("AT", "FROM", "TO", "WHY"))
    for change in reversed(history):
        table.add_row(
            time_text(str(change["at"])),
            state_text(str(change["from"])),
            state_text(str(change["to"])),
            fit(str(change["words"] or ""), 30),
        )
    return table
