"""chutes/chute/cord — a registered cord, as a value. Serves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping


@dataclass(frozen=True)
class Cord:
    """A function under `@chute.cord`: what answers a request at a path."""

    function: Callable[..., Any]
    public_api_path: str
    method: str
    # Settings of the published SDK, kept as they were written. `output_content_type` is heeded, the others have no effect here.
    options: Mapping[str, Any]
