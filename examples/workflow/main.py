"""A workflow of three jobs in a row: each does its step and starts the next one with what it has found. One that fails starts none.

gpu-agent chute run examples/workflow/main.py:split --local --payload '{"workflow_id": "w1", "text": "to be or not to be"}'
"""

import json
import re
from collections import Counter
from pathlib import Path

from chutes import PermanentError
from chutes.chute import Chute

chute = Chute(username="examples", name="workflow", image="python:3.12-slim")


@chute.job(name="split", timeout=300, retry_count=2)
async def split(self: Chute, workflow_id: str, text: str) -> dict:
    """The first step: the words of a text."""
    words = re.findall(r"[a-z']+", text.lower())
    if not words:
        # It raises before it starts anything: the rest of the workflow is never begun, and the tree shows where it ended.
        raise PermanentError("the text has no words")
    await go_on(self, "count", workflow_id, {"words": words})
    return {"words": len(words)}


@chute.job(name="count", timeout=300, retry_count=2)
async def count(self: Chute, workflow_id: str, previous: dict) -> dict:
    """The second: how often each word is there."""
    counts = Counter(previous["words"])
    await go_on(self, "report", workflow_id, {"counts": counts.most_common()})
    return {"different": len(counts)}


@chute.job(name="report", timeout=60)
async def report(self: Chute, workflow_id: str, previous: dict, output_dir: str) -> dict:
    """The last: a file among this job's outputs, and the workflow's result."""
    result = {"workflow": workflow_id, "most_common": previous["counts"][:3]}
    write_json(Path(output_dir) / "report.json", result)
    self.logger.info("workflow %s is done", workflow_id)
    return result


async def go_on(self: Chute, step: str, workflow_id: str, found: dict) -> None:
    # The last thing that a step does. Where it is tried again after this, the same call leads to the same job: no step is done twice.
    job_id = await self.start_job(step, {"workflow_id": workflow_id, "previous": found})
    self.logger.info("%s goes on as job %s", step, job_id)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))
