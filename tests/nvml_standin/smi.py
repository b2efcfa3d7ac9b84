"""An `nvidia-smi` of a test's own: it notes how it was called, keeps a persistence mode, and resets as a line of shell says."""

import os
from pathlib import Path

IN_USE = (
    "The following GPUs could not be reset:\n  GPU 00000000:21:00.0: In use by another client\n\n"
    "1 device is currently being used by one or more other processes (e.g. Fabric Manager, CUDA application)."
)

_SCRIPT = """#!/bin/sh
cd "{folder}"
echo "$*" >> calls
case "$1" in
--query-gpu=persistence_mode) cat persistence ;;
--persistence-mode=0) echo Disabled > persistence ;;
--persistence-mode=1) echo Enabled > persistence ;;
--gpu-reset) cp persistence persistence-at-reset; {reset} ;;
*) exit 2 ;;
esac
"""


class StandinSmi:
    """`environ` has it first on the PATH."""

    def __init__(self, folder: Path, reset: str = "true") -> None:
        self.folder = folder / "smi"
        self.folder.mkdir()
        self.set_persistence("Disabled")
        self.path = self.folder / "nvidia-smi"
        self.become(reset)

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    def become(self, reset: str) -> None:
        """Renamed into place: one that runs goes on as it was."""
        new = self.folder / "new"
        new.write_text(_SCRIPT.format(folder=self.folder, reset=reset))
        new.chmod(0o755)
        new.replace(self.path)

    def set_persistence(self, mode: str) -> None:
        (self.folder / "persistence").write_text(f"{mode}\n")

    def calls(self) -> list[str]:
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def resets(self) -> list[str]:
        return [call for call in self.calls() if call.startswith("--gpu-reset")]

    def persistence(self, when: str = "persistence") -> str:
        return (self.folder / when).read_text().strip()
