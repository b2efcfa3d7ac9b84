"""A command in a running job over the API's WebSocket: what it is told, what is noted of it, and every way that it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.limits import ApiLimits
from agent.api.tokens import Scope
from agent.core.exec import DEFAULT_SHELL, ExecPlan, WindowSize
from agent.core.job import Viewer
from agent.errors import Phase
from agent.interfaces import StoreUnavailableError
from tests.fakes.execs import HUNG_UP, PIPE_BYTES, FakeExec, Inside
from tests.shell.api_world import ID, ApiWorld, api_world, running, until

RUNS = (Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.EXEC)
FLOOD_BYTES = 50_000_000


async def echo(inside: Inside) -> int:
    await inside.complain(b"ready")
    while data := await inside.read():
        await inside.write(data)
    return 3


async def flood(inside: Inside) -> int:
    await inside.write(bytes(FLOOD_BYTES))
    return 0


async def deaf(inside: Inside) -> int:
    await inside.write(b"ready")
    await asyncio.sleep(600)
    return 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with exec_world(tmp_path) as made:
        yield made


@asynccontextmanager
async def exec_world(tmp: Path, **limits: float) -> AsyncIterator[ApiWorld]:
    api_limits = replace(ApiLimits(stream_seconds=5.0), **limits)
    async with api_world(tmp, api_limits=api_limits) as world, running(world):
        world.token = await world.new_token("alice", RUNS)
        for command in (echo, flood, deaf):
            world.engine.execs.commands[(command.__name__,)] = command
        yield world


async def running_job(world: ApiWorld) -> str:
    job_id = await world.submit()

    async def is_running() -> bool:
        job = await world.store.read(job_id)
        return job is not None and job.phase is Phase.RUNNING

    async with asyncio.timeout(5):
        while not await is_running():
            await asyncio.sleep(0.005)
    return job_id


class Talk:
    """A client. `read` tells texts as JSON, and bytes with their stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def read(self) -> Any:  # noqa: ANN401 - JSON is any
        message = await self.socket.receive(timeout=5)
        if message.type is aiohttp.WSMsgType.TEXT:
            return json.loads(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return message.data[0], message.data[1:]
        return message.type

    async def say(self, kind: str, **fields: object) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def start(self, *command: str, **fields: object) -> None:
        await self.say("start", command=list(command), **fields)
        assert await self.read() == {"type": "started"}

    async def end(self) -> tuple[dict[str, Any], int | None]:
        """The last text, and the close code. What was written before is let go."""
        last: dict[str, Any] = {}
        while not self.socket.closed:
            told = await self.read()
            last = told if isinstance(told, dict) else last
        return last, self.socket.close_code


@asynccontextmanager
async def talking(world: ApiWorld, job_id: str, **options: Any) -> AsyncIterator[Talk]:  # noqa: ANN401 - aiohttp's
    assert world.http is not None
    headers = {"Authorization": f"Bearer {world.token}"}
    url = f"{world.url}/v1/jobs/{job_id}/exec"
    async with world.http.ws_connect(url, headers=headers, max_msg_size=0, **options) as socket:
        yield Talk(socket)


async def refusal(world: ApiWorld, path: str, **headers: str) -> tuple[int, str]:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    reply = await world.call("GET", path, headers={**upgrade, **headers})
    return reply.status, reply.json["code"]


async def exec_events(world: ApiWorld, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    events = await world.store.events(Viewer("", sees_all=True), 0, job_id, 1000)
    return [(event.type, dict(event.data)) for event in events if event.type.startswith("exec.")]


async def ended(world: ApiWorld, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while len(events := await exec_events(world, job_id)) < 2:
            await asyncio.sleep(0.005)
    return events[1][1]


def the_command(world: ApiWorld) -> FakeExec:
    (command,) = world.engine.execs.all
    return command


async def test_bytes_go_both_ways_and_the_exit_code_comes_last(world: ApiWorld) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.start("echo")
        assert await talk.read() == (2, b"ready")
        await talk.socket.send_bytes(b"\x00 any \xff bytes")
        assert await talk.read() == (1, b"\x00 any \xff bytes")
        await talk.say("end_input")
        assert await talk.end() == ({"type": "exit", "code": 3}, 1000)


async def test_what_is_asked_for_is_what_the_engine_is_told(world: ApiWorld) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.start(
            "deaf", env={"B": "2", "A": "="}, user="1000:5", workdir="/srv", tty=True, columns=200, rows=50
        )
        await talk.read()
        plan = ExecPlan(("deaf",), "1000:5", "/srv", (("B", "2"), ("A", "=")), WindowSize(200, 50))
        assert world.engine.execs.plans == [plan]
        await talk.say("resize", columns=90, rows=20)
        await until(lambda: the_command(world).inside.size == WindowSize(90, 20))


@pytest.mark.parametrize("fields", [{}, {"command": []}, {"command": None, "env": None, "user": None}])
async def test_without_a_command_it_is_a_shell(world: ApiWorld, fields: dict[str, object]) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.say("start", **fields)
        last, code = await talk.end()
        assert (last, code) == ({"type": "exit", "code": 127}, 1000)
        assert world.engine.execs.plans == [ExecPlan(DEFAULT_SHELL)]


async def test_another_principals_job_is_none_and_one_that_does_not_run_has_no_commands(
    world: ApiWorld,
) -> None:
    job_id = await running_job(world)
    alice, world.token = world.token, await world.new_token("bob", RUNS)
    assert await refusal(world, f"/v1/jobs/{job_id}/exec") == (404, "job_not_found")
    assert await refusal(world, f"/v1/jobs/{ID.format(77)}/exec") == (404, "job_not_found")
    world.token = alice
    await world.call("POST", f"/v1/jobs/{job_id}/cancel")
    await world.call("GET", f"/v1/jobs/{job_id}?wait=finished")
    assert await refusal(world, f"/v1/jobs/{job_id}/exec") == (409, "job_not_running")
    assert world.engine.execs.plans == []


async def test_the_scope_is_its_own(world: ApiWorld) -> None:
    path = f"/v1/jobs/{await running_job(world)}/exec"
    world.token = await world.new_token("alice", (Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.JOBS_ALL))
    assert await refusal(world, path) == (403, "scope_missing")
    world.token = "gat_wrong"
    assert await refusal(world, path) == (401, "unauthorized")


async def test_a_page_of_a_browser_is_refused_by_its_origin_on_either_way_in(world: ApiWorld) -> None:
    job_id = await running_job(world)
    for origin in ("https://evil.example", world.url, "null", ""):
        assert await refusal(world, f"/v1/jobs/{job_id}/exec", Origin=origin) == (403, "origin_refused")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(world.socket))) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await http.ws_connect(f"http://local/v1/jobs/{job_id}/exec", origin="http://local")
        assert raised.value.status == 403
        async with http.ws_connect(f"http://local/v1/jobs/{job_id}/exec") as socket:
            await Talk(socket).start("echo")
    assert [facts["peer"] for kind, facts in await exec_events(world, job_id) if kind == "exec.started"] == [
        None
    ]


async def test_what_opens_no_websocket_is_told_to(world: ApiWorld) -> None:
    path = f"/v1/jobs/{await running_job(world)}/exec"
    plain = await world.call("GET", path)
    assert (plain.status, plain.json["code"], plain.headers["Upgrade"]) == (
        426,
        "websocket_needed",
        "websocket",
    )
    assert (await world.call("HEAD", path)).status == 426
    old = {"Sec-WebSocket-Version": "12"}
    assert await refusal(world, path, **old) == (426, "websocket_needed")
    # None of them took a stream with it.
    async with talking(world, path.split("/")[3]) as talk:
        await talk.start("echo")


async def test_it_is_one_of_the_tokens_streams(tmp_path: Path) -> None:
    async with exec_world(tmp_path, streams_per_token=1) as world:
        job_id = await running_job(world)
        async with talking(world, job_id) as talk:
            await talk.start("echo")
            assert await refusal(world, f"/v1/jobs/{job_id}/exec") == (429, "too_many_streams")
        async with asyncio.timeout(3):
            while (await world.call("GET", f"/v1/jobs/{job_id}/logs")).status == 429:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ('{"type": "resize", "columns": 1, "rows": 1}', "type"),
        ('{"type": "start", "command": "ls"}', "command"),
        ('{"type": "start", "command": ["ls", 1]}', "command"),
        ('{"type": "start", "command": [""]}', "command"),
        ('{"type": "start", "env": {"A=B": "c"}}', "env"),
        ('{"type": "start", "env": {"": "c"}}', "env"),
        ('{"type": "start", "env": ["A=B"]}', "env"),
        ('{"type": "start", "tty": "yes"}', "tty"),
        ('{"type": "start", "columns": 0}', "columns"),
        ('{"type": "start", "columns": true}', "columns"),
        ('{"type": "start", "window": 1}', "window"),
        ('{"type": "start", "user": 5}', "user"),
        ('{"type": "start", "privileged": true}', "privileged"),
        ('["start"]', "type"),
    ],
)
async def test_a_start_that_can_t_be_read_is_refused_by_its_field(
    world: ApiWorld, sent: str, field: str
) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.socket.send_str(sent)
        last, code = await talk.end()
        assert (last["type"], last["status"], code) == ("error", 400, 4400)
        assert [fault["field"] for fault in last["faults"]] == [field]
    assert world.engine.execs.plans == []


@pytest.mark.parametrize(
    "sent", ["no JSON", '{"type": "start", "type": "start"}', '{"type": "start", "user": "\\u0000"}']
)
async def test_what_is_no_json_of_ours_is_refused_and_runs_nothing(world: ApiWorld, sent: str) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.socket.send_str(sent)
        assert (await talk.end())[1] == 4400
    assert world.engine.execs.plans == []


async def test_bytes_are_no_start(world: ApiWorld) -> None:
    async with talking(world, await running_job(world)) as talk:
        await talk.socket.send_bytes(b"ls")
        assert (await talk.end())[1] == 4400


async def test_a_start_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async with (
        exec_world(tmp_path, header_seconds=0.1) as world,
        talking(world, await running_job(world)) as talk,
    ):
        last, code = await talk.end()
        assert (last["code"], code) == ("start_too_late", 4408)


@pytest.mark.parametrize(
    "sent", ['{"type": "resize"}', '{"type": "signal"}', '{"type": "taken", "bytes": -1}', "{"]
)
async def test_a_later_message_that_can_t_be_read_ends_it_and_hangs_the_command_up(
    world: ApiWorld, sent: str
) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        await talk.socket.send_str(sent)
        assert (await talk.end())[1] == 4400
    assert (await ended(world, job_id))["code"] is None
    assert the_command(world).code == HUNG_UP


async def test_a_message_of_more_than_a_megabyte_ends_it(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("echo")
        await talk.read()
        await talk.socket.send_bytes(bytes((256 << 10) + 1))
        assert (await talk.end())[1] == 1009
    await ended(world, job_id)
    assert the_command(world).code == HUNG_UP


async def test_a_client_that_leaves_hangs_the_command_up(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
    assert (await ended(world, job_id))["code"] is None
    assert the_command(world).code == HUNG_UP


async def test_a_client_that_is_torn_away_hangs_the_command_up(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        transport = talk.socket.get_extra_info("socket")
        assert transport is not None
        talk.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await ended(world, job_id)
    assert the_command(world).code == HUNG_UP


async def test_who_ran_what_and_how_it_ended_is_on_record_without_what_may_be_secret(world: ApiWorld) -> None:
    job_id = await running_job(world)
    world.engine.execs.commands["echo", "--password", "hunter2"] = echo
    async with talking(world, job_id) as talk:
        await talk.start("echo", "--password", "hunter2", env={"KEY": "hunter3"}, user="root")
        await talk.say("end_input")
        await talk.end()
    await ended(world, job_id)
    (begun, facts), (done, end) = await exec_events(world, job_id)
    (token,) = [token for token in await world.store.tokens() if "exec" in token.scopes]
    assert (begun, done) == ("exec.started", "exec.ended")
    assert facts == {
        "exec": "1", "principal": "alice", "token": token.id, "peer": "127.0.0.1", "program": "echo", "user": "root", "terminal": False, "missed": 0,
    }  # fmt: skip
    assert end == {"exec": "1", "code": 3, "error": None, "seconds": end["seconds"]}
    assert end["seconds"] >= 0


async def test_of_a_flood_of_commands_as_many_are_on_record_as_of_logins_and_the_others_are_counted(
    world: ApiWorld,
) -> None:
    job_id, other = await running_job(world), await running_job(world)

    async def quick(inside: Inside) -> int:
        return 0

    world.engine.execs.commands[("quick",)] = quick
    for _ in range(70):
        async with talking(world, job_id) as talk:
            await talk.start("quick")
            await talk.end()
    async with talking(world, other) as talk:
        await talk.start("quick")
        await talk.end()
    started = [facts["missed"] for kind, facts in await exec_events(world, job_id) if kind == "exec.started"]
    assert 60 <= len(started) < 70
    assert set(started[:60]) == {0}
    assert len(await exec_events(world, other)) == 2
    assert len(world.engine.execs.plans) == 71


async def test_what_can_t_be_noted_is_not_run(world: ApiWorld) -> None:
    job_id = await running_job(world)

    async def refuse(step: str) -> None:
        if step == "append_event":
            raise StoreUnavailableError("gone")

    async with talking(world, job_id) as talk:
        world.store.before = refuse
        await talk.say("start", command=["echo"])
        last, code = await talk.end()
        assert (last["code"], code) == ("store_unavailable", 4503)
    assert world.engine.execs.plans == []


async def test_an_engine_that_is_down_or_goes_down_is_said_and_noted(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        await talk.read()
        world.engine.stop()
        last, code = await talk.end()
        assert (last["code"], code) == ("engine_unavailable", 4503)
    async with talking(world, job_id) as talk:
        await talk.say("start", command=["deaf"])
        assert (await talk.end())[1] == 4503
    world.engine.come_up()
    ends = [facts["error"] for kind, facts in await exec_events(world, job_id) if kind == "exec.ended"]
    assert ends == ["engine_unavailable", "engine_unavailable"]


async def test_the_end_of_its_job_ends_it(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        await world.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
        assert await talk.end() == ({"type": "exit", "code": 137}, 1000)


async def test_a_container_that_is_gone_took_it_along(world: ApiWorld) -> None:
    job_id = await running_job(world)
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        await talk.read()
        the_command(world).is_removed = True
        world.engine.kill_from_outside(the_command(world).container)
        assert await talk.end() == ({"type": "exit", "code": 137}, 1000)


async def test_a_reader_that_takes_nothing_holds_the_command_up_and_is_cut_in_the_end(tmp_path: Path) -> None:
    async with exec_world(tmp_path, stream_seconds=0.5) as world:
        job_id = await running_job(world)
        async with talking(world, job_id) as talk:
            await talk.start("flood")
            assert (await ended(world, job_id))["code"] is None
            assert the_command(world).code == HUNG_UP


async def test_one_that_says_what_it_takes_may_rest_for_as_long_as_it_likes(tmp_path: Path) -> None:
    window = 3 * PIPE_BYTES
    async with exec_world(tmp_path, stream_seconds=0.2, keep_alive_seconds=0.05) as world:
        job_id = await running_job(world)
        async with talking(world, job_id) as talk:
            await talk.start("flood", window=window)
            got = 0
            while got < window:
                got += len((await talk.read())[1])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await talk.socket.receive()  # answers pings, as clients do
            await talk.say("taken", bytes=got)
            while isinstance(told := await talk.read(), tuple):
                got += len(told[1])
                await talk.say("taken", bytes=len(told[1]))
            assert (told, got) == ({"type": "exit", "code": 0}, FLOOD_BYTES)


async def test_a_command_that_does_not_read_holds_its_client_back(world: ApiWorld) -> None:
    impatient = aiohttp.ClientWSTimeout(ws_close=0.1)
    async with talking(world, await running_job(world), timeout=impatient) as talk:
        await talk.start("deaf")
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while sent < 1 << 30:
                    await talk.socket.send_bytes(bytes(256 << 10))
                    sent += 256 << 10
        # The sockets' buffers of both sides, and what waits in the pipe and in two messages.
        assert sent < 40 << 20


async def test_a_client_whose_network_is_gone_is_found_out(tmp_path: Path) -> None:
    async with exec_world(tmp_path, keep_alive_seconds=0.05) as world:
        job_id = await running_job(world)
        async with talking(world, job_id, autoping=False) as talk:
            await talk.start("deaf")
            assert (await ended(world, job_id))["code"] is None
        assert the_command(world).code == HUNG_UP


async def test_a_silent_client_that_answers_pings_stays(tmp_path: Path) -> None:
    async with (
        exec_world(tmp_path, keep_alive_seconds=0.05) as world,
        talking(world, await running_job(world)) as talk,
    ):
        await talk.start("echo")
        await talk.read()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await talk.socket.receive()
        await talk.say("end_input")
        assert await talk.end() == ({"type": "exit", "code": 3}, 1000)


async def test_a_client_that_its_command_holds_back_stays_though_nobody_hears_it(tmp_path: Path) -> None:
    async with (
        exec_world(tmp_path, keep_alive_seconds=0.05) as world,
        talking(world, await running_job(world)) as talk,
    ):
        await talk.start("deaf")
        await talk.read()
        await talk.socket.send_bytes(bytes(4 * PIPE_BYTES))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await talk.socket.receive()  # answers pings, which lie behind what the command does not take
        assert the_command(world).code is None


async def test_a_session_outlasts_the_limit_for_headers(tmp_path: Path) -> None:
    async with (
        exec_world(tmp_path, header_seconds=0.1) as world,
        talking(world, await running_job(world)) as talk,
    ):
        await talk.start("echo")
        await talk.read()
        for _ in range(4):
            await talk.socket.send_bytes(b"still there")
            assert await talk.read() == (1, b"still there")
            await asyncio.sleep(0.1)  # as long as a request may take for its headers


async def test_a_clients_own_pings_are_answered(world: ApiWorld) -> None:
    async with talking(world, await running_job(world), autoping=False) as talk:
        await talk.start("echo")
        await talk.read()
        await talk.socket.ping(b"there?")
        message = await talk.socket.receive(timeout=5)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"there?")


async def test_a_token_that_ends_ends_it(tmp_path: Path) -> None:
    async with exec_world(tmp_path, recheck_seconds=0.05) as world:
        job_id = await running_job(world)
        async with talking(world, job_id) as talk:
            await talk.start("deaf")
            for token in await world.store.tokens():
                await world.store.remove_token(token.id)
            await ended(world, job_id)
        assert the_command(world).code == HUNG_UP


async def test_a_daemon_that_leaves_says_so_and_takes_no_time(world: ApiWorld) -> None:
    job_id = await running_job(world)
    assert world.sites is not None
    async with talking(world, job_id) as talk:
        await talk.start("deaf")
        await talk.read()
        async with asyncio.timeout(3):
            closing = asyncio.ensure_future(world.sites.close())
            assert (await talk.end())[1] == 1001
            await closing
    assert the_command(world).code == HUNG_UP
    assert len(await exec_events(world, job_id)) == 2
