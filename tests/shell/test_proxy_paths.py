"""A job's http port by path: what goes to the job, what comes back, and who may."""

from pathlib import Path

from tests.shell.proxy_world import OK, body_of, header_of, proxy_world, status_of


async def test_a_request_reaches_the_jobs_port_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        answer = await world.ask("/a/b?c=d")
        assert (status_of(answer), body_of(answer)) == (200, b"ok")
        assert world.side.heads[0].startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
        assert header_of(answer, "content-security-policy") == ["sandbox"]
