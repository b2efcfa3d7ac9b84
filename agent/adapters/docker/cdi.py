"""adapters/docker/cdi — the names that the CDI specs of the host give to NVIDIA's GPUs. Reads names only; what they stand for is the engine's."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.adapters.docker.arguments import CDI_KIND

SUFFIXES = {".json", ".yaml"}  # those that the engine reads
# One of 8 GPUs has 60 KB.
MOST_BYTES = 8 << 20

# Of YAML only these two lines matter, and the tools that write specs put each on a line of its own. What is overlooked here
# costs the preference for CDI; what is read too much, a start that the engine refuses.
KIND = re.compile(r"""^["']?kind["']?[ ]*:[ ]*["']?([^\s"'#]+)["']?[ ]*$""", re.MULTILINE)
NAME = re.compile(r"""^[ ]*(?:-[ ]+)?["']?name["']?[ ]*:[ ]*["']?([^\s"'#]+)["']?[ ]*$""", re.MULTILINE)


def read_gpu_names(folders: Sequence[str]) -> frozenset[str]:
    """Of all specs of the kind `nvidia.com/gpu`. One that is broken is passed over, as the engine does."""
    files = [file for folder in folders for file in _files(Path(folder))]
    return frozenset(name for file in files for name in _names(_read(file)))


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.suffix in SUFFIXES)
    except OSError:
        return []  # no such folder is the usual case of two


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _names(text: str) -> Iterator[str]:
    try:
        spec = json.loads(text)
    except ValueError:
        if CDI_KIND in KIND.findall(text):
            yield from NAME.findall(text)
        return
    if isinstance(spec, dict) and spec.get("kind") == CDI_KIND:
        for device in spec.get("devices") or ():
            yield str(device.get("name"))
