"""cli/show/host — the host, its checks, tokens and config faults, for people. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.show.tables import facts_table, plain_table, state_text
from agent.cli.show.words import clean, fit, one_line, size_text, stamp_of

Json = Mapping[str, Any]

SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token's record as it is listed. Times are UTC seconds; None is never."""

    id: str
    name: str
    principal: str
    scopes: tuple[str, ...]
    expires_at: float | None
    last_used_at: float | None


def host_view(host: Json) -> RenderableType:
    ports, engine = host["ports"], host.get("engine")
    told_engine = (
        "does not answer"
        if engine is None
        else f"{engine['version']} ({engine['architecture']}, cgroup v{engine['cgroup_version']})"
    )
    limits = {name: limit for name, limit in host["limits"].items() if limit is not None}
    facts: list[tuple[str, str | Text]] = [
        ("agent", f"{one_line(host['agent'])}, version {one_line(host['version'])}"),
        ("engine", one_line(told_engine)),
        (
            "live-restore",
            "unknown" if engine is None else "on" if engine["live_restore"] else Text("off", style="red"),
        ),
        ("cpus", "-" if host["cpus"] is None else f"{host['cpus']:g}"),
        ("memory", size_text(host["memory"])),
        ("state disk", f"{size_text(host['state_free'])} free"),
        (
            "ports",
            f"{ports['first']}-{ports['last']}: {ports['held']} held, {ports['bad']} bad, {ports['free']} free",
        ),
        ("jobs", ", ".join(f"{count} {phase}" for phase, count in host["jobs"].items() if count) or "none"),
        ("queues", "\n".join(f"{one_line(name)}: {use_text(use)}" for name, use in host["queues"].items())),
        (
            "limits",
            ", ".join(f"{name} {limit_text(name, limit)}" for name, limit in limits.items()) or "the host's",
        ),
    ]
    parts: list[RenderableType] = [facts_table(facts)]
    if host["gpus"]:
        parts += [Text(), gpus_table(host["gpus"])]
    return Group(*parts)


def use_text(use: Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in use.items() if value is not None)


def limit_text(name: str, limit: float) -> str:
    return size_text(int(limit)) if name in {"memory", "shm", "disk"} else f"{limit:g}"


def gpus_table(gpus: Sequence[Json]) -> Table:
    table = plain_table(("GPU", "MODEL", "MEMORY", "LEASED"), ("MEMORY",))
    for gpu in gpus:
        table.add_row(
            fit(gpu["uuid"], 42),
            fit(gpu["model"], 18),
            size_text(gpu["memory"]),
            "yes" if gpu["leased"] else "no",
        )
    return table


def checks_view(checks: Sequence[Json]) -> Table:
    """✓ ! ✗ a check, what was seen, and below it what to do."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        state = str(check["state"])
        seen = Text(clean(check["evidence"]))
        if check.get("remedy") and state != "ok":
            seen.append(f"\n→ {clean(check['remedy'])}", style="dim")
        sign = state_text(state)
        sign.plain = SIGNS.get(state, "?")
        table.add_row(sign, one_line(check["name"]), seen)
    return table


def tokens_table(tokens: Sequence[TokenLine]) -> Table:
    table = plain_table(("ID", "NAME", "PRINCIPAL", "SCOPES", "EXPIRES", "LAST USED"))
    for token in tokens:
        table.add_row(
            token.id,
            fit(token.name, 11),
            fit(token.principal, 11),
            "\n".join(map(one_line, token.scopes)),
            stamp_of(token.expires_at)[:10],
            stamp_of(token.last_used_at),
        )
    return table
