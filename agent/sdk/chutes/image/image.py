"""chutes/image/image — the steps of an image, recorded in their order. Runs none of them."""

from __future__ import annotations

from typing import Any, List, Tuple


class Image:
    def __init__(self, username: str, name: str, tag: str, readme: str = "") -> None:
        self.username = username
        self.name = name
        self.tag = tag
        self.readme = readme
        self.steps: List[Tuple[str, Tuple[Any, ...]]] = []
