"""Archives to deploy, good ones and hostile ones, made in memory by the standard library."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping

MAIN = b"from chutes.chute import Chute\n"


def tar_of(
    files: Mapping[str, bytes | tarfile.TarInfo],
    tar_format: int = tarfile.PAX_FORMAT,
    *,
    packed: bool = False,
) -> bytes:
    """Files by their names, or members as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def member(kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname = kind, link
    return made


def twice(name: str, contents: Iterable[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
