"""An author's code that does what no code should: its report goes out all the same, and the process ends."""

import os
import signal

import pytest

from tests.shell.launched import launched


async def test_descriptors_closed_by_the_author_are_made_anew() -> None:
    code = """
    @chute.job()
    async def work(self):
        await self.update_job_progress(progress=1)
        os.closerange(3, 1000)
        return await asyncio.shield(asyncio.sleep(0, 1))
    """
    # The author's own event loop is among what was closed, so the function itself may well fail.
    async with launched(code) as job:
        await job.ended()
        assert job.host.connections == 2


async def test_a_file_that_took_over_our_descriptors_number_gets_none_of_our_bytes() -> None:
    code = """
    @chute.job()
    def work(self):
        os.closerange(3, 1000)
        files = [open(f"{self.output_dir}/{number}", "w") for number in range(20)]
        asyncio.run(self.record_metric("a", 1))
        return sum(os.path.getsize(file.name) for file in files)
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 0
        assert job.host.metrics == [["a", 1]]


async def test_a_signal_handler_may_tell_in_the_middle_of_telling() -> None:
    code = """
    @chute.job()
    async def work(self):
        handled = []

        def on_alarm(number, frame):
            self.record_metric("alarm", len(handled))
            self.update_job_progress(progress=len(handled) % 100)
            handled.append(1)

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        counted = 0
        while len(handled) < 200:
            self.record_metric("n", 1)
            counted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [counted, len(handled)]
    """
    async with launched(code) as job:
        counted, alarms = (await job.ended()).value
        assert alarms >= 200
        # A loop as tight as this is faster than what is kept, but for its beginning.
        assert 0 < job.host.metrics.count(["n", 1]) <= counted


async def test_a_broken_connection_is_no_deadly_signal_to_an_author_who_asked_for_those() -> None:
    code = """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    @chute.job()
    async def work(self):
        await self.update_job_progress(progress=1)
        open(self.output_dir + "/begun", "w").close()
        while not os.path.exists(self.output_dir + "/go"):
            await self.record_metric("a", 1)
        return 1
    """
    async with launched(code) as job:
        await job.until_file("begun")
        for _ in range(5):
            await job.host.restart()
            await job.host.until("hello", job.host.connections + 1)
        (job.root / "outputs" / "go").touch()
        assert (await job.ended()).value == 1


async def test_standard_streams_closed_by_the_author_do_not_lose_the_report() -> None:
    code = """
    @chute.job()
    async def work(self):
        sys.stdout.close()
        os.close(0); os.close(1); os.close(2)
        self.logger.info("nobody reads this")
        raise ValueError("told all the same")
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["message"], await job.code()) == ("told all the same", 1)


async def test_a_replaced_stdout_is_left_alone() -> None:
    code = """
    class Odd:
        def write(self, text): raise SystemExit(4)
        def flush(self): raise SystemExit(5)

    @chute.job()
    async def work(self):
        sys.stdout = sys.stderr = Odd()
        self.logger.info("a line")
        return 1
    """
    async with launched(code) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)
        assert 'msg="a line"' in await job.err()


async def test_a_forked_child_that_comes_out_of_the_function_reports_nothing() -> None:
    code = """
    @chute.job()
    {function} work(self):
        if os.fork() == 0:
            print("child")
            return "child"
        return ["parent", os.wait()[1]]
    """
    for function in ("async def", "def"):
        async with launched(code.format(function=function)) as job:
            assert ((await job.ended()).value, await job.out()) == (["parent", 0], "child\n")
            assert (len(job.host.named("finish")), job.host.connections) == (1, 1)


async def test_a_forked_child_that_calls_the_host_is_told_that_it_can_not() -> None:
    code = """
    from chutes import PlatformError

    def tries(call, *args, **kwargs):
        try:
            call(*args, **kwargs).send(None)
        except PlatformError as refused:
            return refused.code == "forked"

    @chute.job()
    async def work(self):
        if os.fork() == 0:
            os._exit(tries(self.start_job, "work", {}) + tries(self.record_metric, "a", 1)
                     + tries(self.update_job_progress, progress=1) + tries(self.update_job_status, "a", "b"))
        return os.wait()[1] >> 8
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 4
        assert job.host.effects.children == {}


async def test_a_forked_child_does_not_keep_the_connection_open() -> None:
    code = """
    @chute.job()
    def work(self):
        if os.fork() == 0:
            mine = os.listdir("/proc/self/fd")
            os._exit(sum(os.path.islink(f"/proc/self/fd/{n}") and "socket" in os.readlink(f"/proc/self/fd/{n}") for n in mine))
        return os.wait()[1] >> 8
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 0


async def test_a_child_program_has_none_of_our_descriptors() -> None:
    code = """
    import subprocess

    @chute.job()
    async def work(self):
        await self.update_job_progress(progress=1)
        look = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) > 2])"
        run = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, close_fds=False)
        return [run.stdout, run.stderr]
    """
    async with launched(code) as job:
        assert "socket" not in (await job.ended()).value[0]


LEFT = {
    "a thread that never ends": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "a task that never ends": "self.task = asyncio.ensure_future(asyncio.sleep(60))",
    "a task in the executor": "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
    "an exit function that raises": "import atexit; atexit.register(sys.exit, 9)",
    "a generator that is not at its end": "self.left = generator(); await self.left.__anext__()",
    "a child process": "import subprocess; subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3)",
    "a signal handler of its own": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "a trace function": "sys.settrace(lambda *_: None)",
    "no recursion to speak of": "sys.setrecursionlimit(60)",
    "no file descriptors": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
    "no modules": "sys.modules.clear()",
    "no path": "sys.path.clear()",
    "an import hook that raises": "import builtins; builtins.__import__ = None",
}


@pytest.mark.parametrize("statement", LEFT.values(), ids=LEFT)
async def test_what_the_function_leaves_behind_does_not_keep_the_process(statement: str) -> None:
    code = f"""
    async def generator():
        try:
            yield 1
            yield 2
        finally:
            print("closed")

    @chute.job()
    async def work(self):
        {statement}
        await asyncio.sleep(0.01)
        return 1
    """
    async with launched(code) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)


@pytest.mark.slow
async def test_a_task_that_swallows_its_cancel_does_not_keep_the_process() -> None:
    code = """
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    @chute.job()
    async def work(self):
        self.task = asyncio.ensure_future(stubborn())
        return 1
    """
    async with launched(code) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)


async def test_a_loop_that_the_author_stops_ends_the_function() -> None:
    code = """
    @chute.job()
    async def work(self):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(60)
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["type"], await job.code()) == ("RuntimeError", 1)


@pytest.mark.slow
async def test_an_exit_function_that_hangs_is_not_waited_for() -> None:
    code = """
    import atexit

    @chute.job()
    async def work(self):
        atexit.register(time.sleep, 60)
        return 1
    """
    async with launched(code, grace=1) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)


async def test_an_exit_in_another_thread_ends_that_thread_alone() -> None:
    code = """
    @chute.job()
    async def work(self):
        thread = threading.Thread(target=sys.exit, args=(4,))
        thread.start()
        thread.join()
        return 1
    """
    async with launched(code) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)


async def test_an_exit_in_a_background_task_is_the_functions_own() -> None:
    code = """
    async def leaves():
        sys.exit(4)

    @chute.job()
    async def work(self):
        self.task = asyncio.ensure_future(leaves())
        await asyncio.sleep(60)
    """
    async with launched(code) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], await job.code()) == ("exit", 4)


async def test_the_standard_library_replaced_by_the_author_does_not_reach_the_wire() -> None:
    code = """
    import json, select, socket, threading, time

    def broken(*args, **kwargs):
        raise SystemExit(6)

    @chute.job()
    def work(self):
        for module, names in {json: ["dumps", "loads"], select: ["poll"], socket: ["socket"], time: ["monotonic", "sleep"],
                              threading: ["Lock", "Thread", "get_ident"], os: ["fstat"]}.items():
            for name in names:
                setattr(module, name, broken)
        return 1
    """
    async with launched(code) as job:
        assert ((await job.ended()).value, await job.code()) == (1, 0)


async def test_siblings_named_as_modules_of_the_standard_library_do_not_lose_the_report() -> None:
    files = {f"{name}.py": "raise SystemExit(6)" for name in ("traceback", "logging", "hashlib", "queue")}
    async with launched("", files=files) as job:
        told = await job.ended()
        assert told.error is not None
        assert (told.error["kind"], told.error["type"]) == ("import", "SystemExit")


@pytest.mark.slow
async def test_a_gigabyte_of_prints_does_not_hold_up_the_report() -> None:
    code = """
    @chute.job()
    async def work(self):
        for _ in range(1024):
            print("x" * (1 << 20))
        return 1
    """
    async with launched(code) as job:
        assert (await job.ended()).value == 1


@pytest.mark.slow
async def test_a_log_that_nobody_reads_does_not_hold_up_the_report() -> None:
    code = """
    @chute.job()
    async def work(self):
        threading.Thread(target=print, args=("x" * 10_000_000,), daemon=True).start()
        await asyncio.sleep(0.1)
        raise ValueError("told all the same")
    """
    unread, log = os.pipe()
    try:
        async with launched(code, log=log, grace=1) as job:
            told = await job.ended()
            assert told.error is not None
            assert (told.error["message"], await job.code()) == ("told all the same", 1)
    finally:
        os.close(unread)
        os.close(log)


@pytest.mark.slow
async def test_a_loop_that_is_blocked_for_long_is_reported_when_it_ends() -> None:
    code = """
    @chute.job()
    async def work(self):
        await self.update_job_progress(progress=1)
        time.sleep(5)
        return 1
    """
    async with launched(code) as job:
        await job.host.until("report")
        assert (await job.ended()).value == 1


async def test_the_interrupt_that_the_author_asked_back_is_an_exception_of_the_function() -> None:
    code = """
    @chute.job()
    async def work(self):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        open(self.output_dir + "/begun", "w").close()
        await asyncio.sleep(60)
    """
    async with launched(code) as job:
        await job.until_file("begun")
        job.send(signal.SIGINT)
        told = await job.ended()
        assert told.error is not None
        assert (told.error["type"], await job.code()) == ("KeyboardInterrupt", 1)
