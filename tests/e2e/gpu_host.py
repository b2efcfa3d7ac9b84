"""gpu_host — a host with GPUs for a daemon on a private engine: the stand-in for its child, CDI specs for its containers. Runs neither."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.nvml_standin.library import Standin, build
from tests.nvml_standin.profiles import Host
from tests.private_engine import PrivateEngine

# Harmless whoever opens them; a container has them as /dev/nvidiaN, which is what tells its GPUs.
NODES = ("/dev/full", "/dev/null", "/dev/zero", "/dev/random")


@contextmanager
def gpu_host(engine: PrivateEngine, folder: Path, host: Host) -> Iterator[Standin]:
    """`folder` is for the library and its files. The GPUs of `host` are /dev/nvidia0 and so on, by place."""
    file = engine.root / "cdi" / "gpus.json"
    devices = [
        {
            "name": card.uuid,
            "containerEdits": {
                "deviceNodes": [{"path": f"/dev/nvidia{place}", "hostPath": NODES[place % len(NODES)]}]
            },
        }
        for place, card in enumerate(host.cards)
    ]
    file.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}))
    library, state = folder / "library", folder / "standin"
    library.mkdir()
    state.mkdir()
    build(library)
    try:
        yield Standin(library, state, host)
    finally:
        file.unlink()
