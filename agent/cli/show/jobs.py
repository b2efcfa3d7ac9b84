"""cli/show/jobs — jobs and their attempts, for people. Pure."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.show.functions import error_text, function_facts, function_name, percent_text
from agent.cli.show.tables import GAP, facts_table, plain_table, state_text
from agent.cli.show.uploads import LEFT_BEHIND, percent_of, upload_text
from agent.cli.show.usage import usage_facts
from agent.cli.show.words import age_text, clean, fit, one_line, seconds_of, size_text, span_text, time_text

Json = Mapping[str, Any]

# Ids begin with their time: 13 characters tell jobs apart that are a millisecond apart.
SHORT_ID = 13
STATE, WHY, GPUS, AGE = 10, 22, 4, 5
LEAST_NAME = 12
NOT_DELIVERED = (("pending", "pending"), ("dropped", "given up"))
END_WORDS = {"gone": "ended by the endpoint", "lost": "ended: its secret is lost"}


def jobs_table(jobs: Sequence[Json], now: float, width: int) -> Table:
    """One line a job, in `width` columns. `now` is UTC seconds."""
    id_width = short_id_width([str(job["id"]) for job in jobs])
    whys = [fit(why_of(job), WHY) for job in jobs]
    why_width = max([len("WHY"), *map(len, whys)])
    name_width = max(LEAST_NAME, width - id_width - STATE - why_width - GPUS - AGE - 5 * GAP)
    table = plain_table(("ID", "NAME", "STATE", "WHY", "GPUS", "AGE"), ("GPUS", "AGE"))
    for job, why in zip(jobs, whys, strict=True):
        table.add_row(
            str(job["id"])[:id_width],
            fit(name_of(job), name_width),
            state_text(fit(state_of(job), STATE)),
            why,
            str(gpu_count(job)),
            age_text(job["created_at"], now),
        )
    return table


def short_id_width(ids: Sequence[str]) -> int:
    """How much of each id tells all of them apart."""
    width = SHORT_ID
    while width < 36 and len({one[:width] for one in ids}) < len(set(ids)):
        width += 1
    return width


def name_of(job: Json) -> str:
    return str(job.get("name") or function_name(job) or job["spec"]["image"])


def state_of(job: Json) -> str:
    return str(job.get("outcome") or job["phase"])


def why_of(job: Json) -> str:
    """What it waits for, why it ended so, or which attempt runs: the one that matters most; and how much of its outputs has left."""
    if job["phase"] == "queued" and job.get("waiting_for"):
        return f"for {job['waiting_for']}"
    percent = percent_of(job.get("upload"))
    why = _end_or_attempt(job)
    if percent is None:
        return why
    told = f"{why}, sent {percent}%" if why else f"sent {percent}%"
    return told if len(told) <= WHY else why


def _end_or_attempt(job: Json) -> str:
    facts = job.get("exit") or {}
    reason = job.get("reason") or {}
    if reason.get("code") == "exit_nonzero":
        return f"exit {facts.get('code')}"
    if reason:
        return str(reason["code"])
    attempt = f"attempt {job['attempt']}" if job["attempt"] > 1 else None
    return ", ".join(part for part in (percent_text(job), attempt) if part)


def gpu_count(job: Json) -> int:
    return len(job["gpus"]) or int(job["spec"].get("gpus", {}).get("count", 0))


def job_view(job: Json, now: float, bar: int = 0) -> RenderableType:
    """All of one job that is not null. `bar`: how wide bars are; 0: there are none."""
    parts: list[RenderableType] = [facts_table(list(job_facts(job, now, bar)))]
    if reason := job.get("reason"):
        parts += [Text(), reason_text(reason)]
    if error := job.get("error"):
        parts += [Text(), error_text(error)]
    if (job.get("upload") or {}).get("state") in LEFT_BEHIND:
        parts += [Text(), Text(f"send the rest: gpu-agent outputs retry {job['id']}", style="dim")]
    if len(job["attempts"]) > 1:
        parts += [Text(), attempts_table(job["attempts"])]
    return Group(*parts)


def job_facts(job: Json, now: float, bar: int = 0) -> list[tuple[str, str | Text]]:
    spec, facts = job["spec"], job.get("exit") or {}
    state = state_text(state_of(job))
    if waiting := job.get("waiting_words") or job.get("waiting_for"):
        state.append(f" (waiting for {one_line(waiting)})", style="dim")
    elif job["phase"] == "uploading":
        state.append(" (its outputs leave)", style="dim")
    rows: list[tuple[str, str | Text | None]] = [
        ("id", str(job["id"])),
        ("name", job.get("name") and one_line(job["name"])),
        ("owner", one_line(job["owner"])),
        ("state", state),
        (
            "attempt",
            f"{job['attempt']} of at most {1 + spec['retry']['count']}" if spec["retry"]["count"] else None,
        ),
        ("image", one_line(spec["image"])),
        ("digest", job.get("image_digest")),
        # Of a function it is the same for all.
        ("command", None if job.get("chute") else command_text(spec)),
        *function_facts(job, bar),
        ("schedule", schedule_text(job.get("schedule"))),
        ("queue", f"{one_line(job['queue'])}, priority {job['priority']}"),
        ("created", f"{time_text(job['created_at'])} ({age_text(job['created_at'], now)} ago)"),
        ("started", job.get("started_at") and time_text(job["started_at"])),
        ("finished", job.get("finished_at") and time_text(job["finished_at"])),
        ("ran for", run_time(facts)),
        ("exit code", None if facts.get("code") is None else exit_text(facts)),
        ("peak memory", facts.get("peak_memory") and size_text(facts["peak_memory"])),
        ("gpus", "\n".join(map(one_line, job["gpus"])) or None),
        *usage_facts(job.get("gpu_usage")),
        ("ports", "\n".join(map(port_text, job["ports"])) or None),
        ("ssh", ssh_text(job["ssh"]) if job.get("ssh") else None),
        ("upload", upload_text(job["upload"], bar) if job.get("upload") else None),
        ("notified", notify_text(job.get("notify"))),
        (
            "labels",
            "\n".join(f"{one_line(key)}={one_line(value)}" for key, value in job["labels"].items()) or None,
        ),
    ]
    return [(name, value) for name, value in rows if value]


def schedule_text(fired_by: Json | None) -> str | None:
    if fired_by is None:
        return None
    return f"{one_line(fired_by['id'])}, {time_text(fired_by['due']) if fired_by['due'] else 'run by hand'}"


def command_text(spec: Json) -> str | None:
    words = [*(spec.get("entrypoint") or ()), *(spec.get("command") or ())]
    return one_line(shlex.join(words)) if words else None


def run_time(facts: Json) -> str | None:
    started, finished = seconds_of(facts.get("started_at")), seconds_of(facts.get("finished_at"))
    return None if started is None or finished is None else span_text(finished - started)


def exit_text(facts: Json) -> str:
    notes = [f"signal {facts['signal']}"] if facts.get("signal") else []
    notes += ["out of memory"] if facts.get("oom") else []
    return f"{facts['code']} ({', '.join(notes)})" if notes else str(facts["code"])


def port_text(port: Json) -> str:
    """`web 8080/http → http://…`; without a lease there is nothing behind the arrow."""
    name = f"{port['name']} {port['port']}/{port['proto']}"
    if port.get("url"):
        return f"{name} → {port['url']}"
    if port.get("external_port"):
        return f"{name} → {address_text(port['external_host'], port['external_port'])}"
    return f"{name} → {address_text(port['host'], port['host_port'])}" if port.get("host_port") else name


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ssh_text(ssh: Json) -> str:
    """Whether one can log in, with what, and the host key to expect."""
    state = one_line(ssh["state"])
    if ssh["command"] is None or ssh["state"] == "ended":
        return state
    return f"{state}\n{one_line(ssh['command'])}\n{one_line(ssh['fingerprint'])}"


def notify_text(notify: Json | None) -> str | None:
    """How many events were delivered and what became of the others; the last failure, as long as it is of one of these."""
    if notify is None:
        return None
    counts = [f"{notify['delivered']} delivered"]
    counts += [f"{notify[name]} {word}" for name, word in NOT_DELIVERED if notify[name]]
    counts += [END_WORDS[notify["state"]]] if notify["state"] in END_WORDS else []
    told = ", ".join(counts)
    error = notify["last_error"]
    if error is None or not (notify["pending"] or notify["dropped"]):
        return told
    status = f" ({error['status']})" if error["status"] else ""
    return f"{told}\n{one_line(error['message'])}{status}\n→ {one_line(error['remedy'])}"


def reason_text(reason: Json) -> Text:
    return Text.assemble(
        ("why  ", "dim"),
        clean(reason["message"]),
        (f" [{one_line(reason['code'])}, blame {one_line(reason['blame'])}]", "dim"),
        ("\n→ ", "cyan"),
        clean(reason["remedy"]),
    )


def attempts_table(attempts: Sequence[Json]) -> Table:
    table = plain_table(("ATTEMPT", "OUTCOME", "WHY", "EXIT", "RAN", "CLOSED"), ("ATTEMPT", "EXIT"))
    for attempt in attempts:
        facts, reason = attempt.get("exit") or {}, attempt.get("reason") or {}
        table.add_row(
            str(attempt["number"]),
            state_text(str(attempt["outcome"])),
            fit(reason.get("code", ""), WHY),
            str(facts.get("code", "")) if facts.get("code") is not None else "-",
            run_time(facts) or "-",
            time_text(attempt["closed_at"]),
        )
    return table
