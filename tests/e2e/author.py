"""author — somebody who deploys a file, starts its functions by name and waits for how they end; a daemon that a module's tests share."""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.client import Client, Json, Reply
from tests.e2e.daemon import Daemon, Settings
from tests.e2e.test_chutes import WAIT, follow
from tests.fakes.forms import FORM, deploy_form
from tests.fakes.tars import tar_of
from tests.private_engine import PrivateEngine, busybox_image

Body = object  # what a function is started with: any JSON
CHUTE = "trainer"
HEAD = f"""
import asyncio, json, os, signal, socket, sys, threading, time
from pathlib import Path
from chutes.chute import Chute
from chutes.chute.job import Port
from chutes import PermanentError
chute = Chute(username="ann", name="{CHUTE}")
"""


@dataclass(frozen=True)
class Author:
    client: Client

    def deploy(self, image: str, code: str | Mapping[str, str], **changes: Any) -> Reply:  # noqa: ANN401 - JSON is any
        """`code` alone is main.py's, behind HEAD."""
        files = {"main.py": HEAD + textwrap.dedent(code)} if isinstance(code, str) else code
        archive = tar_of({name: text.encode() for name, text in files.items()})
        form = deploy_form({"image": image, **changes}, archive)
        return follow(self.client, self.client.post(f"/v1/chutes{WAIT}", form, FORM))

    def deployed(self, image: str, code: str | Mapping[str, str], **changes: Any) -> "Author":  # noqa: ANN401 - as above
        reply = self.deploy(image, code, **changes)
        assert reply.status in {200, 201}, reply.body
        return self

    def start(self, function: str, payload: Body = None, *, chute: str = CHUTE, **spec: object) -> str:
        body = {"payload": payload, **({"spec": spec} if spec else {})}
        reply = self.client.call("POST", f"/v1/chutes/{chute}/jobs/{function}", body)
        assert reply.status == 201, reply.body
        return str(reply.json["id"])

    def finished(self, function: str, payload: Body = None, **spec: object) -> Json:
        return self.client.wait_finished(self.start(function, payload, **spec))


def code_of(job: Json) -> str | None:
    """Why it did not succeed."""
    return None if job["reason"] is None else str(job["reason"]["code"])


@contextmanager
def serving(engine: PrivateEngine, folder: Path, settings: Settings | None = None) -> Iterator[Daemon]:
    daemon = Daemon(folder / "d", engine, busybox_image(engine), settings)
    try:
        yield daemon.start()
    finally:
        daemon.clean_up()
