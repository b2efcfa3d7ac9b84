"""ending — what came of the demo's job, held against what was promised. Starts nothing."""

import hashlib
import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from receiver import Receiver
from running_agent import RunningAgent
from screen import show_command, tell
from story import StoryError, short, until

FETCHED = ("confusion.png", "model.joblib")


def check_received(job: dict[str, Any], receiver: Receiver) -> None:
    """The manifest came last, and every file that it names is there, as it was written in the container."""
    upload, folder = job["upload"], receiver.of(job["id"])
    until(lambda: receiver.stored and receiver.stored[-1].endswith("/manifest.json"), "the manifest has come")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for file in files:
        if hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() != file["sha256"]:
            raise StoryError(f"{file['path']} is not what the manifest says")
    if (upload["state"], upload["files_done"]) != ("complete", len(files)):
        raise StoryError(f"the upload is {upload}, the manifest has {len(files)} files")
    twice = len(receiver.stored) - len(set(receiver.stored))
    tell(
        f"{len(files)} files, {upload['bytes_done']:,} bytes, are at the control plane, each with the sha256 of the manifest;"
    )
    tell(f"{twice} of them were sent twice, and the manifest came last")
    until(lambda: any(event.endswith("finished") for event in receiver.events), "the end was told")
    tell(f"it was told of {len(receiver.events)} events, each signed")


def check_log(agent: RunningAgent, job: str, followed: list[str]) -> None:
    """What was followed across the kill, against the whole log read afterwards: nothing missing, nothing twice."""
    whole = agent.say("logs", job).splitlines()
    if followed != whole:
        raise StoryError(f"{len(followed)} lines were followed, the log has {len(whole)}")
    tell(
        f"{len(whole)} log lines followed across the kill; the log has the same {len(whole)}: none lost, none twice"
    )


def check_told(job: dict[str, Any]) -> None:
    """The function told of each epoch as it ended, through its socket, also while there was nobody at the other end."""
    told, epochs = count_told(job), job["result"]["epochs"]
    if told != epochs:
        raise StoryError(f"{told} epochs were told of, and {epochs} there were")
    tell(f"{epochs} epochs, and {told} points of its metric: each told once")


def count_told(job: dict[str, Any]) -> int:
    """How many points its metric has by now."""
    return int(job["metrics"].get("accuracy", {"count": 0})["count"])


def fetch_outputs(agent: RunningAgent, job: str, results: Path) -> None:
    """They are on this host as well, until their retention ends."""
    shutil.rmtree(results, ignore_errors=True)
    for name in FETCHED:
        show_command(f"gpu-agent outputs get {short(job)} {name} --output {os.path.relpath(results)}")
        agent.say("outputs", "get", job, name, "--output", str(results))
    for file in agent.ask("outputs", "ls", job)["items"]:
        if file["path"] in FETCHED:
            digest = hashlib.sha256((results / file["path"]).read_bytes()).hexdigest()
            if digest != file["sha256"]:
                raise StoryError(f"{file['path']} came with sha256 {digest}, {file['sha256']} was told")
            tell(f"{file['size']:>9,} bytes   sha256 {digest[:16]}…   {file['path']}")


def summarise(job: dict[str, Any], events: list[str], results: Path) -> None:
    facts = job["exit"]
    seconds = (read_time(facts["finished_at"]) - read_time(facts["started_at"])).total_seconds()
    rows = {
        "outcome": f"{job['outcome']}, exit code {facts['code']}, attempt {job['attempt']}",
        "result": json.dumps(job["result"]),
        "ran for": f"{seconds:.1f} s",
        "peak memory": f"{facts['peak_memory'] / 2**20:.0f} MiB of 1024",
        "events": f"{len(events)}, the last: {events[-1]}",
        "picture": os.path.relpath(results / "confusion.png"),
    }
    for name, value in rows.items():
        tell(f"{name:<12} {value}")
    if job["outcome"] != "succeeded":
        raise StoryError(f"the job did not succeed: {job['reason']}")


def read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
