"""ssh_kit — the SSH kit of the tests, built once below .cache/ of the distribution's packages; and kits made of nothing, for who only looks.

python tests/ssh_kit.py        builds it; installs as root what the tests of SSH need besides
"""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.adapters.ssh import KitNotBuiltError, build_kit
from agent.adapters.ssh.kit import CURRENT
from agent.adapters.ssh.manifest import MANIFEST, KitFile, Manifest, hash_of, write_manifest
from agent.core.ssh_kit import SshKit
from tests.private_engine_host import PrivateEngineError, ensure_packages

KITS = Path(__file__).resolve().parent.parent / ".cache" / "ssh-kit"
TOOLS = {"ssh": "openssh-client", "rsync": "rsync", "musl-gcc": "musl-tools"}


def built_kit() -> SshKit:
    """Built anew each time, which takes two seconds: it is the same one as long as packages and scripts are."""
    ensure_packages(TOOLS)
    KITS.parent.mkdir(exist_ok=True)
    try:
        return build_kit(KITS)
    except KitNotBuiltError:  # a fresh machine has no lists of packages
        subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=True)
        return build_kit(KITS)


def lay_kit(root: Path, content: Mapping[str, bytes], architecture: str = platform.machine()) -> Path:
    """A kit of these files, as whole as any: nothing in it is a program. New jobs get it."""
    files = {name: KitFile(hashlib.sha256(data).hexdigest(), 0o644) for name, data in content.items()}
    manifest = Manifest(architecture, "lib/ld.so", {"dropbear": "1"}, files)
    written = write_manifest(manifest)
    folder = root / hash_of(written)
    for name, data in {**content, MANIFEST: written}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    (root / CURRENT).unlink(missing_ok=True)
    (root / CURRENT).symlink_to(folder.name)
    return folder


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{built_kit().path}\n")
    except (KitNotBuiltError, PrivateEngineError) as error:
        sys.exit(str(error))
