"""The daemon dies at each boundary of a retried upload: it was not begun and nothing of it is left, or it goes on to its end."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog

from agent.core.delivery import Answer, Failure, Sent
from agent.core.job import Job
from agent.core.upload import MANIFEST, UploadRecord, UploadState
from agent.interfaces import StoreUnavailableError
from agent.spec import Upload, UploadTo
from tests.fakes.engine import Program
from tests.shell.boundaries import WRITES, DeathOfTheDaemon, Had, bare_url
from tests.shell.trial import Scenario, Trial
from tests.shell.world import ME, Outcome

pytestmark = pytest.mark.looptime(noop_cycles=2)  # nothing here waits for anything but this loop

PUT = {
    "to": "put",
    "url": "https://store.example.org/{job}/{path}?sig=hush",
    "headers": {"Authorization": "hush-2"},
}
FILES = {"a": b"a", "dir/b": b"bb", "large": b"c" * (1 << 20) + b"d"}
SCENARIO = Scenario("retry", Outcome.SUCCEEDED, Program(seconds=2), {"outputs": {"upload": PUT}}, files=FILES)
REFUSED = "dir/b"
SAME = Upload(to=UploadTo.PUT, url="https://store.example.org/{job}/{path}?sig=new", headers={"A": "hush-3"})
OTHER = Upload(to=UploadTo.PUT, url="https://other.example.org/{path}?sig=new", headers={"A": "hush-3"})
PLACES = pytest.mark.parametrize("upload", [SAME, OTHER], ids=["the same endpoint", "another endpoint"])


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Hundreds of lives of a daemon are not read by anybody."""
    structlog.configure(
        processors=[lambda _logger, _method, _event: (_ for _ in ()).throw(structlog.DropEvent)]
    )
    yield
    structlog.reset_defaults()


class Retry:
    """A job whose upload lacks a file, and somebody who asks until all of it is at `upload`."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.trial = Trial(SCENARIO)
        self.boundaries = self.trial.boundaries
        self.was_answered = False
        self.first = 0

    async def prepare(self) -> Job:
        """Returns the job, finished. Boundaries are counted from here."""

        async def refuse(path: str) -> Answer:
            return Failure("status_refused", is_passing=False, status=403) if path == REFUSED else Sent()

        deliveries = self.boundaries.deliveries
        deliveries.behave, take = refuse, deliveries.behave
        job = await self.trial.run({})
        assert (await self.record()).state is UploadState.PARTIAL
        deliveries.behave = take
        self.first = self.boundaries.count
        return job

    async def record(self) -> UploadRecord:
        return (await self.trial.world.store.upload_records([self.trial.job_id]))[self.trial.job_id]

    @property
    def endpoint(self) -> Had:
        return self.boundaries.deliveries.by_url.get(bare_url(self.upload), Had())

    async def insist(self, job: Job) -> None:
        async with asyncio.timeout(1000):
            while MANIFEST not in self.endpoint.files or not (await self.record()).is_over:
                await self.ask(job)
                await self.trial.settle_down()
                if (await self.record()).is_over:
                    self.assert_no_secret_is_left()

    async def ask(self, job: Job) -> None:
        shell = self.trial.world.shell
        if not (await self.record()).is_over:
            return
        assert not self.was_answered, "what was said to be begun is not gone on with"
        assert shell is not None
        # A task of its own, as a request is: it dies with the daemon.
        asked = asyncio.get_running_loop().create_task(shell.tools.uploads.again(job, self.upload))
        with suppress(DeathOfTheDaemon, StoreUnavailableError):
            await asked
            self.was_answered = True

    def assert_no_secret_is_left(self) -> None:
        folders = self.trial.world.folders
        assert not folders.holds_secrets(self.trial.job_id)
        assert self.trial.job_id not in folders.places

    async def assert_all_is_well(self, job: Job) -> None:
        world = self.trial.world
        await world.assert_all_is_well()
        assert world.store.peek(job.id) == job
        self.assert_no_secret_is_left()
        record = await self.record()
        assert (record.state, record.trouble, record.failed) == (UploadState.COMPLETE, None, 0)
        await self.trial.assert_journal_tells_the_truth(job)
        self.trial.assert_endpoint_has_all(job)
        told = [event.type for event in await world.store.events(ME, 0, job.id, 1000)]
        assert (told.count("upload.began"), told.count("upload.ended")) == (2, 2)
        tries = Counter(self.endpoint.tries)
        if self.upload is SAME:
            assert {path for path in FILES if tries[path] > 1} == {REFUSED}
        assert max(tries.values()) <= 2 + (self.upload is SAME)
        await world.crash()


def where(retry: Retry, n: int) -> str:
    return f"at {n}: {retry.boundaries.passed[retry.first :][n - 1 : n]}"


@pytest.mark.slow
@PLACES
async def test_a_death_at_any_boundary_of_a_retry_loses_nothing_of_it(upload: Upload) -> None:
    n = 0
    while True:
        n += 1
        retry = Retry(upload)
        job = await retry.prepare()
        retry.boundaries.at[retry.first + n] = retry.boundaries.die
        try:
            await retry.insist(job)
            await retry.assert_all_is_well(job)
        except BaseException as error:
            error.add_note(where(retry, n))
            await retry.trial.world.crash()
            raise
        if retry.boundaries.count < retry.first + n:
            break
    assert n > 20


@pytest.mark.slow
@PLACES
async def test_a_database_that_is_away_at_any_write_of_a_retry_loses_nothing_of_it(upload: Upload) -> None:
    n = 0
    while True:
        n += 1
        retry = Retry(upload)
        job = await retry.prepare()

        def lose_the_database(retry: Retry = retry) -> None:
            if retry.boundaries.passed[-1].split()[1] in WRITES:
                raise StoreUnavailableError("disk I/O error")

        retry.boundaries.at[retry.first + n] = lose_the_database
        try:
            await retry.insist(job)
            await retry.assert_all_is_well(job)
        except BaseException as error:
            error.add_note(where(retry, n))
            await retry.trial.world.crash()
            raise
        if retry.boundaries.count < retry.first + n:
            break
    assert n > 20
