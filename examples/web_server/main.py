"""A job that serves HTTP until it is stopped: a page that greets, and says how often it did.

gpu-agent chute run examples/web_server/main.py:serve --local      # http://localhost:8080/?name=you; Ctrl-C stops it
"""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chutes.chute import Chute
from chutes.chute.job import Port

chute = Chute(username="examples", name="web-server", image="python:3.12-slim")


@chute.job(name="serve", ports=[Port(name="web", port=8080, proto="http")], upload=False)
async def serve(self: Chute) -> dict:
    """Serve on the port `web`; returns how many pages were served."""
    port = next(port["port"] for port in self.job_ports if port["name"] == "web")
    server = Greeter(("", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    self.logger.info("serving on port %d", port)
    try:
        # The request to stop comes first; were it ignored, this coroutine would be cancelled after half of the job's grace.
        while not self.should_shutdown:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.1)
    finally:
        server.shutdown()
        server.server_close()
    await self.record_metric("pages", server.pages)
    return {"pages": server.pages}


class Greeter(ThreadingHTTPServer):
    daemon_threads = True
    pages = 0


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.pages += 1
        name = parse_qs(urlsplit(self.path).query).get("name", ["you"])[0]
        body = f"Hello, {name}! This is page {self.server.pages}.\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        print(f"{self.address_string()} {form % values}", flush=True)
