"""What an author's code finds in a job: its hooks, its log, its siblings, its children."""

import ast
import asyncio
import sys

import pytest

from tests.shell.launched import HEAD, SDK, end, launch, launched, parsed, prepared

HOOKS = """
@chute.on_startup(priority=90)
def last(self):
    print("startup 90")

@chute.on_startup(priority=10)
async def first(self):
    print("startup 10")

@chute.on_shutdown(priority=10)
def failing(self):
    print("shutdown 10")
    raise SystemExit(9)

@chute.on_shutdown()
async def after(self):
    print("shutdown 50")

@chute.job()
{function} work(self):
    print("work")
    {statement}
"""


@pytest.mark.parametrize("function", ["async def", "def"])
@pytest.mark.parametrize(
    ("statement", "code"), [("return 1", 0), ("raise ValueError", 1), ("sys.exit(3)", 3)]
)
async def test_hooks_run_in_their_order_and_shutdown_hooks_always(
    function: str, statement: str, code: int
) -> None:
    async with launched(HOOKS.format(function=function, statement=statement)) as job:
        assert await job.code() == code
        assert await job.out() == "startup 10\nstartup 90\nwork\nshutdown 10\nshutdown 50\n"
        assert "an on_shutdown hook failed" in await job.err()


@pytest.mark.parametrize("hook", ["def", "async def"])
async def test_a_startup_hook_that_raises_ends_the_job_before_its_function(hook: str) -> None:
    code = f"""
    @chute.on_startup()
    {hook} before(self):
        raise ValueError("no model")

    @chute.on_shutdown()
    def after(self):
        print("after")

    @chute.job()
    async def work(self):
        print("work")
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["message"]) == ("startup", "no model")
        assert (await job.out(), await job.code()) == ("after\n", 1)


async def test_a_startup_hook_that_exits_has_not_started_the_job() -> None:
    code = """
    @chute.on_startup()
    def before(self):
        sys.exit(0)

    @chute.job()
    async def work(self): ...
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.code()) == ("startup", 1)


@pytest.mark.parametrize("function", ["async def", "def"])
async def test_what_startup_opens_belongs_to_the_functions_loop_and_thread(function: str) -> None:
    code = f"""
    import sqlite3

    @chute.on_startup()
    async def opens(self):
        self.loop = asyncio.get_running_loop()
        self.database = sqlite3.connect(":memory:")

    @chute.job()
    {function} work(self):
        return self.database.execute("select 1").fetchone()

    @chute.on_shutdown()
    async def closes(self):
        self.database.close()
        print(asyncio.get_running_loop() is self.loop)
    """
    async with launched(code) as job:
        assert (await job.ended()).value == [1]
        assert await job.out() == "True\n"


async def test_a_result_is_told_before_the_shutdown_hooks_so_that_none_can_lose_it() -> None:
    code = """
    @chute.on_shutdown()
    def crash(self):
        os._exit(9)

    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        return 1

    @chute.on_shutdown(priority=1)
    def wait(self):
        while not os.path.exists(self.output_dir + "/go"):
            time.sleep(0.01)
    """
    async with launched(code) as job:
        await job.host.until("finish")
        (job.root / "outputs" / "go").touch()
        assert ((await job.ended()).value, await job.code()) == (1, 9)


@pytest.mark.slow
async def test_shutdown_hooks_have_as_long_as_a_stop_would_give_them() -> None:
    code = """
    @chute.on_shutdown()
    def hangs(self):
        time.sleep(60)

    @chute.job()
    async def work(self):
        return 1
    """
    async with launched(code, grace=1) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)
        assert "the process ends without them" in await job.err()


async def test_what_a_shutdown_hook_reports_arrives() -> None:
    code = """
    @chute.on_shutdown()
    async def after(self):
        await self.record_metric("after", 1)

    @chute.job()
    async def work(self): ...
    """
    async with launched(code) as job:
        await job.ended()
        assert job.host.metrics == [["after", 1]]


async def test_a_siblings_names_are_imported_as_in_any_folder() -> None:
    code = """
    import sibling
    from inner.deep import value

    @chute.job()
    async def work(self):
        return [sibling.value, value, __name__, os.path.basename(os.getcwd())]
    """
    async with launched(code, files={"sibling.py": "value = 1", "inner/deep.py": "value = 2"}) as job:
        assert (await job.ended()).value == [1, 2, "main", "chute"]


async def test_a_file_in_a_folder_below_finds_what_lies_beside_it_and_at_the_top() -> None:
    entry = {"file": "src/entry.py", "chute": "chute"}
    code = (
        HEAD
        + """
import beside, top

@chute.job()
async def work(self):
    return [beside.value, top.value]
"""
    )
    files = {"src/entry.py": code, "src/beside.py": "value = 1", "top.py": "value = 2"}
    async with launched("", files=files, entry=entry) as job:
        assert (await job.ended()).value == [1, 2]


async def test_an_image_that_keeps_scripts_folders_from_the_path_runs_jobs_too() -> None:
    code = "import top\n@chute.job()\nasync def work(self):\n    return top.value"
    async with prepared(code, {"top.py": "value = 2"}) as (root, host):
        await host.start()
        job = await launch(root, host, PYTHONSAFEPATH="1")
        try:
            assert (await job.ended()).value == 2
        finally:
            await end(job)


@pytest.mark.parametrize("method", ["spawn", "fork"])
async def test_a_sibling_may_have_any_name_but_chutes(method: str) -> None:
    code = f"""
    from multiprocessing import get_context

    import launch
    import testing

    @chute.job()
    async def work(self):
        with get_context("{method}").Pool(1) as pool:
            return pool.map(launch.double, [testing.number])
    """
    files = {"launch.py": "def double(number): return 2 * number", "testing.py": "number = 21"}
    async with launched(code, files=files) as job:
        assert (await job.ended()).value == [42]


async def test_a_package_named_as_ours_does_not_hide_ours() -> None:
    code = """
    import chutes

    @chute.job()
    async def work(self):
        return chutes.__file__
    """
    async with launched(code, files={"chutes/__init__.py": "raise ValueError"}) as job:
        assert (await job.ended()).value == str(SDK / "chutes" / "__init__.py")


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
async def test_a_pool_of_processes_finds_the_authors_functions(method: str) -> None:
    code = f"""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    def double(number):
        return 2 * number

    @chute.job()
    async def work(self):
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(1, mp_context=get_context("{method}")) as pool:
            return await loop.run_in_executor(pool, double, 21)
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 42
        assert job.host.connections == 1


@pytest.mark.parametrize("method", ["spawn", "fork"])
async def test_a_chute_handed_to_another_process_is_refused_with_what_to_do(method: str) -> None:
    code = f"""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    @chute.job()
    def work(self):
        with ProcessPoolExecutor(1, mp_context=get_context("{method}")) as pool:
            return pool.submit(self.other, 1).result()

    @chute.job()
    def other(self, x):
        return x
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert "hand over a function of the module" in told.error["message"]


async def test_a_log_line_is_one_line_whatever_is_in_it() -> None:
    code = """
    @chute.job()
    async def work(self):
        self.logger.info('two\\nlines, a "quote", a \\\\ and \\x1b[31m and \\x9b and \\u2028')
    """
    async with launched(code) as job:
        await job.code()
        (line,) = (await job.err()).splitlines()
        fields = parsed(line)
        assert fields["msg"] == 'two\nlines, a "quote", a \\ and \x1b[31m and \x9b and \u2028'
        assert (list(fields), fields["level"]) == (["time", "level", "msg"], "info")
        assert line.isprintable()


async def test_an_exception_in_the_log_is_one_line_with_nothing_lost() -> None:
    code = """
    @chute.job()
    async def work(self):
        try:
            raise ValueError("two\\nlines")
        except ValueError:
            self.logger.exception("failed %s", "here", extra={"epoch": 3, "odd key": "a b"})
    """
    async with launched(code) as job:
        await job.code()
        (line,) = (await job.err()).splitlines()
        fields = parsed(line)
        assert (fields["level"], fields["msg"], fields["epoch"]) == ("error", "failed here", "3")
        assert fields["odd_key"] == "a b"
        assert fields["exc"].startswith("Traceback (most recent call last):\n")
        assert fields["exc"].endswith("ValueError: two\nlines")


async def test_a_log_message_that_can_not_be_formatted_does_not_end_the_job() -> None:
    code = """
    @chute.job()
    async def work(self):
        self.logger.info("%d", "no number")
        self.logger.info("lone \\ud800")
        return 1
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 1
        assert 'msg="lone \\ud800"' in await job.err()


async def test_an_authors_own_logging_shows_no_line_twice() -> None:
    code = """
    import logging
    logging.basicConfig(level=logging.DEBUG)

    @chute.job()
    async def work(self):
        self.logger.info("once")
        self.logger.debug("not at all")
    """
    async with launched(code) as job:
        await job.code()
        assert (await job.err()).count("once") == 1
        assert "not at all" not in await job.err()


async def test_an_authors_configuration_of_logging_does_not_silence_the_jobs_logger() -> None:
    code = """
    import logging.config

    @chute.job()
    async def work(self):
        self.logger.info("before")
        logging.config.dictConfig({"version": 1})  # which disables every logger that there is
        self.logger.info("after")
    """
    async with launched(code) as job:
        await job.code()
        assert [parsed(line)["msg"] for line in (await job.err()).splitlines()] == ["before", "after"]


@pytest.mark.parametrize(
    ("at_import", "awaited"),
    [
        # In 3.8 and 3.9 a lock belongs to the loop of the thread that makes it.
        ("lock = asyncio.Lock()", "asyncio.gather(hold(), hold())"),
        ("asyncio.set_event_loop(asyncio.new_event_loop())", "hold(asyncio.Lock())"),
        ("future = asyncio.new_event_loop().create_future()", "hold(asyncio.Lock())"),
        ("asyncio.run(asyncio.sleep(0))", "hold(asyncio.Lock())"),
        (
            "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); loop.close()",
            "hold(asyncio.Lock())",
        ),
        (
            "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); lock = loop.create_future()",
            "asyncio.wait_for(soon(lock), 5)",
        ),
        (
            "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); threading.Thread(target=loop.run_forever, daemon=True).start()",
            "hold(asyncio.Lock())",
        ),
    ],
)
async def test_what_a_file_does_with_event_loops_at_its_import_works_on(at_import: str, awaited: str) -> None:
    code = f"""
    {at_import}

    async def hold(held=None):
        async with held or lock:
            await asyncio.sleep(0)

    async def soon(future):
        future.get_loop().call_soon(future.set_result, None)
        await future

    @chute.job()
    async def work(self):
        await {awaited}
        return 1
    """
    async with launched(code) as job:
        assert (await job.ended()).status == "succeeded"
        assert await job.err() == ""


async def test_what_is_printed_is_in_the_log_at_once() -> None:
    code = """
    @chute.job()
    async def work(self):
        print("line")
        print("50 %", end="\\r")
        print("to stderr", file=sys.stderr)
        os._exit(0)
    """
    async with launched(code) as job:
        await job.code()
        assert (await job.out(), await job.err()) == ("line\n50 %\r", "to stderr\n")


async def test_a_fatal_signal_leaves_a_traceback_in_the_log() -> None:
    code = """
    @chute.job()
    async def work(self):
        os.kill(os.getpid(), signal.SIGSEGV)
    """
    async with launched(code) as job:
        assert await job.code() == -11
        assert "Fatal Python error: Segmentation fault" in await job.err()
        assert "in work" in await job.err()


async def test_a_plain_function_may_run_a_loop_of_its_own_and_wait_for_the_host_in_it() -> None:
    code = """
    @chute.job()
    def work(self):
        return asyncio.run(self.start_job("work", {}))
    """
    async with launched(code) as job:
        assert [(await job.ended()).value] == list(job.host.effects.children)


async def test_a_function_that_returns_a_coroutine_is_awaited() -> None:
    code = """
    import functools

    def traced(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    @chute.job()
    @traced
    async def work(self):
        return 1
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 1


async def test_an_exit_function_of_the_authors_runs() -> None:
    code = """
    import atexit

    @chute.job()
    async def work(self):
        atexit.register(print, "at exit")
    """
    async with launched(code) as job:
        assert (await job.code(), await job.out()) == (0, "at exit\n")


@pytest.mark.parametrize("version", [(3, 0, 1), (3, 7, 16)])
async def test_an_old_python_says_that_it_is_one(version: tuple[int, int, int]) -> None:
    file = SDK / "chutes_launch.py"
    ast.parse(file.read_text(), feature_version=(3, 0))
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import runpy, sys; sys.version_info = {version}; runpy.run_path({str(file)!r}, run_name='__main__')",
        stderr=asyncio.subprocess.PIPE,
    )
    (line,) = (await run.communicate())[1].decode().splitlines()
    assert run.returncode == 1
    assert line.startswith("function jobs need Python 3.8 or newer")
    assert line.endswith(".".join(map(str, version[:2])))


async def test_an_ending_that_the_host_does_not_take_is_in_the_log() -> None:
    async with launched("@chute.job()\nasync def work(self):\n    return 1") as job:
        job.host.refuse("finish", "refused", "the job is no more")
        assert await job.code() == 0
        assert "the job is no more" in await job.err()
