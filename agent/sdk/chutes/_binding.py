"""chutes/_binding — how a payload becomes the arguments of a job's function. Calls nothing."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple


def bind(
    function: Callable[..., Any], payload: Any, output_dir: str
) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
    """Give the arguments that come after `self`. Raises PayloadError, with the signature that was expected."""
    raise NotImplementedError
