"""cli/chute_deploy — `chute deploy`: the code is packed and sent, and waited for until it was described. Judges nothing: the agent does."""

import json
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from agent.cli.chute_code import Code, read_code
from agent.cli.refusals import AWAY, ApiRefusedError, BadArgumentError
from agent.cli.request import Raw, Request, chute_path, get
from agent.cli.specfile import read_json

if TYPE_CHECKING:
    from agent.cli.session import Call

# Less than a client waits for any answer.
WAIT_SECONDS = 50


async def deploy(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    target: Annotated[str, typer.Argument(metavar="PATH[:ATTRIBUTE]", help="A .py file, a folder or a tarball; and the name of the chute in it, default chute.")],
    *,
    image: Annotated[str, typer.Option(metavar="IMAGE", help="What its jobs run in; it must have a python3.")],
    spec: Annotated[str | None, typer.Option(metavar="FILE.json|-", help="Defaults of its jobs: fields of a job's spec.")] = None,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Its schedules make up for the latest minute that they missed, once.")] = False,
    entry: Annotated[str | None, typer.Option(metavar="FILE[:ATTRIBUTE]", help="The file with the chute, within a folder or tarball; default: main.py, or the only one.")] = None,
) -> int:  # fmt: skip
    """Deploy a chute: send its code, and have the agent look what it declares. Every fault comes at once.

    Its jobs are then started by name: `gpu-agent chute run NAME/JOB`.
    """
    code = read_code(target, entry)
    body: dict[str, Any] = {"image": image, "entry": code.entry}
    if spec is not None:
        body["spec"] = read_object(spec)
    if catch_up:
        body["catch_up"] = True
    chute = await _wait_for_end(call, await _send(call, body, code))
    call.screen.answer_line(chute, told_of(chute))
    for note in chute["notes"]:
        call.screen.say(f"note: {note}")
    return 0


def read_object(source: str) -> dict[str, Any]:
    """The fields of a spec, out of a file or stdin. Raises BadArgumentError."""
    found = read_json(source)
    if not isinstance(found, dict):
        raise BadArgumentError(f'{source} holds no object such as {{"memory": "8GiB"}}')
    return found


def form_of(deploy: object, code: bytes) -> tuple[bytes, str]:
    """A multipart body and its media type."""
    boundary = uuid4().hex
    parts = (("deploy", "application/json", json.dumps(deploy).encode()), ("code", "application/x-tar", code))
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {media}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, media, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def _send(call: "Call", deploy: object, code: Code) -> Any:  # noqa: ANN401 - decoded JSON
    """The chute, or the version where that is still being described. The same deploy again is the same version, so it is repeated."""
    from agent.cli.bars import Bar  # noqa: PLC0415 - takes long to import
    from agent.cli.patience import Patience  # noqa: PLC0415 - takes the event loop with it

    body, media = form_of(deploy, code.archive)
    patience, done = Patience(call.screen), 0
    with Bar(call.screen) as bar:

        def sent(count: int) -> None:
            nonlocal done
            done += count
            bar.tell("sending" if done < len(body) else "describing", done, len(body))

        while True:
            done = 0
            try:
                return await call.api.ask(
                    Request("POST", "/v1/chutes", {"wait": WAIT_SECONDS}, Raw(body, media, sent))
                )
            except AWAY as error:
                await patience.wait(
                    error, "the answer was lost; sending it again, which makes no second version"
                )


async def _wait_for_end(call: "Call", answer: dict[str, Any]) -> dict[str, Any]:
    from agent.cli.bars import Bar  # noqa: PLC0415 - takes long to import
    from agent.cli.submission import ask_patiently  # noqa: PLC0415 - takes the event loop with it

    with Bar(call.screen) as bar:
        while answer.get("state") == "describing":
            bar.tell("describing")
            where = f"/v1/chutes/versions/{answer['version']}"
            answer = await ask_patiently(call, get(where, {"wait": WAIT_SECONDS}))
    if answer.get("state") == "refused":
        raise ApiRefusedError(422, refusal_of(answer))
    if "jobs" in answer:
        return answer
    found: dict[str, Any] = await ask_patiently(call, get(chute_path(answer["chute"])))
    return found


def refusal_of(version: dict[str, Any]) -> dict[str, Any]:
    """A version that was refused, as the problem that the deploy would have been answered with."""
    return {
        "code": "deploy_refused",
        "detail": f"the deploy has {len(version['faults'])} fault(s)",
        "blame": "user",
        "phase": None,
        "remedy": "Correct every field that is named, then send it again.",
        "faults": version["faults"],
    }


def told_of(chute: dict[str, Any]) -> str:
    names = ", ".join(job["name"] for job in chute["jobs"]) or "none"
    return f"{chute['name']} version {chute['version']['number']}: jobs {names}"
