"""chutes/_manifest — what a chute holds, as the JSON that a deploy reads. Checks nothing anew."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Iterator

from chutes._cord_rules import media_type_of
from chutes._signature import read_parameters
from chutes.chute import Chute, NodeSelector
from chutes.chute.cord import Cord
from chutes.chute.job import Job
from chutes.errors import RegistrationError
from chutes.image import Image
from chutes.platform import MEMBERS

MAX_DOC_CHARACTERS = 2_000
MAX_README_CHARACTERS = 20_000


def describe(chute: Chute, attribute: str = "chute") -> dict[str, Any]:
    """`attribute` is the chute's name in its file."""
    return {
        "manifest": 1,
        "sdk": "1",
        "python": ".".join(map(str, sys.version_info[:3])),
        "chute": describe_chute(chute, attribute),
        "jobs": [describe_job(job) for job in chute.jobs.values()],
        "cords": [describe_cord(cord) for cord in chute.cords],
        "refused": [describe_refusal(error) for error in chute.refused_functions],
        "notes": list(find_notes(chute)),
    }


def describe_chute(chute: Chute, attribute: str) -> dict[str, Any]:
    return {
        "attribute": attribute,
        "name": chute.name,
        "username": chute.username,
        "tagline": chute.tagline,
        "readme": chute.readme[:MAX_README_CHARACTERS],
        "concurrency": chute.concurrency,
        "image": None if chute.image is None else str(chute.image),
        "node_selector": describe_selector(chute.node_selector),
    }


def describe_selector(selector: NodeSelector | None) -> dict[str, Any] | None:
    if selector is None:
        return None
    return {
        "gpu_count": selector.gpu_count,
        "min_vram_gb_per_gpu": selector.min_vram_gb_per_gpu,
        "include": selector.include,
        "exclude": selector.exclude,
    }


def describe_job(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "function": job.function.__name__,
        "doc": describe_doc(job.function),
        "is_async": inspect.iscoroutinefunction(job.function),
        "ports": [{"name": port.name, "port": port.port, "proto": port.proto} for port in job.ports],
        "timeout": job.timeout,
        "upload": job.upload,
        "ssh": job.ssh,
        "schedule": job.schedule,
        "retry_count": job.retry_count,
        "queue": job.queue,
        "priority": job.priority,
        "parameters": describe_parameters(job.function),
    }


def describe_cord(cord: Cord) -> dict[str, Any]:
    return {
        "function": cord.function.__name__,
        "public_api_path": cord.public_api_path,
        "method": cord.method,
        "doc": describe_doc(cord.function),
        "is_async": inspect.iscoroutinefunction(cord.function) or inspect.isasyncgenfunction(cord.function),
        "parameters": describe_parameters(cord.function),
    }


def describe_doc(function: Any) -> str | None:
    doc = inspect.getdoc(function)
    return doc[:MAX_DOC_CHARACTERS] if doc else None


def describe_parameters(function: Any) -> list[dict[str, Any]]:
    return [each._asdict() for each in read_parameters(function)]


def describe_refusal(error: RegistrationError) -> dict[str, Any]:
    return {
        "function": error.function,
        "kind": error.kind,
        "faults": [fault._asdict() for fault in error.faults],
    }


def find_notes(chute: Chute) -> Iterator[str]:
    """What the file asks for and gets nothing of."""
    if chute.unused:
        yield f"Chute: without effect here: {', '.join(chute.unused)}"
    if chute.node_selector is not None and chute.node_selector.unused:
        yield f"NodeSelector: without effect here: {', '.join(chute.node_selector.unused)}"
    if isinstance(chute.image, Image) and chute.image.steps:
        steps = ", ".join(step.name for step in chute.image.steps)
        yield f"Image {chute.image}: its steps are not run, since the deploy names the image: {steps}"
    for cord in chute.cords:
        if idle := find_idle_options(cord):
            yield f"cord {cord.function.__name__}: without effect here: {', '.join(idle)}"
    functions = [job.function for job in chute.jobs.values()] + [cord.function for cord in chute.cords]
    for name in [function.__name__ for function in functions]:
        if name in MEMBERS or hasattr(Chute, name) or name in vars(chute):
            yield f"self.{name} is the chute's own, and not the function of that name"


def find_idle_options(cord: Cord) -> list[str]:
    streams = inspect.isgeneratorfunction(cord.function) or inspect.isasyncgenfunction(cord.function)
    # What `stream` asks for is what a function that yields does anyway.
    done = {"output_content_type": media_type_of(cord) is not None, "stream": streams}
    return [name for name in cord.options if not done.get(name, False)]
