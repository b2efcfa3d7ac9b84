"""What the host is told of a job's end, whatever the author's code did: the launcher as a process, the fake host behind its socket."""

from typing import Any

import pytest

from tests.shell.launched import SDK, launched


async def test_what_a_function_returns_is_the_result() -> None:
    code = """
    @chute.job()
    async def work(self, first, second=2):
        return {"sum": first + second}
    """
    async with launched(code, payload={"first": 40}) as job:
        told = await job.ended()
        assert (told.status, told.value, told.note, told.error) == ("succeeded", {"sum": 42}, None, None)
        assert await job.code() == 0


async def test_a_plain_function_runs_in_a_thread_and_its_result_arrives() -> None:
    code = """
    @chute.job()
    def work(self):
        return threading.current_thread() is threading.main_thread()
    """
    async with launched(code) as job:
        assert (await job.ended()).value is False


@pytest.mark.parametrize(
    ("value", "kept", "cause"),
    [
        ("float('nan')", "nan", "range"),
        ("{'a': float('inf')}", "{'a': inf}", "range"),
        ("b'raw'", "b'raw'", "bytes"),
        ("'\\ud800'", "'\\ud800'", "surrogates"),
        ("{1, 2}", "{1, 2}", "set"),
    ],
)
async def test_a_value_that_is_no_json_arrives_as_its_repr_with_a_note(
    value: str, kept: str, cause: str
) -> None:
    code = f"""
    @chute.job()
    async def work(self):
        return {value}
    """
    async with launched(code) as job:
        told = await job.ended()
        assert (told.status, told.value) == ("succeeded", kept)
        assert told.note is not None
        assert "is no JSON" in told.note
        assert cause.lower() in told.note.lower()


async def test_an_object_whose_repr_raises_is_named() -> None:
    code = """
    class Odd:
        def __repr__(self):
            raise SystemExit(3)

    @chute.job()
    async def work(self):
        return Odd()
    """
    async with launched(code) as job:
        assert (await job.ended()).value == "<Odd whose repr() raised SystemExit>"


async def test_a_result_that_contains_itself_arrives_as_its_repr() -> None:
    code = """
    @chute.job()
    async def work(self):
        value = {}
        value["self"] = value
        return value
    """
    async with launched(code) as job:
        assert (await job.ended()).value == "{'self': {...}}"


async def test_a_result_that_nests_too_deep_is_told_of() -> None:
    code = """
    @chute.job()
    async def work(self):
        value = []
        for _ in range(100_000):
            value = [value]
        return value
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.value == "<list whose repr() raised RecursionError>"
        assert await job.code() == 0


async def test_a_result_of_100_mb_fails_the_job_and_says_what_to_do() -> None:
    code = """
    @chute.job()
    async def work(self):
        return "x" * 100_000_000
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.status, told.error["kind"]) == ("failed", "result_too_large")
        assert "100000002 bytes" in told.error["message"]
        assert "output folder" in told.error["message"]
        assert await job.code() == 1


async def test_100_mb_of_bytes_are_not_pictured_in_full() -> None:
    code = """
    @chute.job()
    async def work(self):
        return bytes(100_000_000)
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.status == "succeeded"
        assert len(told.result) < 100_000


async def test_a_result_of_8_mib_arrives_whole() -> None:
    code = """
    @chute.job()
    async def work(self):
        return "x" * (8 * 1024 * 1024 - 2)
    """
    async with launched(code) as job:
        assert len((await job.ended()).result) == 8 << 20


RAISED: list[tuple[str, str, dict[str, Any], int]] = [
    ("raise ValueError('no')", "raised", {"type": "ValueError", "message": "no"}, 1),
    ("raise PermanentError('never')", "permanent", {"type": "PermanentError", "message": "never"}, 1),
    ("raise RetriableError('later')", "raised", {"type": "RetriableError"}, 1),
    ("raise BaseException('odd')", "raised", {"type": "BaseException", "message": "odd"}, 1),
    ("raise KeyboardInterrupt", "raised", {"type": "KeyboardInterrupt"}, 1),
    ("raise asyncio.CancelledError", "raised", {"type": "CancelledError"}, 1),
    ("raise HTTPException(404, 'gone')", "raised", {"status_code": 404, "detail": "gone"}, 1),
    ("raise HTTPException(400, {'a': 1})", "raised", {"status_code": 400, "detail": "{'a': 1}"}, 1),
    ("sys.exit(3)", "exit", {"type": "SystemExit", "message": "the function called sys.exit() with 3"}, 3),
    ("sys.exit(-1)", "exit", {"type": "SystemExit"}, 255),
    ("sys.exit(256)", "exit", {"type": "SystemExit"}, 1),
    ("sys.exit('why')", "exit", {"message": "the function called sys.exit() with a text: why"}, 1),
]


@pytest.mark.parametrize("function", ["async def", pytest.param("def", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("statement", "kind", "error", "code"), RAISED, ids=[row[0] for row in RAISED])
async def test_what_a_function_raises_is_told(
    function: str, statement: str, kind: str, error: dict[str, Any], code: int
) -> None:
    text = f"""
    @chute.job()
    {function} work(self):
        {statement}
    """
    async with launched(text) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.status, told.error["kind"], told.result) == ("failed", kind, b"")
        assert error.items() <= told.error.items()
        assert told.error["traceback"].splitlines()[1].endswith("in work")
        assert await job.code() == code


@pytest.mark.parametrize("function", ["async def", "def"])
@pytest.mark.parametrize("argument", ["", "0", "None"])
async def test_an_exit_with_no_code_is_a_success(function: str, argument: str) -> None:
    code = f"""
    @chute.job()
    {function} work(self):
        sys.exit({argument})
    """
    async with launched(code) as job:
        told = await job.ended()
        assert (told.status, told.value, await job.code()) == ("succeeded", None, 0)


async def test_a_traceback_begins_at_the_authors_code_and_is_in_the_log_too() -> None:
    code = """
    def inner():
        raise ValueError("no\\nway")

    @chute.job()
    async def work(self):
        inner()
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        frames = [line for line in told.error["traceback"].splitlines() if line.startswith("  File")]
        assert [frame.rpartition(" ")[2] for frame in frames] == ["work", "inner"]
        assert told.error["traceback"].endswith("ValueError: no\nway\n")
        assert told.error["traceback"] in await job.err()


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [
        ("@chute.job()\nasync def work(self, x, y): ...", {}, ["chutes.errors.PayloadError"]),
        ("", {}, ["chutes.errors.LoadError"]),
        ("", {"entry": {"file": "other.py", "chute": "chute"}}, ["chutes.errors.LoadError"]),
        ("def broken(:", {}, ["main.py", "def broken(:", "SyntaxError"]),
        ("@chute.job(timeout=1)\nasync def work(self): ...", {}, ["in <module>", "timeout"]),
        ("@chute.job()\nasync def work(self): await self.start_job(0)", {}, ["in work", "TypeError"]),
    ],
)
async def test_no_traceback_shows_the_launchers_own_frames(
    code: str, said: dict[str, Any], shown: list[str]
) -> None:
    async with launched(code, **said) as job:
        await job.code()
        told = await job.err()
        assert [each for each in (str(SDK), "importlib") if each in told] == []
        assert [each for each in shown if each not in told] == []


async def test_a_fault_of_the_launchers_own_is_told_with_its_place() -> None:
    code = """
    @chute.job()
    async def work(self): ...

    chute.jobs["work"] = None.__class__  # which no check lets through
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert "running.py" in told.error["traceback"]


async def test_an_exception_whose_str_raises_is_told_all_the_same() -> None:
    code = """
    class Odd(Exception):
        def __str__(self):
            raise SystemExit(0)
        __repr__ = __str__

    @chute.job()
    async def work(self):
        raise Odd
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("raised", "Odd")
        assert told.error["message"] == "<Odd whose str() raised SystemExit>"
        assert "in work" in told.error["traceback"]


async def test_a_long_message_and_a_long_traceback_lose_their_middle() -> None:
    code = """
    @chute.job()
    async def work(self):
        raise ValueError("a" * 10_000_000 + "z" * 100)
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        message, traceback = told.error["message"], told.error["traceback"]
        assert len(message) <= 4_000
        assert message.startswith("aaa")
        assert message.endswith("zzz")
        assert len(traceback) <= 32_000
        assert "characters cut" in traceback


async def test_a_class_with_a_name_of_10_mb_does_not_lose_the_report() -> None:
    code = """
    @chute.job()
    async def work(self):
        raise type("x" * 10_000_000, (Exception,), {})
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["type"] == "x" * 200


async def test_a_chain_of_ten_thousand_causes_is_told_all_the_same() -> None:
    code = """
    @chute.job()
    async def work(self):
        error = None
        for number in range(10_000):
            error, cause = ValueError(str(number)), error
            error.__cause__ = cause
        raise error
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["message"]) == ("raised", "9999")


async def test_endless_recursion_is_an_exception_like_any_other() -> None:
    code = """
    def down():
        down()

    @chute.job()
    def work(self):
        down()
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("raised", "RecursionError")


async def test_of_very_many_frames_the_last_are_told_for_a_million_would_take_minutes() -> None:
    code = """
    @chute.job()
    def work(self):
        deeper(10_000)

    def deeper(left):
        return deeper(left - 1) if left else 1 / 0

    sys.setrecursionlimit(1_000_000)
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["type"] == "ZeroDivisionError"
        assert told.error["traceback"].startswith("(the last 2000 of 100")


async def test_lone_surrogates_in_an_exception_are_escaped() -> None:
    code = """
    @chute.job()
    async def work(self):
        raise ValueError("\\ud800")
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["message"] == "\\ud800"


async def test_a_permanent_error_counts_within_a_group_of_nothing_else() -> None:
    code = """
    class Group(Exception):
        def __init__(self, *exceptions):
            self.exceptions = exceptions

    @chute.job()
    async def work(self):
        raise Group(PermanentError("one"), Group(PermanentError("two")))
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["kind"] == "permanent"


async def test_a_payload_that_does_not_bind_is_refused_before_anything_runs() -> None:
    code = """
    @chute.on_startup()
    def hook(self):
        print("hook")

    @chute.job()
    async def work(self, first, second):
        print("work")
    """
    async with launched(code, payload={"first": 1, "third": 3}) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["kind"] == "payload"
        assert "first" in told.error["message"]
        assert (await job.out(), await job.code()) == ("", 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('at import')", "at import"),
        ("sys.exit(0)", "0"),
        ("import nowhere", "No module named 'nowhere'"),
        ("def broken(:", "invalid syntax"),
        ("del chute", "nothing under the name 'chute'"),
        ("", "no job 'work'"),
        ("raise PermanentError('at import')", "at import"),
        ("@chute.job(timeout=1)\nasync def work(self): ...", "timeout"),
    ],
)
async def test_a_file_without_the_function_is_an_import_that_failed(code: str, message: str) -> None:
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["kind"] == "import"
        assert message in told.error["message"]
        assert await job.code() == 1


async def test_a_file_that_is_not_there_is_an_import_that_failed() -> None:
    async with launched("", entry={"file": "other.py", "chute": "chute"}) as job:
        told = await job.ended()
        assert told.error is not None
        assert told.error["kind"] == "import"
        assert "other.py" in told.error["message"]


async def test_os_exit_ends_the_process_with_no_report() -> None:
    code = """
    @chute.job()
    async def work(self):
        os._exit(7)
    """
    async with launched(code) as job:
        assert await job.code() == 7
        assert job.host.effects.finished is None


async def test_a_describe_tells_the_manifest_with_every_fault() -> None:
    code = """
    @chute.job(timeout=60)
    async def work(self, x: int):
        raise SystemExit

    @chute.job(timeout=1)
    async def broken(self): ...
    """
    async with launched(code, kind="describe") as job:
        told = await job.ended()
        assert told.status == "succeeded"
        assert [one["name"] for one in told.value["jobs"]] == ["work"]
        assert [one["function"] for one in told.value["refused"]] == ["broken"]
        assert await job.code() == 0


async def test_a_describe_of_a_file_that_raises_says_so() -> None:
    async with launched("raise SystemExit(4)", kind="describe") as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"], await job.code()) == ("import", "SystemExit", 1)


async def test_a_host_that_refuses_the_launcher_is_told_of_in_one_line() -> None:
    async with launched("") as job:
        job.host.refuse("hello", "bad_call", "sdk 1 is too old")
        assert await job.code() == 1
        assert "sdk 1 is too old" in await job.err()
        assert len((await job.err()).splitlines()) == 1
