"""bench/bare_upload — what one Python process can do at most: files read, hashed and sent by PUT, with nothing else about it. Guards nothing, remembers nothing.

    python -m bench.bare_upload socket URL FILE      one file, on one plain socket, in one thread
    python -m bench.bare_upload aiohttp URL FOLDER   its files, eight at a time, by the HTTP library that the agent uses

It prints the seconds that it took, its start not counted. No program that also keeps a journal, guards and yields can be faster.
"""

import asyncio
import hashlib
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bench.upload_process import HEADERS

BLOCK_BYTES = 256 << 10
AT_ONCE = 8


def send_by_socket(url: str, path: Path) -> None:
    to = urlsplit(url)
    lines = [
        f"PUT {to.path}{path.name} HTTP/1.1",
        f"Host: {to.netloc}",
        f"Content-Length: {path.stat().st_size}",
    ]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    digest, block = hashlib.sha256(), bytearray(BLOCK_BYTES)
    view = memoryview(block)
    with (
        socket.create_connection((to.hostname or "", to.port or 80)) as wire,
        path.open("rb", buffering=0) as file,
    ):
        wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while count := file.readinto(block):
            digest.update(view[:count])
            wire.sendall(view[:count])
        assert wire.recv(65_536).startswith(b"HTTP/1.1 20")


async def send_by_aiohttp(url: str, paths: list[Path]) -> None:
    left = iter(paths)

    async def send_on(http: aiohttp.ClientSession) -> None:
        for path in left:
            data = path.read_bytes()
            hashlib.sha256(data).hexdigest()
            async with http.put(f"{url}{path.name}", data=data, headers=HEADERS) as answer:
                assert answer.status in {201, 204}

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send_on(http))


def main() -> None:
    way, url, *names = sys.argv[1:]
    paths = [Path(name) for name in names]
    began = time.perf_counter()
    if way == "socket":
        send_by_socket(url, paths[0])
    else:
        asyncio.run(send_by_aiohttp(url, sorted(paths[0].iterdir())))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
