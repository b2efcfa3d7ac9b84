"""cli/show/top — what all GPUs do at this moment, and what one job uses, as tables with bars. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.show.gpus import state_of
from agent.cli.show.jobs import SHORT_ID, jobs_table
from agent.cli.show.meters import meter
from agent.cli.show.tables import facts_table, plain_table, state_text
from agent.cli.show.usage import usage_facts
from agent.cli.show.words import fit, one_line, seconds_of, size_text, span_text

Json = Mapping[str, Any]

# All columns but the two bars, with their gaps, and the model where it has a place.
FIXED, MODEL = 66, 14
LEAST_BAR, MOST_BAR = 5, 24
# Above this a memory's bar warns.
NEARLY_FULL = 0.95


def top_view(seen: Json, now: float, width: int) -> RenderableType:
    """`seen`: `gpus` as GET /v1/gpus?sample=1 lists them, `jobs` that hold or will hold some."""
    gpus, jobs = seen["gpus"]["items"], seen["jobs"]["items"]
    parts: list[RenderableType] = []
    if gpus:
        parts += [gpus_now(gpus, width), *slowdown_notes(gpus)]
    else:
        parts.append(Text(f"no GPUs: {one_line(seen['gpus']['condition'] or 'the host has none')}"))
    parts.append(Text())
    parts.append(jobs_table(jobs, now, width) if jobs else Text("no job runs", style="dim"))
    return Group(*parts)


def gpus_now(gpus: Sequence[Json], width: int) -> Table:
    """One line a GPU, in `width` columns."""
    has_model = width >= FIXED + MODEL + 2 * LEAST_BAR
    spare = width - FIXED - (MODEL if has_model else 0)
    bar = max(LEAST_BAR, min(MOST_BAR, spare // 2))
    model = ("MODEL",) if has_model else ()
    table = plain_table(
        ("#", *model, "BUSY", "MEMORY", "POWER", "TEMP", "STATE", "JOB"), ("#", "POWER", "TEMP")
    )
    for number, gpu in enumerate(gpus):
        sample = gpu["sample"] or {}
        table.add_row(
            str(number),
            *([fit(str(gpu["mig"] or gpu["model"]).removeprefix("NVIDIA "), MODEL - 2)] if has_model else []),
            _busy(sample, bar),
            _memory(sample, gpu["memory"], bar),
            _unit(sample.get("power"), "W"),
            _unit(sample.get("temperature"), "°C"),
            state_text(fit(state_of(gpu), 11)),
            fit(str(gpu["job"] or "-")[:SHORT_ID], SHORT_ID),
        )
    return table


def slowdown_notes(gpus: Sequence[Json]) -> list[RenderableType]:
    slowed = [
        (number, gpu["sample"]["slowdowns"])
        for number, gpu in enumerate(gpus)
        if gpu["sample"] and gpu["sample"]["slowdowns"]
    ]
    return [
        Text(f"{number:>2}  slowed down: {one_line(', '.join(why))}", style="yellow")
        for number, why in slowed
    ]


def stats_view(stats: Json, now: float, width: int) -> RenderableType:
    """What one job uses."""
    bar = max(LEAST_BAR, min(MOST_BAR, width - 56))
    parts: list[RenderableType] = [
        facts_table([(name, value) for name, value in _facts(stats, now, bar) if value])
    ]
    if stats["gpus"]:
        parts += [Text(), _gpus_of(stats["gpus"], bar)]
    sums = [(name, value) for name, value in usage_facts(stats["gpu_usage"]) if value]
    if sums:
        parts += [Text(), facts_table(sums)]
    return Group(*parts)


def _facts(stats: Json, now: float, bar: int) -> list[tuple[str, str | Text | None]]:
    started, used = seconds_of(stats["started_at"]), stats["container"]
    rows: list[tuple[str, str | Text | None]] = [
        ("job", f"{stats['job']}, attempt {stats['attempt']}"),
        ("runs for", None if started is None else span_text(now - started)),
    ]
    if used is None:
        return [*rows, ("container", "it has just ended, or the engine does not answer")]
    cpu, network = used["cpu_percent"], (used["network_received"], used["network_sent"])
    return [
        *rows,
        ("processors", None if cpu is None else f"{cpu / 100:.2f} busy, {span_text(used['cpu_seconds'] or 0)} in all"),
        ("memory", _memory({"memory_used": used["memory"]}, used["memory_limit"], bar).append(f" of {size_text(used['memory_limit'])}")),
        ("processes", None if used["pids"] is None else str(used["pids"])),
        ("network", None if network[0] is None else f"{size_text(network[0])} received, {size_text(network[1])} sent"),
        ("disk", None if used["disk_read"] is None else f"{size_text(used['disk_read'])} read, {size_text(used['disk_written'])} written"),
    ]  # fmt: skip


def _gpus_of(gpus: Sequence[Json], bar: int) -> Table:
    table = plain_table(("GPU", "BUSY", "MEMORY", "POWER", "TEMP"), ("POWER", "TEMP"))
    for gpu in gpus:
        table.add_row(
            fit(gpu["uuid"], 13),
            _busy(gpu, bar),
            Text(size_text(gpu["memory_used"])),
            _unit(gpu["power"], "W"),
            _unit(gpu["temperature"], "°C"),
        )
    return table


def _busy(sample: Json, bar: int) -> Text:
    percent = sample.get("utilisation")
    told = "   -" if percent is None else f"{percent:3.0f}%"
    return meter(None if percent is None else percent / 100, bar).append(f" {told}")


def _memory(sample: Json, total: int | None, bar: int) -> Text:
    used = sample.get("memory_used")
    share = None if used is None or not total else used / total
    style = "red" if share is not None and share > NEARLY_FULL else "cyan"
    return meter(share, bar, style).append(f" {size_text(used):>9}")


def _unit(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"
