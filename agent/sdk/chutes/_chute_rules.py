"""chutes/_chute_rules — what a chute may be called and made of. Its functions are others' to check."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping

from chutes._field_rules import ANY_TEXT, WORD, Form, find_number_fault, find_text_fault
from chutes.chute.node_selector import NodeSelector
from chutes.errors import Fault
from chutes.image import Image

# It stands in paths of the host's API.
NAME = Form(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), 64, WORD, 'name="text-models"')
MAX_CONCURRENCY = 1_000


def find_chute_faults(fields: Mapping[str, Any]) -> Iterator[Fault]:
    for field in ("username", "tagline", "readme"):
        yield from find_text_fault(field, fields[field], ANY_TEXT)
    yield from find_text_fault("name", fields["name"], NAME)
    yield from find_number_fault("concurrency", fields["concurrency"], 1, MAX_CONCURRENCY)
    if not isinstance(fields["image"], (Image, str, type(None))):
        yield Fault(
            "image", f"must be an Image or a text, not {fields['image']!r:.80}", "Write image=Image(…)."
        )
    if not isinstance(fields["node_selector"], (NodeSelector, type(None))):
        told = f"must be a NodeSelector, not {fields['node_selector']!r:.80}"
        yield Fault("node_selector", told, "Write node_selector=NodeSelector(gpu_count=1).")
