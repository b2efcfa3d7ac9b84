"""chutes/chute/node_selector — which machine a chute needs. Chooses none: the host does."""

from __future__ import annotations

from typing import Any, Sequence


class NodeSelector:
    """How many GPUs, of how much memory, of which models. Other keys are the published SDK's and have no effect here."""

    def __init__(
        self,
        gpu_count: int = 1,
        min_vram_gb_per_gpu: int = 16,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        **unused: Any,
    ) -> None:
        self.gpu_count = gpu_count
        self.min_vram_gb_per_gpu = min_vram_gb_per_gpu
        self.include = include
        self.exclude = exclude
        self.unused = tuple(unused)
