"""jobs/record — `spec.json` in a job's folder: what a repair needs to give a container its row back. Reads and writes no file."""

import json
from dataclasses import asdict, dataclass

from agent.core.function import FunctionCall
from agent.core.job import Kind
from agent.interfaces import NewJob
from agent.spec import JobSpec, dump_spec, load_spec


@dataclass(frozen=True, slots=True)
class JobRecord:
    id: str
    owner: str
    kind: Kind
    created_at: float
    spec: JobSpec  # secrets masked
    ssh_host_key: str | None = None  # the public half
    call: FunctionCall | None = None


def write_record(new: NewJob) -> str:
    """The text of `spec.json`; secrets are masked."""
    facts = {
        "id": new.id,
        "owner": new.owner,
        "kind": new.kind.value,
        "created_at": new.created_at,
        "spec": json.loads(dump_spec(new.spec)),
        "ssh_host_key": new.ssh_host_key,
        "call": None if new.call is None else asdict(new.call),
    }
    return json.dumps(facts, indent=1)


def read_record(text: str) -> JobRecord:
    """Read what `write_record` wrote. Raises ValueError (KeyError, TypeError inside it) for anything else."""
    try:
        facts = json.loads(text)
        return JobRecord(
            id=str(facts["id"]),
            owner=str(facts["owner"]),
            kind=Kind(facts["kind"]),
            created_at=float(facts["created_at"]),
            spec=load_spec(json.dumps(facts["spec"])),
            ssh_host_key=facts.get("ssh_host_key"),
            call=FunctionCall(**facts["call"]) if facts.get("call") else None,
        )
    except (KeyError, TypeError) as unread:
        raise ValueError(f"this is no job record: {unread!r}") from unread
