"""chaos_uploads — what some jobs of chaos send, the endpoint that fails them now and then, and what must be true of that in the end."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

from tests.e2e.client import Client, Json
from tests.e2e.sink import MANIFEST, SECRET, Act, Sink

OVER = {"complete", "partial", "failed"}
# What the endpoint does with so many of a hundred requests; the rest it takes.
SHARES = {Act.FAIL: 10, Act.RESET: 8, Act.SLOW: 5, Act.FORBID: 2}


def flaky(seed: int) -> Callable[[str, str], Act]:
    """An endpoint's moods, drawn one by one whoever asks."""
    draw, lock = random.Random(seed), threading.Lock()
    acts = [act for act, share in SHARES.items() for _ in range(share)]
    acts += [Act.TAKE] * (100 - len(acts))

    def act(_job: str, _path: str) -> Act:
        with lock:
            return draw.choice(acts)

    return act


def invent_outputs(draw: random.Random, sink: Sink) -> Json:
    live = {"live": True, "quiet": 1} if draw.random() < 0.5 else {}
    return {"outputs": {"upload": sink.upload(), "logs": draw.random() < 0.5, **live}}


def upload_faults(client: Client, sink: Sink, job: Json, *, was_cancelled: bool) -> list[str]:
    """I6 of a finished job that had an upload: it is over, and what it says of itself is true."""
    upload = job["upload"]
    if upload["state"] not in OVER:
        return [f"its upload is {upload}"]
    was_forbidden = any(one.status == 403 for one in list(sink.requests) if one.job == job["id"])
    if upload["state"] == "complete":
        return complete_faults(client, sink, job)
    if MANIFEST in sink.of(job["id"]) and not was_cancelled:
        return [f"its upload is {upload}, and its manifest is there"]
    return [] if was_forbidden or was_cancelled else [f"its upload is {upload}"]


def complete_faults(client: Client, sink: Sink, job: Json) -> list[str]:
    received = sink.of(job["id"])
    if MANIFEST not in received:
        return ["its upload is complete, and has no manifest"]
    told = {entry["path"]: entry["sha256"] for entry in json.loads(received[MANIFEST].data)["files"]}
    there = {path: one.sha256 for path, one in received.items() if path != MANIFEST}
    faults = [
        f"{path} is not as the manifest says" for path, sha256 in told.items() if there.get(path) != sha256
    ]
    faults += [f"{path} is there, and not in the manifest" for path in there if path not in told]
    listed = client.call("GET", f"/v1/jobs/{job['id']}/outputs").json["items"]
    faults += [
        f"the output {file['path']} has not left"
        for file in listed
        if told.get(file["path"]) != file["sha256"]
    ]
    if job["upload"]["files_done"] != len(told):
        faults.append(f"{job['upload']['files_done']} files are said to be done, {len(told)} are")
    return faults


def secrets_left(folder: Path) -> list[str]:
    """Of all that a daemon wrote: a secret of an upload is in none of it, once all jobs are finished."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return [f"a secret of an upload is in {file}" for file in files if SECRET.encode() in file.read_bytes()]
