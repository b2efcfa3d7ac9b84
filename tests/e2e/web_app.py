"""web_app — a page as people's apps are: scripts that post, listen and talk to their server. Runs in a job, on aiohttp alone."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

COUNTS: web.AppKey[Counter[str]] = web.AppKey("counts", Counter)

PAGE = """<!doctype html><title>static</title><script>
const talk = (address, protocol) => new Promise((done) => {
  const socket = new WebSocket(address, protocol);
  const said = [];
  socket.onopen = () => socket.send("hello");
  socket.onmessage = (message) => said.push(message.data);
  socket.onclose = (end) => done({said, protocol: socket.protocol, code: end.code});
  socket.onerror = () => done({error: true});
});
const listen = () => new Promise((done) => {
  const told = [], source = new EventSource("/events");
  source.onmessage = (event) => { told.push(event.data); if (told.length === 3) { source.close(); done(told); } };
});
const post = async (size) => (await (await fetch("/post", {method: "POST", body: new Uint8Array(size)})).json());
window.talk = talk;
(async () => {
  document.cookie = "script=1";
  window.result = {
    socket: await talk(`${location.protocol.replace("http", "ws")}//${location.host}/socket`, "chat"),
    events: await listen(),
    posted: await post(8 << 20),
    headers: await (await fetch("/headers")).json(),
    cookie: document.cookie,
  };
  document.title = "done";
})();
</script>"""


async def page(_request: web.Request) -> web.Response:
    response = web.Response(text=PAGE, content_type="text/html")
    response.set_cookie("app", "1", domain="jobs.localhost")
    response.set_cookie("gpu-agent-page", "forged")
    return response


async def headers(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


async def post(request: web.Request) -> web.Response:
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    return web.json_response({"size": size})


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(0.05)
    await asyncio.sleep(60)
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    # As careful servers do: a page of another origin gets nothing.
    if request.headers.get("Origin", "").partition("://")[2] != request.host:
        raise web.HTTPForbidden
    found = web.WebSocketResponse(protocols=("chat",))
    await found.prepare(request)
    async for message in found:
        await found.send_str(json.dumps({"said": message.data}))
        await found.close(code=4001, message=b"bye")
    return found


async def counts(request: web.Request) -> web.Response:
    return web.json_response(request.app[COUNTS])


@web.middleware
async def count(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    request.app[COUNTS][f"{request.method} {request.path}"] += 1
    return await handler(request)


def main() -> None:
    app = web.Application(middlewares=[count])
    app[COUNTS] = Counter()
    app.add_routes(
        [
            web.get("/", page),
            web.get("/counts", counts),
            web.get("/headers", headers),
            web.post("/post", post),
            web.get("/events", events),
            web.get("/socket", socket),
        ]
    )
    web.run_app(app, host="0.0.0.0", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
