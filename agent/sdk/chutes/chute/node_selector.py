"""chutes/chute/node_selector — which machine a chute needs. Chooses none: the host does."""

from __future__ import annotations

import re
from typing import Any, Iterator, Sequence

from chutes._field_rules import Form, find_number_fault, find_text_fault
from chutes._refusing import raise_all
from chutes.errors import Fault

MAX_GPUS = 8
MIN_VRAM_GB, MAX_VRAM_GB = 16, 140
MODEL = Form(re.compile(r"[ -~]+"), 128, "the name of a GPU model", 'include=["h100", "a100"]')


class NodeSelector:
    """How many GPUs, of how much memory, of which models. Other keys are the published SDK's and have no effect here."""

    def __init__(
        self,
        gpu_count: int = 1,
        min_vram_gb_per_gpu: int = MIN_VRAM_GB,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        **unused: Any,
    ) -> None:
        self.gpu_count = gpu_count
        self.min_vram_gb_per_gpu = min_vram_gb_per_gpu
        self.include = include
        self.exclude = exclude
        self.unused = tuple(unused)
        raise_all("NodeSelector", "", self.find_faults())

    def find_faults(self) -> Iterator[Fault]:
        yield from find_number_fault("gpu_count", self.gpu_count, 1, MAX_GPUS)
        yield from find_number_fault(
            "min_vram_gb_per_gpu", self.min_vram_gb_per_gpu, MIN_VRAM_GB, MAX_VRAM_GB
        )
        yield from find_model_faults("include", self.include)
        yield from find_model_faults("exclude", self.exclude)


def find_model_faults(field: str, models: Any) -> Iterator[Fault]:
    if models is None:
        return
    if not isinstance(models, (list, tuple)):
        yield Fault(field, f"must be a list of models, not {models!r:.80}", f"Write {MODEL.example}.")
        return
    for index, model in enumerate(models):
        yield from find_text_fault(f"{field}[{index}]", model, MODEL)
