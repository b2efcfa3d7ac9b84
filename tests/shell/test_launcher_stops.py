"""A stop of a function job: what its function sees and when, and that its report goes out whatever it does."""

import signal

import pytest

from tests.shell.launched import end, launch, launched, prepared

WAITS = """
@chute.job()
async def work(self):
    open(self.output_dir + "/begun", "w").close()
    await asyncio.sleep(60)
"""

ASYNC_SEES = """
@chute.job()
async def work(self):
    open(self.output_dir + "/begun", "w").close()
    while not self.should_shutdown:
        await asyncio.sleep(0.01)
    return "saw it"
"""

PLAIN_SEES = """
@chute.job()
def work(self):
    open(self.output_dir + "/begun", "w").close()
    while not self.should_shutdown:
        time.sleep(0.01)
    return "saw it"
"""


@pytest.mark.parametrize("code", [ASYNC_SEES, PLAIN_SEES], ids=["async", "plain"])
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,  # what the host sends
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
        ),
    ],
)
async def test_a_stop_is_seen_at_once(code: str, number: signal.Signals) -> None:
    async with launched(code, grace=600) as job:
        await job.until_file("begun")
        job.send(number)
        assert (await job.ended()).value == "saw it"
        assert await job.code() == 0


@pytest.mark.slow
async def test_a_coroutine_is_cancelled_after_half_the_grace() -> None:
    code = """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        while not self.should_shutdown:
            await asyncio.sleep(0.01)
        stopped = time.monotonic()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print(time.monotonic() - stopped)
            raise
    """
    async with launched(code, grace=2) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.status, told.error["kind"], await job.code()) == ("failed", "cancelled", 1)
        assert 0.9 <= float(await job.out()) < 1.8


@pytest.mark.slow
async def test_a_second_signal_changes_nothing() -> None:
    code = """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        cancels, rounds = 0, 0
        while rounds < 50:
            rounds += cancels
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                cancels += 1
                open(self.output_dir + "/cancelled", "w").close()
        return cancels
    """
    async with launched(code, grace=2) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        await job.until_file("cancelled")
        job.send(signal.SIGTERM)
        job.send(signal.SIGINT)
        assert (await job.ended()).value == 1


async def test_a_stop_during_a_blocked_loop_is_seen_by_the_function() -> None:
    code = """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        while not self.should_shutdown:
            time.sleep(0.01)
        return "saw it"
    """
    async with launched(code, grace=600) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        assert (await job.ended()).value == "saw it"


BLOCKED = {
    "a coroutine that blocks its loop": """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        time.sleep(60)
    """,
    "a coroutine that swallows the cancel": """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
    """,
    "a plain function that never looks": """
    @chute.job()
    def work(self):
        open(self.output_dir + "/begun", "w").close()
        time.sleep(60)
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKED.values(), ids=BLOCKED)
async def test_what_does_not_end_says_where_it_is_before_it_is_killed(code: str) -> None:
    async with launched(code, grace=1) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("cancelled", "StillRunningError")
        assert "in work" in told.error["traceback"]
        assert await job.code() == 1


async def test_a_stop_during_startup_starts_no_function_and_runs_the_shutdown_hooks() -> None:
    code = """
    @chute.on_startup()
    def hook(self):
        open(self.output_dir + "/begun", "w").close()
        while not self.should_shutdown:
            time.sleep(0.01)

    @chute.on_startup()
    def later(self):
        print("later")

    @chute.on_shutdown()
    def after(self):
        print("after")

    @chute.job()
    async def work(self):
        print("work")
    """
    async with launched(code, grace=600) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.out()) == ("cancelled", "after\n")


async def test_an_async_startup_hook_is_cancelled_after_half_the_grace() -> None:
    code = """
    @chute.on_startup()
    async def hook(self):
        open(self.output_dir + "/begun", "w").close()
        await asyncio.sleep(60)

    @chute.job()
    async def work(self): ...
    """
    async with launched(code, grace=1) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("cancelled", "CancelledError")


async def test_a_stop_that_hello_tells_of_starts_no_function() -> None:
    async with launched(WAITS, stopping=True, grace=600) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["kind"] == "cancelled"


async def test_a_stop_that_came_while_the_host_was_away_is_heard_at_the_next_hello() -> None:
    async with launched(ASYNC_SEES, grace=600) as job:
        await job.until_file("begun")
        job.host.hello["stopping"] = True
        await job.host.restart()
        assert (await job.ended()).value == "saw it"


async def test_a_stop_before_hello_ends_the_job_as_soon_as_the_host_is_there() -> None:
    async with prepared(WAITS, {}, grace=600) as (root, host):
        job = await launch(root, host)
        try:
            # The handler is there before the socket is tried, and that is seen in the process's own signal mask.
            await job.until_caught(signal.SIGTERM)
            job.send(signal.SIGTERM)
            await host.start()
            told = await job.ended()
            assert told.error is not None
            assert told.error["kind"] == "cancelled"
        finally:
            await end(job)


HANDLERS = {
    "that raises in a coroutine": """
    def on_term(number, frame):
        raise SystemExit(5)

    @chute.job()
    async def work(self):
        signal.signal(signal.SIGTERM, on_term)
        open(self.output_dir + "/begun", "w").close()
        await asyncio.sleep(60)
    """,
    "that raises while a plain function runs": """
    def on_term(number, frame):
        raise SystemExit(5)

    signal.signal(signal.SIGTERM, on_term)

    @chute.job()
    def work(self):
        open(self.output_dir + "/begun", "w").close()
        time.sleep(60)
    """,
    "of the loop": """
    @chute.job()
    async def work(self):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        open(self.output_dir + "/begun", "w").close()
        await stop.wait()
        sys.exit(5)
    """,
}


@pytest.mark.parametrize("code", HANDLERS.values(), ids=HANDLERS)
async def test_an_author_may_handle_the_signal_instead(code: str) -> None:
    async with launched(code, grace=600) as job:
        await job.until_file("begun")
        job.send(signal.SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.code()) == ("exit", 5)


async def test_a_handler_of_the_authors_that_raises_can_not_lose_the_report() -> None:
    code = """
    def on_term(number, frame):
        raise SystemExit(5)

    @chute.job()
    async def work(self):
        signal.signal(signal.SIGTERM, on_term)
        return 1
    """
    async with launched(code, grace=600) as job:
        job.host.mute.add("finish")
        await job.host.until("finish")
        job.send(signal.SIGTERM)
        job.host.mute.clear()
        await job.host.restart()
        assert (await job.ended()).value == 1
        assert await job.code() == 0


async def test_a_pool_ends_its_workers_although_the_job_hears_their_signal() -> None:
    code = """
    import multiprocessing

    @chute.job()
    def work(self):
        context = multiprocessing.get_context("fork")
        child = context.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join()
        return child.exitcode
    """
    async with launched(code) as job:
        assert (await job.ended()).value == -signal.SIGTERM
