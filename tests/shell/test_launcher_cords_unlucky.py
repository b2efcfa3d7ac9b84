"""Cords that hang, break, flood and leave, and hosts that do: each call ends, the place for it comes back, and what others do goes on."""

import asyncio
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from tests.fakes.cord_seats import Answer
from tests.shell.launched import Launched, cords, end, launch, launched, prepared

HANGING = """
@chute.cord("/hang")
async def hang(self):
    open(self.output_dir + "/hangs", "w").close()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        open(self.output_dir + "/cancelled", "w").close()
        raise

@chute.cord("/swallow")
async def swallow(self):
    open(self.output_dir + "/hangs", "w").close()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        while not os.path.exists(self.output_dir + "/go"):
            await asyncio.sleep(0.01)
        return "nobody hears this"

@chute.cord("/stuck")
def stuck(self):
    open(self.output_dir + "/hangs", "w").close()
    while not os.path.exists(self.output_dir + "/go"):
        time.sleep(0.01)

@chute.cord("/block")
async def block(self):
    open(self.output_dir + "/hangs", "w").close()
    stuck(self)

@chute.cord("/one")
async def one(self):
    return 1
"""


async def answers(job: Launched) -> bool:
    return bool((await job.host.seats.call(4, "one")).value == 1)


async def test_a_call_that_is_given_up_is_cancelled_and_its_place_comes_back() -> None:
    async with launched(HANGING, **cords(1)) as job:
        calling = await job.host.seats.begin(0, "hang")
        await job.until_file("hangs")
        calling.give_up()
        await job.until_file("cancelled")
        assert await answers(job)
        assert job.host.seats.opened == 2


@pytest.mark.parametrize(("position", "function"), [(1, "swallow"), (2, "stuck")])
async def test_a_call_that_goes_on_when_it_is_given_up_keeps_its_place_until_it_ends(
    position: int, function: str
) -> None:
    async with launched(HANGING, **cords(2)) as job:
        calling = await job.host.seats.begin(position, function)
        await job.until_file("hangs")
        calling.give_up()
        assert [await answers(job) for _ in range(20)] == [True] * 20
        another = asyncio.ensure_future(job.host.until("serve", 3))
        # Ten times as long as a place that is free is dialled again after.
        await asyncio.wait({another}, timeout=0.5)
        assert not another.done()
        (job.root / "outputs" / "go").touch()
        await another


async def test_a_call_that_blocks_the_loop_is_over_once_it_lets_go() -> None:
    async with launched(HANGING, **cords(1)) as job:
        calling = await job.host.seats.begin(3, "block")
        await job.until_file("hangs")
        calling.give_up()
        (job.root / "outputs" / "go").touch()
        assert await answers(job)


FAILING = """
HTTP = HTTPException

class Odd(BaseException):
    def __str__(self):
        raise SystemExit(3)

class HTTPException(Exception):
    status_code = 500

    @property
    def detail(self):
        raise SystemExit(3)

class Deep(dict):
    def items(self):
        raise KeyboardInterrupt

@chute.cord("/raise")
async def fail(self, what: str):
    raise {"value": ValueError("no luck"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "odd": Odd(),
           "cancel": asyncio.CancelledError(), "long": ValueError("\\U0001f600" * 100_000), "stop": StopIteration(),
           "halves": ValueError("\\ud800"), "property": HTTPException(), "zeros": ValueError("\\0" * 10_000)}[what]

@chute.cord("/plain")
def plain(self, what: str):
    return asyncio.run(fail(self, what)) if what not in ("stop", "cancel") else next(iter([]))

@chute.cord("/stream")
async def stream(self, what: str):
    yield "begun"
    await fail(self, what)

@chute.cord("/plain_stream")
def plain_stream(self, what: str):
    yield "begun"
    plain(self, what)

@chute.cord("/return")
async def give(self, what: str):
    return {"nan": float("nan"), "object": object(), "halves": "\\ud800", "large": "x" * (9 << 20), "deep": Deep(a=1),
            "bytes": b"x" * (9 << 20), "nested": {"set": {1}}, "coroutine": None}[what]

@chute.cord("/yield")
async def yields(self, what: str):
    yield "begun"
    yield {"nan": float("nan"), "object": object(), "halves": "\\ud800"}[what]

@chute.cord("/one")
async def one(self):
    return 1

class Status(int):
    def __ge__(self, other):
        raise SystemExit(3)
    __int__ = __index__ = __str__ = __le__ = __lt__ = __eq__ = __hash__ = __ge__

class Headers(dict):
    def items(self):
        raise SystemExit(3)

@chute.cord("/hostile")
async def hostile(self):
    refusal = HTTP(404, "no")
    refusal.status_code, refusal.headers = Status(404), Headers(a="b")
    raise refusal
"""


async def test_an_exception_made_of_hostile_values_is_an_answer() -> None:
    async with launched(FAILING, **cords(1)) as job:
        answer = await job.host.seats.call(7, "hostile")
        assert (answer.status, answer.head["headers"], answer.value) == (404, {"a": "b"}, {"detail": "no"})
        assert (await job.host.seats.call(6, "one")).value == 1


@pytest.mark.parametrize(
    "what", ["value", "exit", "interrupt", "odd", "cancel", "long", "stop", "halves", "zeros", "property"]
)
@pytest.mark.parametrize(("position", "function"), [(0, "fail"), (1, "plain")])
async def test_whatever_a_cord_raises_is_told_and_ends_that_call_alone(
    what: str, position: int, function: str
) -> None:
    async with launched(FAILING, **cords(1)) as job:
        answer = await job.host.seats.call(position, function, body={"what": what})
        assert answer.error["kind"] == "raised"
        assert len(answer.error["message"]) <= 4_000
        assert (await job.host.seats.call(6, "one")).value == 1
        assert job.host.seats.opened == 1


async def test_the_traceback_of_a_call_that_raised_is_in_the_log() -> None:
    async with launched(FAILING, **cords(1)) as job:
        answer = await job.host.seats.call(0, "fail", call="call-1", body={"what": "value"})
        assert (answer.error["type"], answer.error["message"]) == ("ValueError", "no luck")
        job.send(SIGTERM)
        await job.ended()
        first, *traceback = (await job.err()).splitlines()
        assert 'level=error msg="the cord raised" cord=fail call=call-1' in first
        assert (traceback[0], traceback[-1]) == ("Traceback (most recent call last):", "ValueError: no luck")
        assert "chutes/_runtime" not in await job.err()


@pytest.mark.parametrize("what", ["value", "exit", "cancel"])
@pytest.mark.parametrize(("position", "function"), [(2, "stream"), (3, "plain_stream")])
async def test_what_raises_in_the_middle_of_a_stream_breaks_it_off(
    what: str, position: int, function: str
) -> None:
    async with launched(FAILING, **cords(1)) as job:
        answer = await job.host.seats.call(position, function, body={"what": what})
        assert (answer.status, answer.body, answer.is_whole) == (200, b"begun", False)
        assert (await job.host.seats.call(6, "one")).value == 1
        job.send(SIGTERM)
        await job.ended()
        assert "the cord raised" in await job.err()


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        *[(what, "result_not_json") for what in ("nan", "object", "halves", "deep", "nested")],
        *[(what, "result_too_large") for what in ("large", "bytes")],
    ],
)
async def test_what_can_not_be_an_answer_is_told(what: str, kind: str) -> None:
    async with launched(FAILING, **cords(1)) as job:
        assert (await job.host.seats.call(4, "give", body={"what": what})).error["kind"] == kind
        assert (await job.host.seats.call(6, "one")).value == 1


@pytest.mark.parametrize("what", ["nan", "object", "halves"])
async def test_a_piece_that_is_no_json_breaks_the_stream_off(what: str) -> None:
    async with launched(FAILING, **cords(1)) as job:
        answer = await job.host.seats.call(5, "yields", body={"what": what})
        assert (answer.body, answer.is_whole) == (b"begun", False)


async def test_eight_mebibytes_are_an_answer() -> None:
    code = """
    @chute.cord("/large")
    async def large(self):
        return "x" * ((8 << 20) - 2)
    """
    async with launched(code, **cords(1)) as job:
        assert len((await job.host.seats.call(0, "large")).body) == 8 << 20


LEAVING = """
@chute.cord("/exit")
async def leave(self):
    os._exit(7)

@chute.cord("/fork")
async def fork(self):
    return os.fork()

@chute.cord("/plain_fork")
def plain_fork(self):
    return os.fork()

@chute.cord("/keep")
async def keep(self):
    # As a pool of processes does, it has all that was open.
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    yield "begun"
    raise ValueError

@chute.cord("/later")
async def later(self):
    async def leave():
        sys.exit(5)
    self.task = asyncio.create_task(leave())

@chute.cord("/stream_fork")
async def stream_fork(self):
    yield "begun "
    if os.fork() == 0:
        yield "the child's"
    yield "the parent's"

@chute.cord("/last")
async def last(self):
    try:
        while True:
            yield b"more than anybody reads" * 10_000
    finally:
        sys.exit(3)

@chute.cord("/one")
async def one(self):
    return 1
"""


async def test_a_cord_that_ends_the_process_ends_it() -> None:
    async with launched(LEAVING, **cords()) as job:
        calling = await job.host.seats.begin(0, "leave")
        with pytest.raises(ConnectionError):
            await calling.head()
        assert await job.code() == 7
        assert job.host.effects.finished is None


async def test_a_task_of_the_authors_that_exits_ends_the_host_job() -> None:
    async with launched(LEAVING, **cords()) as job:
        await job.host.seats.begin(4, "later")
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.code()) == ("exit", 5)


@pytest.mark.parametrize(("position", "function"), [(1, "fork"), (2, "plain_fork")])
async def test_a_forked_child_that_comes_out_of_the_function_answers_nothing_and_ends(
    position: int, function: str
) -> None:
    async with launched(LEAVING, **cords(1)) as job:
        for _ in range(5):
            child = (await job.host.seats.call(position, function)).value
            async with asyncio.timeout(20):
                while state_of(child) != "Z":
                    await asyncio.sleep(0.005)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_nor_does_one_that_goes_on_with_the_stream() -> None:
    async with launched(LEAVING, **cords(1)) as job:
        for _ in range(5):
            assert (await job.host.seats.call(5, "stream_fork")).body == b"begun the parent's"


async def test_a_generator_that_exits_as_it_is_closed_ends_nothing_else() -> None:
    async with launched(LEAVING, **cords(1)) as job:
        calling = await job.host.seats.begin(6, "last")
        assert await calling.frame_after_head()
        calling.give_up()
        assert (await job.host.seats.call(7, "one")).value == 1


async def test_a_stream_that_breaks_off_is_seen_though_a_child_holds_the_connection() -> None:
    async with launched(LEAVING, **cords(1)) as job:
        answer = await job.host.seats.call(3, "keep")
        assert (answer.body, answer.is_whole) == (b"begun", False)


FLOODING = """
PIECE = b"x" * (1 << 20)

@chute.cord("/flood")
async def flood(self):
    try:
        for number in range(1024):
            self.state.sent = number
            yield PIECE
    finally:
        self.state.closed = True

@chute.cord("/plain")
def plain(self):
    try:
        for number in range(1024):
            self.state.sent = number
            yield PIECE
    finally:
        self.state.closed = True

@chute.cord("/kept")
async def kept(self):
    self.state.kept = self.flood()
    return self.state.kept

@chute.cord("/seen")
async def seen(self):
    return [getattr(self.state, "sent", None), getattr(self.state, "closed", None)]
"""


@pytest.mark.slow
@pytest.mark.parametrize(("position", "function"), [(0, "flood"), (1, "plain")])
async def test_a_gibibyte_is_streamed_in_little_memory(position: int, function: str) -> None:
    async with launched(FLOODING, **cords(1)) as job:
        calling = await job.host.seats.begin(position, function)
        assert (await calling.head())["stream"]
        size = 0
        while frame := await calling.frame():
            size += len(frame)
        assert size == 1 << 30
        assert peak_kib(job.process.pid) < 100_000


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(("position", "function"), [(0, "flood"), (1, "plain"), (2, "kept")])
async def test_a_generator_waits_for_its_reader_and_is_closed_when_that_leaves(
    position: int, function: str
) -> None:
    async with launched(FLOODING, **cords(2)) as job:
        calling = await job.host.seats.begin(position, function)
        await calling.frame_after_head()
        sent = await settled(job)
        assert sent < 16
        calling.give_up()
        async with asyncio.timeout(20):
            while (await job.host.seats.call(3, "seen")).value != [sent, True]:
                await asyncio.sleep(0.01)


async def settled(job: Launched) -> int:
    """How many pieces were asked for, once that stays the same."""
    async with asyncio.timeout(20):
        while True:
            first = await job.host.seats.call(3, "seen")
            await asyncio.sleep(0.1)
            second = await job.host.seats.call(3, "seen")
            if first.value == second.value:
                return int(second.value[0])


async def test_a_generator_that_never_waits_holds_up_nobody() -> None:
    code = """
    @chute.cord("/endless")
    async def endless(self):
        while True:
            yield ""

    @chute.cord("/one")
    async def one(self):
        return 1
    """
    async with launched(code, **cords(2)) as job:
        calling = await job.host.seats.begin(0, "endless")
        assert (await job.host.seats.call(1, "one")).value == 1
        calling.give_up()
        await job.host.until("serve", 3)


async def test_a_host_that_is_killed_in_the_middle_of_a_call_is_found_again() -> None:
    async with launched(HANGING, **cords(2)) as job:
        await job.host.seats.begin(0, "hang")
        await job.until_file("hangs")
        await job.host.die()
        await job.until_file("cancelled")
        await job.host.start()
        assert await answers(job)


async def test_a_host_that_is_not_ready_is_asked_again() -> None:
    async with prepared(HANGING, {}, **cords(2)) as (root, host):
        for _ in range(6):
            host.refuse("serve", "unavailable")
        await host.start()
        job = await launch(root, host)
        try:
            assert await answers(job)
        finally:
            await end(job)


async def test_places_that_the_host_refuses_for_good_leave_the_others() -> None:
    async with prepared(HANGING, {}, **cords(3)) as (root, host):
        host.refuse("serve", "too_many", "one is enough")
        await host.start()
        job = await launch(root, host)
        try:
            assert [await answers(job) for _ in range(5)] == [True] * 5
            assert host.seats.opened == 2
        finally:
            await end(job)
        assert "one is enough" in await job.err()


async def test_a_host_that_serves_no_cords_ends_the_job() -> None:
    async with prepared(HANGING, {}, **cords(2)) as (root, host):
        for _ in range(2):
            host.refuse("serve", "bad_call", "there is no call 'serve'")
        await host.start()
        job = await launch(root, host)
        try:
            told = await job.ended()
            assert told.error is not None
            assert "there is no call 'serve'" in told.error["message"]
        finally:
            await end(job)


async def test_a_host_that_speaks_otherwise_is_left_and_dialled_again() -> None:
    async with launched(HANGING, **cords(1)) as job:
        calling = await job.host.seats.begin(4, "one")
        await calling.answer()
        calling.seat.writer.write(b'{"cord": 4}\nno JSON\n')
        with pytest.raises(ConnectionError):
            await calling.head()
        assert await answers(job)


@pytest.mark.slow
async def test_the_author_is_told_of_a_call_that_takes_its_place_in_vain() -> None:
    async with launched(HANGING, **cords(2)) as job:
        calling = await job.host.seats.begin(2, "stuck")
        await job.until_file("hangs")
        calling.give_up()
        await asyncio.sleep(10.5)
        (job.root / "outputs" / "go").touch()
        await job.host.until("serve", 3)
        job.send(SIGTERM)
        await job.ended()
        assert "a call of stuck was given up and is still running" in await job.err()


STOPPING = """
@chute.cord("/work")
async def work(self):
    open(self.output_dir + "/works", "w").close()
    while not self.should_shutdown:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    return "done"

@chute.cord("/plain")
def plain(self):
    open(self.output_dir + "/works", "w").close()
    while not self.should_shutdown:
        time.sleep(0.01)
    yield "done"

@chute.cord("/hang")
async def hang(self):
    open(self.output_dir + "/works", "w").close()
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled")

@chute.cord("/swallow")
async def swallow(self):
    open(self.output_dir + "/works", "w").close()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@chute.cord("/block")
async def block(self):
    open(self.output_dir + "/works", "w").close()
    time.sleep(60)

@chute.on_shutdown()
def after(self):
    print("after")
"""


@pytest.mark.parametrize(("position", "function"), [(0, "work"), (1, "plain")])
async def test_a_stop_lets_calls_under_way_end_and_takes_no_new_ones(position: int, function: str) -> None:
    async with launched(STOPPING, **cords(2)) as job:
        calling = await job.host.seats.begin(position, function)
        idle = await job.host.seats.take()  # or the stop may come before it has dialled at all
        await job.until_file("works")
        job.send(SIGTERM)
        # Long before half the grace is over.
        async with asyncio.timeout(10):
            assert await idle.reader.read() == b""
            answer: Answer = await calling.answer()
        assert b"done" in answer.body
        assert ((await job.ended()).status, await job.out()) == ("succeeded", "after\n")


@pytest.mark.parametrize(
    ("position", "function", "out"), [(2, "hang", "cancelled\nafter\n"), (3, "swallow", "after\n")]
)
async def test_a_call_that_goes_on_is_cancelled_after_half_the_grace(
    position: int, function: str, out: str
) -> None:
    async with launched(STOPPING, grace=1, **cords(2)) as job:
        calling = await job.host.seats.begin(position, function)
        await job.until_file("works")
        job.send(SIGTERM)
        with pytest.raises(ConnectionError):
            await calling.head()
        assert ((await job.ended()).status, await job.code(), await job.out()) == ("succeeded", 0, out)


async def test_calls_that_outlast_a_stop_since_one_blocks_the_loop_say_where_they_are() -> None:
    async with launched(STOPPING, grace=1, **cords(2)) as job:
        await job.host.seats.begin(2, "hang")
        await job.until_file("works")
        (job.root / "outputs" / "works").unlink()
        await job.host.seats.begin(4, "block")
        await job.until_file("works")
        job.send(SIGTERM)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("cancelled", "StillRunningError")
        assert "in block" in told.error["traceback"]
        assert "in hang" in told.error["traceback"]


async def test_a_stop_that_hello_tells_of_is_one() -> None:
    async with prepared(STOPPING, {}, stopping=True, **cords()) as (root, host):
        await host.start()
        job = await launch(root, host)
        try:
            told = await job.ended()
            assert told.error is not None
            assert (told.error["kind"], host.seats.opened) == ("cancelled", 0)
        finally:
            await end(job)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise ValueError('no file')", "import"),
        ("sys.exit(0)", "import"),
        ("del chute", "import"),
        ("@chute.on_startup()\nasync def before(self):\n    raise OSError('no model')", "startup"),
        ("@chute.on_startup()\ndef before(self):\n    sys.exit(0)", "startup"),
    ],
)
async def test_a_file_or_a_startup_hook_that_fails_fails_the_job_before_any_connection(
    code: str, kind: str
) -> None:
    async with launched(code, **cords()) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.code(), job.host.seats.opened) == (kind, 1, 0)


async def test_a_launcher_that_is_killed_breaks_off_all_calls() -> None:
    async with launched(HANGING, **cords(1)) as job:
        calling = await job.host.seats.begin(0, "hang")
        await job.until_file("hangs")
        job.send(SIGKILL)
        with pytest.raises(ConnectionError):
            await calling.head()


@pytest.mark.parametrize("function", ["def", "async def"])
async def test_a_job_waits_for_no_module_of_the_cords(function: str) -> None:
    code = f"""
    @chute.job()
    {function} work(self):
        return [name for name in sys.modules if "cords" in name or "cord_binding" in name]
    """
    async with launched(code) as job:
        assert (await job.ended()).value == []


async def test_a_plain_job_does_not_even_wait_for_asyncio() -> None:
    plain = "from chutes import Chute\nchute = Chute(username='me', name='mine')\nimport sys\n@chute.job()\ndef work(self):\n    return [name for name in ('asyncio', 'contextvars', 'concurrent.futures') if name in sys.modules]"
    entry = {"file": "plain.py", "chute": "chute"}
    async with launched("", files={"plain.py": plain}, entry=entry) as job:
        assert (await job.ended()).value == []


@pytest.mark.slow
@pytest.mark.parametrize(("position", "function"), [(1, "swallow"), (2, "stuck"), (3, "block")])
async def test_a_process_whose_places_are_all_taken_in_vain_ends_and_says_where_it_is(
    position: int, function: str
) -> None:
    async with launched(HANGING, grace=0.5, **cords(1)) as job:
        calling = await job.host.seats.begin(position, function)
        await job.until_file("hangs")
        calling.give_up()
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"], await job.code()) == ("raised", "StuckError", 1)
        assert f"in {function}" in told.error["traceback"]


@pytest.mark.slow
async def test_one_place_that_is_free_is_enough_and_a_call_that_is_waited_for_may_take_its_time() -> None:
    async with launched(HANGING, grace=0.2, **cords(2)) as job:
        abandoned = await job.host.seats.begin(2, "stuck")
        await job.until_file("hangs")
        abandoned.give_up()
        waited = await job.host.seats.begin(0, "hang")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await waited.head()
        assert job.process.returncode is None
