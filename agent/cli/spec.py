"""cli/spec — the options of `run` as a job spec. Reads what only this side can (K from the environment, @files); judges nothing:
what a job may ask for is the API's to say, all faults at once.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.cli.durations import read_duration
from agent.cli.refusals import BadArgumentError


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options as they were written; None and empty where they were not."""

    image: str
    command: tuple[str, ...] = ()
    plain: Mapping[str, object] | None = None  # fields that need no reading
    gpus: str | None = None
    ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    entrypoint: str | None = None
    timeout: str | None = None
    grace: str | None = None
    retry: int | None = None
    ssh: Path | None = None


def build_spec(wanted: Wanted, environ: Mapping[str, str]) -> dict[str, Any]:
    """The body of a submit, with only what was asked for. Raises BadArgumentError."""
    fields: dict[str, Any] = {
        "image": wanted.image,
        "command": list(wanted.command) or None,
        "entrypoint": None if wanted.entrypoint is None else [wanted.entrypoint] if wanted.entrypoint else [],
        "gpus": None if wanted.gpus is None else read_gpus(wanted.gpus),
        "ports": [read_port(port) for port in wanted.ports] or None,
        "env": read_pairs("-e", wanted.env, environ) or None,
        "secrets": read_secrets(wanted.secrets, environ) or None,
        "labels": read_labels(wanted.labels) or None,
        "timeout": None if wanted.timeout is None else read_duration("--timeout", wanted.timeout),
        "grace": None if wanted.grace is None else read_duration("--grace", wanted.grace),
        "retry": None if wanted.retry is None else {"count": wanted.retry},
        "ssh": None if wanted.ssh is None else {"authorized_keys": read_keys(wanted.ssh)},
        **(wanted.plain or {}),
    }
    return {name: value for name, value in fields.items() if value is not None}


def read_gpus(written: str) -> object:
    """A count, or the whole field as JSON."""
    try:
        return json.loads(written)
    except ValueError as unread:
        raise BadArgumentError(
            f'--gpus {written!a} is neither a count nor JSON such as {{"count": 2}}'
        ) from unread


def read_port(written: str) -> dict[str, object]:
    """`web:8080/http`, or `web:8080`, which is tcp."""
    name, colon, rest = written.partition(":")
    number, _, proto = rest.partition("/")
    if not colon or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise BadArgumentError(f"-p {written!a} is no port; write NAME:PORT/PROTO, as in web:8080/http")
    return {"name": name, "port": int(number), "proto": proto or "tcp"}


def read_pairs(option: str, written: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`K=V`; a bare `K` takes its value out of this program's environment."""
    pairs: dict[str, str] = {}
    for entry in written:
        name, sign, value = entry.partition("=")
        if not sign and name not in environ:
            raise BadArgumentError(f"{option} {name!a}: there is no such variable here; write {name}=VALUE")
        pairs[name] = value if sign else environ[name]
    return pairs


def read_secrets(written: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`NAME=@FILE`, or as `read_pairs`."""
    return {name: read_secret(value) for name, value in read_pairs("--secret", written, environ).items()}


def read_secret(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text("utf-8")
    except (OSError, ValueError) as unread:
        raise BadArgumentError(f"--secret: {value[1:]} can't be read: {unread}") from unread


def read_labels(written: Iterable[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for entry in written:
        name, sign, value = entry.partition("=")
        if not sign:
            raise BadArgumentError(f"--label {entry!a} has no value; write NAME=VALUE")
        labels[name] = value
    return labels


def read_keys(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as unread:
        raise BadArgumentError(f"--ssh: {path} can't be read: {unread}") from unread
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
