"""cli/leaving — a job waited for to its end, and its outputs on their way shown meanwhile. Asks for no upload, and ends none."""

import asyncio
from typing import Any

from rich.text import Text

from agent.cli.bars import Bar
from agent.cli.follow import ENDED
from agent.cli.request import get, job_path
from agent.cli.session import Call
from agent.cli.show.uploads import LEFT_BEHIND, counts_text, trouble_line, upload_text
from agent.cli.submission import WAIT_SECONDS, ask_patiently, read_job

# How often a bar is drawn anew.
EACH_SECONDS = 1
# Of a few small files the end comes before that.
FIRST_SECONDS = 0.1
WHAT = "sending outputs"


async def see_end(call: Call, job_id: str) -> Any:  # noqa: ANN401 - the job as decoded JSON
    """The finished job."""
    with Bar(call.screen) as bar:
        leaving, seconds = Leaving(call, bar), EACH_SECONDS
        while True:
            job = await ask_patiently(call, get(job_path(job_id), {"wait": "finished", "timeout": seconds}))
            if job["phase"] == "finished":
                return job
            leaving.show(job)
            seconds = EACH_SECONDS if bar.is_drawn else WAIT_SECONDS


async def see_upload_end(call: Call, job_id: str) -> Any:  # noqa: ANN401 - the job as decoded JSON
    """The job, once nothing of it is on its way: of a finished one of which something is sent again."""
    with Bar(call.screen) as bar:
        leaving, pause = Leaving(call, bar), FIRST_SECONDS
        while True:
            job = await read_job(call, job_id)
            if not leaving.show(job):
                return job
            await asyncio.sleep(pause)
            pause = min(EACH_SECONDS, 2 * pause)


class Leaving:
    """Draws what is on its way. Each kind of trouble is said once: it may pass, or take a day."""

    def __init__(self, call: Call, bar: Bar) -> None:
        self._call = call
        self._bar = bar
        self._said: set[str] = set()

    def show(self, job: Any) -> bool:  # noqa: ANN401 - decoded JSON
        """Whether any of the outputs of the job, which has ended, are on their way."""
        upload = job["upload"]
        if upload is None or upload["state"] != "sending" or job["phase"] not in ENDED:
            return False
        self._bar.tell(WHAT, upload["bytes_done"], upload["bytes_total"])
        error = upload["last_error"]
        if error is not None and error["code"] not in self._said:
            self._said.add(error["code"])
            self._call.screen.say(f"outputs: {trouble_line(error)}")
        return True


def has_left(job: Any) -> bool:  # noqa: ANN401 - decoded JSON
    """Whether all is where it was to be sent, or nothing was to."""
    return job["upload"] is None or job["upload"]["state"] not in LEFT_BEHIND


def say_upload(call: Call, job: Any) -> None:  # noqa: ANN401 - decoded JSON
    """How an upload ended, beside the answer."""
    upload = job["upload"]
    if upload is None:
        return
    if upload["state"] == "complete":
        call.screen.say(f"outputs sent: {counts_text(upload)}")
    elif upload["state"] in LEFT_BEHIND:
        call.screen.tell(Text("outputs ").append_text(upload_text(upload)))
        call.screen.say(f"what did not leave is kept; send it with: gpu-agent outputs retry {job['id']}")
