"""spec/schedule — what is sent to make a schedule of a container job: its own fields, every fault at once. The job's spec is judged by its own rules."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from agent.spec.cron import find_cron_faults, tidy_cron
from agent.spec.deploy import find_switch_faults
from agent.spec.faults import Fault, SpecRefusedError, show
from agent.spec.forms import Body
from agent.spec.text import describe

FIELDS = ("name", "cron", "catch_up", "spec")
# It stands in URLs and on command lines. A chute's schedules have a / in their names, so none is taken from it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NAME_WORDS = "letters, digits and . _ - with no . _ or - first, at most 128"


class ScheduleRefusedError(SpecRefusedError):
    """A schedule breaks at least one rule: its own fields, or the spec of its job. `faults` holds all of them."""

    code: ClassVar[str] = "schedule_refused"
    what: ClassVar[str] = "the schedule"


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """`spec`: as it was written, secrets and all. Its repr shows none of it."""

    name: str
    cron: str
    catch_up: bool
    spec: object = field(repr=False)


def read_schedule(body: object) -> tuple[ScheduleRequest, list[Fault]]:
    """The request, and what is wrong with it but its spec. `body` is decoded JSON of any type, and may be hostile.

    Raises ScheduleRefusedError where there is nothing to read.
    """
    if not isinstance(body, dict):
        fault = Fault("body", "wrong_type", f"must be an object, not {describe(body)}", "Send a JSON object.")
        raise ScheduleRefusedError([fault])
    faults = [*_find_unknown(body), *_find_missing(body), *_find_name_fault(body.get("name", "a"))]
    if "cron" in body:
        faults += find_cron_faults(body["cron"], "cron")
    faults += find_switch_faults(body, "catch_up")
    cron = body.get("cron")
    asked = ScheduleRequest(
        name=str(body.get("name")),
        cron=tidy_cron(cron) if isinstance(cron, str) else "",
        catch_up=body.get("catch_up") is True,
        spec=body.get("spec"),
    )
    return asked, faults


def place_in_schedule(fault: Fault) -> Fault:
    """A fault of its job's spec."""
    return replace(fault, field="spec" if fault.field == "body" else f"spec.{fault.field}")


def _find_unknown(body: Body) -> Iterator[Fault]:
    for name in body:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            yield Fault(
                show(name), "unknown_field", f"{show(name)} is no field here", f"The fields are: {known}."
            )


def _find_missing(body: Body) -> Iterator[Fault]:
    for name in ("name", "cron", "spec"):
        if name not in body:
            yield Fault(name, "missing_field", "is required", "Add it.")


def _find_name_fault(name: object) -> Iterator[Fault]:
    if not isinstance(name, str):
        yield Fault("name", "wrong_type", f"must be text, not {describe(name)}", "Write a text.")
    elif not NAME.fullmatch(name):
        yield Fault("name", "name_invalid", f"must be {NAME_WORDS}; {show(name)} is not", "Rename it.")
