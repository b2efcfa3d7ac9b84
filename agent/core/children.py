"""core/children — the ids of jobs that jobs start: the same call gets the same job, however often it is made. Pure."""

import hashlib
import json
from uuid import UUID, uuid5


def child_id(parent: str, name: str, payload: bytes, k: int) -> str:
    """`parent`: the job, or the call of a cord, that starts it; a UUID. `payload`: canonical JSON. `k`: which of the identical
    calls of one attempt, or of one call, it is, from 0.
    """
    return _id(parent, [name, hashlib.sha256(payload).hexdigest(), k])


def keyed_child_id(parent: str, name: str, key: str) -> str:
    """Whatever it is called with."""
    return _id(parent, [name, "key", key])


def _id(parent: str, parts: list[object]) -> str:
    return str(uuid5(UUID(parent), json.dumps(parts, separators=(",", ":"))))
