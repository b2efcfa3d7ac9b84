"""Problem documents, and that every error a request can meet has its status."""

import importlib
import json
import pkgutil
from typing import ClassVar

import pytest

import agent
from agent.api.problems import STATUS, BadRequestError, describe_error, describe_malformed
from agent.errors import AgentError, Blame, Phase
from agent.spec import Fault, SpecRefusedError

ROOMS = ("agent.api", "agent.jobs", "agent.interfaces", "agent.core", "agent.spec")
# These end a job, a start of the daemon or a step of the runner, or are told as the trouble of a schedule; none is the answer to a request.
NEVER_ANSWERED = {
    "name_taken",
    "start_failed",
    "listen_failed",
    "tls_unusable",
    "gpus_held",
    "gpu_locks_unusable",
    "ssh_kit_missing",
    "cron_unreadable",
}
NAMES = ["type", "title", "status", "detail", "code", "blame", "phase", "remedy", "faults"]


def every_error() -> list[type[AgentError]]:
    for module in pkgutil.walk_packages(agent.__path__, "agent."):
        if module.name.startswith(ROOMS):
            importlib.import_module(module.name)
    found: list[type[AgentError]] = []
    pending = [AgentError]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if kind.__module__.startswith(ROOMS):
                found.append(kind)
    return found


def test_every_code_that_a_request_can_meet_has_its_status() -> None:
    codes = {kind.code for kind in every_error() if hasattr(kind, "code")}
    assert codes - NEVER_ANSWERED - set(STATUS) == set()


def test_no_status_is_kept_for_a_code_that_is_gone() -> None:
    # `draining` comes with the drain of the host.
    assert set(STATUS) - {kind.code for kind in every_error()} - {"draining"} == set()


class OddError(AgentError):
    code, phase, blame = "odd", Phase.RUNNING, Blame.HOST
    remedy: ClassVar[str] = "do this"


def test_a_code_without_a_status_is_a_500_that_keeps_its_words() -> None:
    answer = describe_error(OddError("it broke"))
    document = json.loads(answer.text or "")
    assert list(document) == NAMES
    assert (answer.status, document["code"], document["phase"], document["remedy"]) == (
        500,
        "odd",
        "running",
        "do this",
    )
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("kind", [SpecRefusedError, BadRequestError])
def test_faults_are_listed_one_by_one(kind: type[SpecRefusedError] | type[BadRequestError]) -> None:
    faults = [Fault("a", "c", "m", "r"), Fault("b", "c", "m", "r")]
    document = json.loads(describe_error(kind(faults)).text or "")
    assert [fault["field"] for fault in document["faults"]] == ["a", "b"]
    assert list(document["faults"][0]) == ["field", "code", "message", "remedy"]


def test_a_malformed_request_is_quoted_on_one_short_line() -> None:
    document = json.loads(describe_malformed("Bad\n\n  b'secret'" + "x" * 1000).text or "")
    assert document["detail"] == "Bad"
    assert len(json.loads(describe_malformed("y" * 1000).text or "")["detail"]) == 200
