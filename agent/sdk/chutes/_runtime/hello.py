"""chutes/_runtime/hello — what the host says of this job when the launcher reports for work. Trusts the host."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple


class Hello(NamedTuple):
    kind: str
    job_id: str
    attempt: int
    function: str
    file: str
    attribute: str
    payload: Any
    output_dir: str
    ports: list[dict[str, Any]]
    grace: float
    stopping: bool
    # How many calls of cords at once.
    concurrency: int


def read_hello(said: Mapping[str, Any]) -> Hello:
    job, entry = said["job"], said["entry"]
    return Hello(
        kind=said["kind"],
        job_id=job["id"],
        attempt=job["attempt"],
        function=job["function"] or "",
        file=entry["file"],
        attribute=entry["chute"],
        payload=said["payload"],
        output_dir=said["output_dir"] or "",
        ports=said["ports"] or [],
        grace=float(said["grace"]),
        stopping=bool(said["stopping"]),
        concurrency=int(said.get("concurrency") or 1),
    )
