"""chutes/_job_rules — what a job may ask for: every fault of it at once. The host checks all of it again."""

from __future__ import annotations

import re
from typing import Any, Container, Iterator, Mapping

from chutes._binding import OUTPUT_DIR
from chutes._field_rules import (
    WORD,
    Form,
    find_number_fault,
    find_switch_fault,
    find_text_fault,
    find_unknown_faults,
)
from chutes._function_rules import find_function_faults, find_yield_fault, is_function
from chutes._port_rules import find_port_faults
from chutes._signature import read_parameters
from chutes.chute.job import SSH_PORT, Job, Port
from chutes.errors import Fault

MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 30, 86_400
MAX_RETRIES = 100
MIN_PRIORITY, MAX_PRIORITY = -100, 100
NAME = Form(
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"),
    128,
    "letters, digits and ._- with no . or - first",
    'name="train_model"',
)
QUEUE = Form(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), 64, WORD, 'queue="gpu_intensive"')
RESERVED_QUEUES = ("describe", "cords")
SETTINGS = ("ports", "timeout", "upload", "ssh", "name", "schedule", "retry_count", "queue", "priority")


def find_job_faults(
    job: Job, ports: Any, taken: Container[str], unknown: Mapping[str, Any]
) -> Iterator[Fault]:
    """`job` may hold anything: it was made of what the author wrote, and `ports` is just that."""
    yield from find_function_faults(job.function)
    yield from find_yield_fault(job.function)
    yield from find_port_faults(ports)
    yield from find_ssh_faults(job)
    if job.timeout is not None:
        yield from find_number_fault("timeout", job.timeout, MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS)
    yield from find_switch_fault("upload", job.upload)
    yield from find_name_faults(job.name, taken)
    yield from find_schedule_faults(job)
    yield from find_number_fault("retry_count", job.retry_count, 0, MAX_RETRIES)
    yield from find_queue_faults(job.queue)
    yield from find_number_fault("priority", job.priority, MIN_PRIORITY, MAX_PRIORITY)
    yield from find_unknown_faults(unknown, SETTINGS, "@chute.job")


def find_ssh_faults(job: Job) -> Iterator[Fault]:
    yield from find_switch_fault("ssh", job.ssh)
    for index, port in enumerate(job.ports):
        if job.ssh is True and isinstance(port, Port) and port.name == "ssh" and port.port != SSH_PORT:
            told = f"'ssh' is the name of the SSH port, {SSH_PORT}"
            yield Fault(f"ports[{index}].name", told, "Give it another name.")


def find_name_faults(name: Any, taken: Container[str]) -> Iterator[Fault]:
    yield from find_text_fault("name", name, NAME)
    if isinstance(name, str) and name in taken:
        yield Fault("name", f"{name!r:.80} is the name of another job of this chute", "Give it another name.")


def find_queue_faults(queue: Any) -> Iterator[Fault]:
    if isinstance(queue, str) and queue in RESERVED_QUEUES:
        told = f"may not be {queue}: that is for jobs that the agent runs for itself"
        yield Fault("queue", told, "Use another name, or leave queue out.")
    yield from find_text_fault("queue", queue, QUEUE)


def find_schedule_faults(job: Job) -> Iterator[Fault]:
    if job.schedule is None:
        return
    from chutes._schedule_rules import find_time_faults  # noqa: PLC0415 — most jobs have no schedule, and start without it

    yield from find_time_faults(job.schedule)
    if not is_function(job.function):
        return
    needed = [each.name for each in read_parameters(job.function) if each.required]
    if missing := [name for name in needed if name != OUTPUT_DIR]:
        told = f"starts the job without a payload, and then {', '.join(missing)} would be missing"
        yield Fault("schedule", told, "Give every parameter a default.")
