"""cli/outputs — `outputs ls` and `outputs get`: files listed, fetched, resumed and checked. Where they land is cli/landing."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from agent.cli.ids import find_job
from agent.cli.landing import HostileNameError, Landing, LandingRefusedError, Overwrite, Place, open_landing
from agent.cli.options import JobArgument
from agent.cli.refusals import (
    AWAY,
    ApiRefusedError,
    NoSuchOutputError,
    NotAnAgentError,
    NotReachableError,
    Refusal,
)
from agent.cli.request import Request, job_path, stream
from agent.cli.screen import Form, Screen
from agent.cli.show.outputs import outputs_view
from agent.cli.show.words import one_line, size_text
from agent.errors import AgentError, Blame

if TYPE_CHECKING:
    from agent.cli.bars import Bar
    from agent.cli.session import Call

PathArgument = Annotated[
    str | None, typer.Argument(metavar="PATH", help="A file of the list, or a folder; default: all.")
]


class ContentDiffersError(AgentError):
    """What came is not what the list said."""

    code, blame = "content_differs", Blame.HOST
    remedy = "The file changed while it was fetched: fetch it again, best when the job is finished."


@dataclass(slots=True)
class Fetched:
    """What became of each file. `refused`: the ones that are not here now, each with why. `truncated`: why the list had no more."""

    files: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    truncated: str | None = None

    @property
    def is_whole(self) -> bool:
        return not self.refused and self.truncated is None

    @property
    def total_bytes(self) -> int:
        return sum(file["size"] for file in self.files)


async def ls(call: "Call", job: JobArgument, path: PathArgument = None) -> int:
    """List a job's output files, with size and sha256, and whether they have left."""
    job_id = await find_job(call.api, job)
    page = await list_outputs(call, job_id, path)
    if call.screen.form is Form.PEOPLE:  # what the files say of it is in the page
        upload = (await call.api.ask(Request("GET", job_path(job_id))))["upload"]
        call.screen.answer(page, lambda: outputs_view(page, upload))
    else:
        call.screen.answer_json(page)
    return 0


async def get(
    call: "Call",
    job: JobArgument,
    path: PathArgument = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to fetch into.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ.")] = False,
) -> int:
    """Fetch output files. Goes on with what an earlier fetch left, and checks the sha256 of each."""
    job_id = await find_job(call.api, job)
    fetched = await fetch_outputs(
        call, job_id, path, output, Overwrite.REPLACE if force else Overwrite.REFUSE
    )
    say_fetched(call.screen, fetched, output)
    call.screen.answer_json(
        {"items": fetched.files, "skipped": fetched.skipped, "truncated": fetched.truncated}
    )
    return 0 if fetched.is_whole else 1


async def list_outputs(call: "Call", job_id: str, path: str | None) -> dict[str, Any]:
    """The API's page, of one file or folder where `path` names one. Raises NoSuchOutputError."""
    page: dict[str, Any] = await call.api.ask(stream(job_path(job_id, "/outputs")))
    return choose(page, path)


async def list_patiently(call: "Call", job_id: str, path: str | None) -> dict[str, Any]:
    """As `list_outputs`, asked for again where the connection breaks, also before the agent is back; but not if nobody was there."""
    from agent.cli.patience import Patience  # noqa: PLC0415 - takes the event loop with it

    patience, was_there = Patience(call.screen), False
    while True:
        try:
            return await list_outputs(call, job_id, path)
        except (*AWAY, ApiRefusedError) as error:
            was_there = was_there or not isinstance(error, NotReachableError)
            if not was_there:
                raise
            await patience.wait(error, "the agent is away; asking for the list again when it is back")


def choose(page: dict[str, Any], path: str | None) -> dict[str, Any]:
    """What `path` names of the page, a file or a folder; None: all. Raises NoSuchOutputError."""
    if path is None:
        return page
    wanted = path.strip("/")
    items = [file for file in page["items"] if f"{file['path']}/".startswith(f"{wanted}/")]
    if not items:
        raise NoSuchOutputError(f"there is no output {path!a}")
    return {**page, "items": items}


async def fetch_outputs(
    call: "Call", job_id: str, path: str | None, root: Path, overwrite: Overwrite
) -> Fetched:
    """Fetch below `root`. One file that can't be had does not keep the others away. Raises what ends the whole."""
    from agent.cli.bars import Bar  # noqa: PLC0415 - rich's progress takes a while to import

    page = await list_patiently(call, job_id, path)
    fetched = Fetched(skipped=page["skipped"], truncated=page["truncated"])
    with open_landing(root) as landing, Bar(call.screen) as bar:
        bar.tell("fetching outputs", 0, sum(file["size"] for file in page["items"]))
        for file in page["items"]:
            try:
                state = await Fetch(call, job_id, file, bar).into(landing, overwrite)
            except (HostileNameError, LandingRefusedError, ContentDiffersError) as refusal:
                fetched.refused.append(refusal)
            except ApiRefusedError as refusal:
                if refusal.code != "output_not_found":
                    raise
                fetched.refused.append(refusal)
            else:
                fetched.files.append(
                    {name: file[name] for name in ("path", "size", "sha256")} | {"state": state}
                )
    return fetched


def say_fetched(screen: Screen, fetched: Fetched, root: Path) -> None:
    for refusal in fetched.refused:
        screen.refuse(refusal)
    for skipped in fetched.skipped:
        screen.note(f"not to be had: {one_line(skipped['path'])} ({skipped['why']})")
    if fetched.truncated is not None:
        screen.note(f"not all: the list ends early: {one_line(fetched.truncated)}")
    kept = sum(file["state"] == "kept" for file in fetched.files)
    count = len(fetched.files)
    told = f"{count} file{'s' if count != 1 else ''}, {size_text(fetched.total_bytes)}, in {root}"
    screen.say(f"{told}; {kept} were there already" if kept else told)


@contextmanager
def readable_faults(place: Place) -> Iterator[None]:
    """What the disk refuses, as an error of this one file."""
    try:
        yield
    except OSError as error:
        raise LandingRefusedError(f"{place.path} can't be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Fetch:
    """One file on its way. `file` is its entry in the list."""

    call: "Call"
    job_id: str
    file: dict[str, Any]
    bar: "Bar"

    async def into(self, landing: Landing, overwrite: Overwrite) -> str:
        """`fetched` or `kept`. Raises HostileNameError, LandingRefusedError, ContentDiffersError, and what the API refuses."""
        sha256 = str(self.file["sha256"])
        with landing.place(str(self.file["path"])) as place:
            have = place.digest()
            if have == sha256:
                self.bar.advance(self.file["size"])
                return "kept"
            if have is not None and overwrite is Overwrite.REFUSE:
                raise LandingRefusedError(f"{place.path} is there, and differs")
            await self._fill(place, sha256)
            place.commit(sha256, int(self.file["mode"]))
            return "fetched"

    async def _fill(self, place: Place, sha256: str) -> None:
        from agent.cli.patience import Patience  # noqa: PLC0415 - takes the event loop with it

        patience = Patience(self.call.screen)
        with readable_faults(place), place.part(sha256) as part:
            while True:
                try:
                    await self._go_on(part)
                    break
                except (*AWAY, ApiRefusedError) as error:
                    part.flush()
                    await patience.wait(
                        error, "the agent is away; going on where the file stopped when it is back"
                    )
            part.seek(0)
            came = hashlib.file_digest(part, "sha256").hexdigest()
        if came != sha256:
            place.discard(sha256)
            raise ContentDiffersError(f"{place.path} has the sha256 {came}, the list says {sha256}")

    async def _go_on(self, part: BufferedRandom) -> None:
        """Fetch what is missing at the part's end, or all of it where the file there is another one by now."""
        path = job_path(self.job_id, f"/outputs/{quote(str(self.file['path']), safe='/')}")
        have = part.seek(0, 2)
        if have >= self.file["size"]:
            part.truncate(self.file["size"])
            return
        headers = await self._range_from(path, have)
        async with self.call.api.open(Request("GET", path, headers=headers)) as answer:
            if answer.status != 206:
                part.seek(0)
                part.truncate()
            elif have:
                self.bar.advance(have)
            async for chunk in answer.content.iter_any():
                part.write(chunk)
                self.bar.advance(len(chunk))

    async def _range_from(self, path: str, have: int) -> dict[str, str]:
        if have == 0:
            return {}
        # The part is named after its content's digest, and checked against it at the end; the ETag only saves the way
        # where the file is another one meanwhile.
        try:
            async with self.call.api.open(Request("HEAD", path)) as answer:
                return {"Range": f"bytes={have}-", "If-Range": answer.headers.get("ETag", "")}
        except NotAnAgentError:
            return {}  # an answer to HEAD can't say what is wrong; the one to GET will
