"""cli/show/chute_local — a job that runs on this machine, in words: how far it is, how it failed, what it returned. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from agent.cli.show.words import clean

# What the runner calls the job that the command names.
THE_JOB = "local"


def progress_text(told: Mapping[str, Any]) -> str:
    """Of a job that this one started, with its id before it."""
    whose = "" if told["job"] == THE_JOB else f"{told['job']}  "
    match told["told"]:
        case "progress":
            message = f"  {told['message']}" if told["message"] else ""
            return f"{whose}{told['percent']:5.1f} %{message}"
        case "status":
            return f"{whose}{told['task']}: {told['status']}"
        case _:
            return f"{whose}started {told['name']} as {told['child']}"


def failure_text(result: Mapping[str, Any]) -> str:
    """Empty where it succeeded and nothing is to be said."""
    error, tries = result["error"], len(result["attempts"])
    told = "" if error is None else f"{error['traceback']}{error['type']}: {error['message']}\n"
    if result["outcome"] == "succeeded":
        return str(result["note"] or "")
    often = f" in {tries} attempts" if tries > 1 else ""
    return f"{told}the job {WORDS[result['outcome']]}{often}"


WORDS = {"failed": "failed", "timed_out": "took too long", "cancelled": "was cancelled"}


def result_text(result: Mapping[str, Any]) -> str:
    """What it returned, as JSON. Nothing where it returned nothing."""
    if result["result"] is None:
        return ""
    return clean(json.dumps(result["result"], indent=2, ensure_ascii=False)) + "\n"
