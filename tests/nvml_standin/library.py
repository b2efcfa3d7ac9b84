"""The stand-in as a file, and as the environment of a program that is to load it."""

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.nvml_standin.profiles import Host

_HERE = Path(__file__).parent
_NAME = "libnvidia-ml.so.1"


def build(folder: Path) -> Path:
    """Compile it, against NVIDIA's own header, into `folder`."""
    (include,) = (Path(sysconfig.get_path("purelib")) / "nvidia").glob("*/include/nvml.h")
    sources = sorted(str(path) for path in _HERE.glob("*.c"))
    flags = ["-shared", "-fPIC", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run(
        ["cc", *flags, f"-I{include.parent}", "-o", str(folder / _NAME), *sources],
        check=True,
        timeout=60,
    )
    return folder


def environ_without(folder: Path) -> dict[str, str]:
    """Of a host that has no NVML, whatever this one has: what is found first is no library."""
    (folder / _NAME).write_text("not a library")
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


class Standin:
    """A host that changes under the program that looks at it."""

    def __init__(self, library: Path, folder: Path, host: Host) -> None:
        self._state, self._xids = folder / "host", folder / "xids"
        self._xids.touch()
        self.become(host)
        self.environ = {
            **os.environ,
            "LD_LIBRARY_PATH": str(library),
            "NVML_STANDIN_STATE": str(self._state),
            "NVML_STANDIN_XIDS": str(self._xids),
        }

    @property
    def state_file(self) -> Path:
        """For a program that changes the host itself, by renaming a file to it."""
        return self._state

    def become(self, host: Host) -> None:
        # Renamed into place: it is never seen half written.
        new = self._state.with_suffix(".new")
        new.write_text(host.text())
        new.replace(self._state)

    def tell_xid(self, uuid: str, xid: int) -> None:
        with self._xids.open("a") as file:
            file.write(f"{uuid} {xid}\n")
