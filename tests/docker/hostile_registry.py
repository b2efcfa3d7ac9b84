"""hostile_registry — Debian's docker-registry behind a proxy that misbehaves by the first part of the repository's name.

    python hostile_registry.py FOLDER     prints {"plain": port, "private": port, "upstream": port}, serves until its standard input ends

`ok/…` is passed on, `refused/…` answers 401, `forbidden/…` 403, `broken/…` 500, `hangs/…` nothing at all, `drips/…` sends
its layers a little at a time, `platform/…` has only builds for another machine.
What any of them holds is what was pushed as `ok/…`. The private port asks for the password; a push goes
to the registry itself, upstream.
"""

import base64
import http.client
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

USER, PASSWORD = "puller", "pull-secret"
LOGIN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
INDEX = "application/vnd.oci.image.index.v1+json"
OTHER_MACHINE = {
    "schemaVersion": 2,
    "mediaType": INDEX,
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:" + "0" * 64,
            "size": 500,
            "platform": {"architecture": "s390x", "os": "linux"},
        }
    ],
}
DRIP_BYTES, DRIP_SECONDS = 16_384, 0.02


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[int]
    closing: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        if self.server.server_port == self.server.private_port and self.headers.get("Authorization") != LOGIN:
            self.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="hostile"'})
            return
        mode = self.path.split("/")[2] if self.path.count("/") > 2 else "ok"
        is_blob = "/blobs/" in self.path
        if mode == "refused":
            self.answer(401, errors("UNAUTHORIZED", "authentication required"), {})
        elif mode == "forbidden":
            self.answer(403, errors("DENIED", "requested access to the resource is denied"), {})
        elif mode == "broken":
            self.answer(500, errors("UNKNOWN", "the disk is on fire"), {})
        elif mode == "hangs":
            self.closing.wait()
        elif mode == "platform":
            self.answer(200, json.dumps(OTHER_MACHINE).encode(), {"Content-Type": INDEX})
        else:
            self.forward(mode, is_blob=is_blob)

    def do_HEAD(self) -> None:
        self.do_GET()

    def forward(self, mode: str, *, is_blob: bool) -> None:
        path = self.path if mode == "missing" else self.path.replace(f"/{mode}/", "/ok/", 1)
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        # One engine's request has many Accept headers.
        kept = {"Accept": ", ".join(self.headers.get_all("Accept") or ["*/*"])}
        if "Range" in self.headers:
            kept["Range"] = self.headers["Range"]
        connection.request(self.command, path, headers=kept)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        headers = {
            name: value for name, value in reply.getheaders() if name not in {"Content-Length", "Date"}
        }
        if self.command == "HEAD":
            self.answer(reply.status, b"", headers, reply.getheader("Content-Length") or "0")
        elif is_blob and mode == "drips" and len(content) > DRIP_BYTES:
            self.drip(content, headers)
        else:
            self.answer(reply.status, content, headers)

    def drip(self, content: bytes, headers: dict[str, str]) -> None:
        self.answer(200, b"", headers, str(len(content)))
        for at in range(0, len(content), DRIP_BYTES):
            self.wfile.write(content[at : at + DRIP_BYTES])
            time.sleep(DRIP_SECONDS)

    def answer(self, status: int, body: bytes, headers: dict[str, str], length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    private_port = 0


def main() -> None:
    folder = Path(sys.argv[1])
    plain, private = Server(("127.0.0.1", 0), Proxy), Server(("127.0.0.1", 0), Proxy)
    plain.private_port = private.private_port = private.server_port
    with Server(("127.0.0.1", 0), Proxy) as found:
        Proxy.upstream = found.server_port
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}\n"
        f"http: {{addr: '127.0.0.1:{Proxy.upstream}'}}\n"
    )
    registry = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(Proxy.upstream)
        for server in (plain, private):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(
            json.dumps(
                {"plain": plain.server_port, "private": private.server_port, "upstream": Proxy.upstream}
            )
            + "\n"
        )
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        registry.terminate()
        registry.wait()


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            connection.close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("docker-registry did not start")


if __name__ == "__main__":
    main()
