"""adapters/ssh/manifest — what a kit consists of, in words that are the same wherever it is built. Reads no program."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

MANIFEST = "manifest.json"
_FORMAT = 1


class ManifestBrokenError(ValueError):
    """It is no manifest of this release's kind."""


@dataclass(frozen=True, slots=True)
class KitFile:
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`packages`: of each package that a file came from, its version. `files`: by path below the kit, without the manifest."""

    architecture: str
    loader: str
    packages: Mapping[str, str]
    files: Mapping[str, KitFile]

    @property
    def version(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in sorted(self.packages.items()))


def hash_of(written: bytes) -> str:
    """By which a kit is named: that of its manifest as it is written."""
    return hashlib.sha256(written).hexdigest()[:32]


def write_manifest(manifest: Manifest) -> bytes:
    told = {
        "format": _FORMAT,
        "architecture": manifest.architecture,
        "loader": manifest.loader,
        "packages": dict(manifest.packages),
        "files": {
            name: {"sha256": file.sha256, "mode": f"{file.mode:04o}"} for name, file in manifest.files.items()
        },
    }
    return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()


def read_manifest(written: bytes) -> Manifest:
    """Raises ManifestBrokenError."""
    try:
        told = json.loads(written)
        if told["format"] != _FORMAT:
            raise ManifestBrokenError(f"its format is {told['format']!a}, this release reads {_FORMAT}")
        return Manifest(
            str(told["architecture"]),
            str(told["loader"]),
            {str(name): str(version) for name, version in told["packages"].items()},
            {
                str(name): KitFile(str(file["sha256"]), int(file["mode"], 8))
                for name, file in told["files"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ManifestBrokenError):
            raise
        raise ManifestBrokenError("it is not written as one") from error
