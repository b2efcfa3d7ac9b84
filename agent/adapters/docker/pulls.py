"""adapters/docker/pulls — the lines of `POST /images/create`, added up. Pure; opens no stream and judges no stall."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.core.container import Credentials, PullProgress
from agent.spec.image import ImageReference

Json = Mapping[str, Any]

DONE = frozenset({"Already exists", "Pull complete"})
KNOWN = DONE | {"Pulling fs layer", "Waiting", "Verifying Checksum", "Download complete"}


@dataclass(slots=True)
class _Layer:
    total: int = 0
    downloaded: int = 0
    extracted: int = 0
    done: bool = False


@dataclass(slots=True)
class PullTally:
    """Sums over all layers. A byte counts half when it has come and half when it is unpacked: a large layer takes
    minutes for either, and both must show as progress.
    """

    _layers: dict[str, _Layer] = field(default_factory=dict)

    def take(self, line: Json) -> PullProgress | None:
        """The sums after this line; None if it tells of no layer."""
        name, status = str(line.get("id", "")), str(line.get("status", ""))
        detail = line.get("progressDetail") or {}
        if status not in KNOWN and not detail.get("current"):
            return None
        layer = self._layers.setdefault(name, _Layer())
        _note(layer, status, int(detail.get("current") or 0), int(detail.get("total") or 0))
        return self._sums()

    def _sums(self) -> PullProgress:
        layers = self._layers.values()
        return PullProgress(
            done_bytes=sum(layer.downloaded + layer.extracted for layer in layers) // 2,
            total_bytes=sum(layer.total for layer in layers),
            layers_done=sum(layer.done for layer in layers),
            layers_total=len(layers),
        )


def _note(layer: _Layer, status: str, current: int, total: int) -> None:
    """A layer that is fetched again after a broken connection begins at 0; its sums never go back."""
    layer.total = max(layer.total, total)
    if status == "Downloading":
        layer.downloaded = max(layer.downloaded, current)
    elif status == "Extracting":
        # The containerd image store counts seconds here and gives no total: still a sign of life.
        layer.extracted = max(layer.extracted, current)
    elif status in {"Verifying Checksum", "Download complete"}:
        layer.downloaded = layer.total
    elif status in DONE:
        layer.downloaded = layer.extracted = layer.total
        layer.done = True


def pull_query(reference: ImageReference) -> dict[str, str]:
    """Exactly one image: without a tag the engine would pull all of them."""
    return {"fromImage": reference.repository, "tag": reference.digest or reference.tag or "latest"}


def auth_header(reference: ImageReference, credentials: Credentials | None) -> dict[str, str]:
    """`X-Registry-Auth`: JSON in URL-safe base64 (Engine API, "Authentication")."""
    if credentials is None:
        return {}
    login = {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": reference.registry,
    }
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}
