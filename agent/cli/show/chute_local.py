"""cli/show/chute_local — a job that runs on this machine, in words: how far it is, how it failed, what it returned. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from agent.cli.show.words import clean

# What the runner calls the job that the command names.
THE_JOB = "local"


def told_text(told: Mapping[str, Any]) -> str:
    """Empty where nothing is to be said. Of a job that this one started, with its id before it."""
    whose = "" if told["job"] == THE_JOB else f"{told['job']}  "
    match told["told"]:
        case "progress":
            message = f"  {told['message']}" if told["message"] else ""
            return f"{whose}{told['percent']:5.1f} %{message}"
        case "status":
            return f"{whose}{told['task']}: {told['status']}"
        case "child":
            return f"{whose}started {told['name']} as {told['child']}"
        case "attempt" if told["number"] > 1:
            return f"{whose}attempt {told['number']} of {told['name']}"
        case _:
            return ""


def failure_text(ended: Mapping[str, Any]) -> str:
    """How an attempt failed, empty where it did not. How the job itself ended is told later."""
    error = ended["error"]
    trace = "" if error is None else f"{error['traceback']}{_message_of(error)}"
    if ended["outcome"] == "succeeded" or ended["job"] == THE_JOB:
        return trace.rstrip()
    return f"{trace}{ended['job']}  {ended['name']} {WORDS[ended['outcome']]}"


def _message_of(error: Mapping[str, Any]) -> str:
    """Empty where its traceback ends with it."""
    last = f"{error['type']}: {error['message']}" if error["message"] else error["type"]
    return "" if error["traceback"].rstrip().endswith(last) else f"{last}\n"


def outcome_text(result: Mapping[str, Any]) -> str:
    """Empty where it succeeded and nothing is to be said."""
    if result["outcome"] == "succeeded":
        return str(result["note"] or "")
    tries = len(result["attempts"])
    often = f" in {tries} attempts" if tries > 1 else ""
    return f"the job {WORDS[result['outcome']]}{often}"


def outputs_text(count: int) -> str:
    """Where they were not asked for."""
    files = "its 1 output file is" if count == 1 else f"its {count} output files are"
    return f"{files} not kept; --output DIR keeps them"


WORDS = {"failed": "failed", "timed_out": "took too long", "cancelled": "was cancelled"}


def result_text(result: Mapping[str, Any]) -> str:
    """What it returned, as JSON. Nothing where it returned nothing."""
    if result["result"] is None:
        return ""
    return clean(json.dumps(result["result"], indent=2, ensure_ascii=False)) + "\n"
