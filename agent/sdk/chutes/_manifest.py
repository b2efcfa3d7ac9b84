"""chutes/_manifest — what a chute holds, as the JSON that a deploy reads. Checks nothing anew."""

from __future__ import annotations

from typing import Any, Dict

from chutes.chute import Chute


def describe(chute: Chute, attribute: str = "chute") -> Dict[str, Any]:
    raise NotImplementedError
