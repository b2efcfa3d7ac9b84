"""Manifests and deploys to judge, as an SDK and a client would send them; each with what a test changes of it."""

import json
from typing import Any

from agent.spec import Deploy, Entry, Manifest, read_manifest

NO_DEPLOY = Deploy("python:3.12", Entry("main.py", "chute"), {})


def a_job(name: str = "train", **changes: object) -> dict[str, Any]:
    return {
        "name": name,
        "function": name,
        "doc": None,
        "is_async": True,
        "ports": [],
        "timeout": None,
        "upload": True,
        "ssh": False,
        "schedule": None,
        "retry_count": 0,
        "queue": "default",
        "priority": 0,
        "parameters": [],
        **changes,
    }


def a_manifest(*jobs: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is any
    chute = {
        "attribute": "chute",
        "name": "trainer",
        "username": "ann",
        "tagline": "",
        "readme": "",
        "concurrency": 1,
        "image": None,
        "node_selector": None,
    }
    return {
        "manifest": 1,
        "sdk": "1",
        "python": "3.12.1",
        "chute": {**chute, **changes.pop("chute", {})},
        "jobs": list(jobs) or [a_job()],
        "cords": [],
        "refused": [],
        "notes": [],
        **changes,
    }


def encoded(manifest: object) -> bytes:
    return json.dumps(manifest).encode()


def good(*jobs: dict[str, Any], **changes: Any) -> Manifest:  # noqa: ANN401 - JSON is any
    manifest, faults = read_manifest(encoded(a_manifest(*jobs, **changes)))
    assert faults == []
    return manifest


def a_parameter(name: str, kind: str = "positional_or_keyword", *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "kind": kind, "required": required, "annotation": None}
