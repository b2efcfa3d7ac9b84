"""ssh_images — images of each libc, made of this host's programs and without any registry. Starts no container."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.private_engine import PrivateEngine, busybox_image

GLIBC_PROGRAMS = ("bash", "cat", "dash", "env", "id", "ls", "rsync", "sleep", "stty", "touch", "tty")
MUSL_LOADER = Path("/lib/ld-musl-x86_64.so.1")
# Beside the busybox that is linked statically: a program and a library of musl, as all of an Alpine's are.
MUSL_PROGRAM = '#include <stdio.h>\nint main(void) { puts("musl runs"); return 0; }\n'
MUSL_LIBRARY = '#include <stdlib.h>\n__attribute__((constructor)) static void mark(void) { setenv("PRELOADED", "yes", 1); }\n'


def image_of(engine: PrivateEngine, libc: str, work: Path) -> str:
    match libc:
        case "glibc":
            return glibc_image(engine)
        case "musl":
            return musl_image(engine, work)
        case _:
            return busybox_image(engine)


def make_image(engine: PrivateEngine, tag: str, files: Mapping[str, tuple[bytes, int]]) -> str:
    """An image of these files and the folders that they need."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("tmp", "root"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o700
            tar.addfile(folder)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name.removeprefix("/"))
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    repository, _, version = tag.partition(":")
    status, reply = engine.request(
        "POST", f"/images/create?fromSrc=-&repo={repository}&tag={version}", buffer.getvalue()
    )
    assert status == 200, reply
    assert b'"error"' not in reply, reply
    return tag


def glibc_image(engine: PrivateEngine) -> str:
    """Of this host's programs, each with the libraries that it names; /etc/shells as Debian has it."""
    files = {
        "/etc/passwd": (b"root:x:0:0:root:/root:/bin/bash\nworker:x:1000:1000::/tmp:/bin/sh\n", 0o644),
        "/etc/group": (b"root:x:0:\ntty:x:5:\nworker:x:1000:\n", 0o644),
        "/etc/shells": (b"/bin/sh\n/bin/bash\n", 0o644),
        "/var/run/keep": (b"", 0o644),
        "/bin/sh": (Path(str(shutil.which("dash"))).read_bytes(), 0o755),
    }
    for name in GLIBC_PROGRAMS:
        program = Path(str(shutil.which(name)))
        files[f"/bin/{name}"] = (program.read_bytes(), 0o755)
        for library in libraries_of(program):
            files[str(library)] = (library.read_bytes(), 0o755)
    return make_image(engine, "gpu-agent-test/glibc:1", files)


def libraries_of(program: Path) -> Iterator[Path]:
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        path = line.split("=>")[-1].split()[0]
        if path.startswith("/"):
            yield Path(path)


def musl_image(engine: PrivateEngine, work: Path) -> str:
    program, library = (
        compile_with_musl(work, "program", MUSL_PROGRAM),
        compile_with_musl(work, "library", MUSL_LIBRARY, "-shared", "-fPIC"),
    )
    busybox = Path(str(shutil.which("busybox")))
    files = {
        "/etc/passwd": (b"root:x:0:0:root:/root:/bin/ash\nworker:x:1000:1000::/tmp:/bin/sh\n", 0o644),
        "/etc/group": (b"root:x:0:\nworker:x:1000:\n", 0o644),
        "/etc/shells": (b"/bin/sh\n/bin/ash\n", 0o644),
        str(MUSL_LOADER): (MUSL_LOADER.resolve().read_bytes(), 0o755),
        "/bin/musl-program": (program.read_bytes(), 0o755),
        "/lib/libmark.so": (library.read_bytes(), 0o755),
    }
    for name in ("sh", "ash", "cat", "env", "id", "ls", "pwd", "sleep", "stty", "touch", "tty"):
        files[f"/bin/{name}"] = (busybox.read_bytes(), 0o755)
    return make_image(engine, "gpu-agent-test/musl:1", files)


def compile_with_musl(work: Path, name: str, source: str, *flags: str) -> Path:
    (work / f"{name}.c").write_text(source)
    subprocess.run(["musl-gcc", *flags, "-o", work / name, work / f"{name}.c"], check=True)
    return work / name
