"""adapters/docker/given — which GPUs a container was given, as whoever made it named them. Pure; reads an inspect's answer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NVIDIA_KIND = "nvidia.com/"
_VISIBLE = "NVIDIA_VISIBLE_DEVICES="
_NONE_VISIBLE = frozenset({"", "void", "none"})
_NODE = re.compile(r"/dev/nvidia[0-9]+")

Json = Mapping[str, Any]


def given_gpus(answer: Json) -> tuple[str, ...]:
    """`GET /containers/{id}/json`. UUIDs or what they begin with, numbers, device nodes, or "all"; of our own always UUIDs."""
    config, host = answer["Config"], answer["HostConfig"]
    given = [
        *(gpu for request in host.get("DeviceRequests") or () for gpu in _requested(request)),
        *_visible(config.get("Env") or (), host.get("Runtime") or ""),
        *(path for device in host.get("Devices") or () if _NODE.fullmatch(path := device["PathOnHost"])),
    ]
    return tuple(dict.fromkeys(given))


def _requested(request: Json) -> Iterator[str]:
    ids = request.get("DeviceIDs") or ()
    if request["Driver"] == "cdi":
        for device in ids:
            kind, _, name = device.partition("=")
            if kind.startswith(_NVIDIA_KIND):
                yield name
        return
    wishes: list[Any] = [wish for group in request.get("Capabilities") or () for wish in group]
    if request["Driver"] != "nvidia" and "gpu" not in wishes:
        return
    count = request.get("Count") or 0
    # The engine hands a number of GPUs out as those of the lowest numbers (moby, daemon/nvidia_linux.go).
    yield from ids or (map(str, range(count)) if count >= 0 else ("all",))


def _visible(environment: Sequence[str], runtime: str) -> Iterator[str]:
    """What NVIDIA's runtime reads out of the environment; any other runtime reads nothing there."""
    if "nvidia" not in runtime:
        return
    for line in environment:
        if line.startswith(_VISIBLE):
            yield from (gpu for gpu in line.removeprefix(_VISIBLE).split(",") if gpu not in _NONE_VISIBLE)
