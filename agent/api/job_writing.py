"""api/job_writing — one job as the text of its answer, made in pieces: what a function tells may have megabytes. Reads no store."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any


async def write_job(job: Mapping[str, Any], result: bytes | None, series: Mapping[str, str]) -> bytes:
    """`job`: as it is shown, without result and points, which are both JSON. `result` None: there is none to be shown."""
    parts = []
    for name, value in job.items():
        if name == "result":
            text = b"null" if result is None else result
        elif name == "metrics" and value is not None:
            text = await _write_metrics(value, series)
        else:
            text = json.dumps(value).encode()
        parts.append(json.dumps(name).encode() + b": " + text)
    return b"{" + b", ".join(parts) + b"}"


async def _write_metrics(metrics: Mapping[str, Mapping[str, Any]], series: Mapping[str, str]) -> bytes:
    parts = []
    for name, metric in metrics.items():
        facts = json.dumps({fact: value for fact, value in metric.items() if fact != "points"})
        parts.append(f'{json.dumps(name)}: {facts[:-1]}, "points": {series.get(name, "[]")}}}'.encode())
        await asyncio.sleep(0)
    return b"{" + b", ".join(parts) + b"}"
