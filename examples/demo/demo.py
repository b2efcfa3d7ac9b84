"""demo — one real job from submit to results, with the daemon killed in its middle. `make demo` runs it; it imports nothing of the agent."""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
from engine import Engine, provide_engine
from image import ImageError, provide_image
from place import Place, clean_up, engines, find_place, held
from running_agent import AgentError, Follower, RunningAgent, configure
from screen import alarm, chapter, note, show_command, tell

TRAIN_SECONDS = 16
LINES_BEFORE_KILL = 5
JOB_WITHIN_SECONDS = 180
INTERRUPTED, FAILED = 130, 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    place = find_place()
    with held(place) as is_ours:
        if not is_ours:
            alarm(f"another demo runs from this checkout (it holds {place.cache}/lock)")
            return FAILED
        return run_and_clean_up(place)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def run_and_clean_up(place: Place) -> int:
    clean_up(place)  # what an earlier demo left that was killed itself
    place.run.mkdir(parents=True)
    try:
        return tell_story(place)
    except KeyboardInterrupt:
        alarm("interrupted")
        return INTERRUPTED
    except (AgentError, ImageError, engines.PrivateEngineError, StoryError) as error:
        alarm(str(error))
        return FAILED
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        clean_up(place)
        note(f"all is gone but the image and the results, in {place.cache}")


class StoryError(Exception):
    """Something that the demo promises did not come true."""


def tell_story(place: Place) -> int:
    chapter("An engine and an image")
    engine = provide_engine(place)
    image = provide_image(engine.socket, place.cache)

    chapter("The agent")
    agent = start_agent(place, engine)

    chapter("A job: learn to read handwritten digits")
    job = submit(agent, image)
    follower = Follower(agent, job)
    try:
        url = wait_for_training(agent, job, follower)
        kill_and_start_again(agent, engine, job, url)
        follower.wait(JOB_WITHIN_SECONDS)
    finally:
        follower.stop()

    chapter("What it leaves")
    finished = until(lambda: agent.find_finished(job), "the job is finished")
    check_log(agent, job, follower.lines)
    fetch_outputs(agent, job, place.results)
    summarise(finished, agent.say("events", job).splitlines(), place.results)
    return 0


def start_agent(place: Place, engine: Engine) -> RunningAgent:
    agent = configure(place, engine.prefix, engine.socket)
    show_command("gpu-agent token create demo --scope jobs:read --scope jobs:write")
    made = agent.ask("token", "create", "demo", "--scope", "jobs:read", "--scope", "jobs:write")
    show_command("gpu-agent serve --config config.toml")
    agent.start()
    agent.token = made["token"]
    tell(f"ready at {agent.url}, process {agent.pid}")
    return agent


def submit(agent: RunningAgent, image: str) -> str:
    spec = {
        "name": "digits",
        "image": image,
        "command": ["python3", "/demo/train.py"],
        "env": {"TRAIN_SECONDS": str(TRAIN_SECONDS), "OPENBLAS_NUM_THREADS": "1"},
        "cpus": 1,
        "memory": "1GiB",
        "ports": [{"name": "progress", "port": 8080, "proto": "http"}],
        "timeout": 300,
    }
    file = agent.place.run / "digits.json"
    file.write_text(json.dumps(spec))
    show_command("gpu-agent submit digits.json")
    job = str(agent.ask("submit", str(file))["id"])
    tell(job)
    show_command(f"gpu-agent logs -f {short(job)}")
    return job


def wait_for_training(agent: RunningAgent, job: str, follower: Follower) -> str:
    """Until it has learned a little. Returns the URL of its page."""

    def url() -> str | None:
        found = agent.ask("show", job)
        if found["phase"] not in {"queued", "starting", "running"}:
            raise StoryError(f"the job ended too early: {found['outcome']}, {found['reason']}")
        return found["ports"][0]["url"] if found["phase"] == "running" else None

    address = until(url, "the job runs")
    until(lambda: len(follower.lines) >= LINES_BEFORE_KILL, "it has learned for some epochs")
    return address


def show_page(agent: RunningAgent, url: str, after_epoch: int = 0) -> int:
    """The job's page, as soon as it tells of an epoch after that one. Returns the epoch."""

    def page() -> dict[str, Any] | None:
        found = agent.fetch(url)
        return found if found and found.get("epoch", 0) > after_epoch else None

    show_command(f"curl {url}")
    found = until(page, "the job's page answers")
    tell(json.dumps(found))
    return int(found["epoch"])


def kill_and_start_again(agent: RunningAgent, engine: Engine, job: str, url: str) -> None:
    epoch = show_page(agent, url)
    before = look_at_container(engine, job)
    chapter("SIGKILL to the agent, in the middle of the job")
    show_command(f"kill -9 {agent.pid}")
    agent.kill()
    tell("the job does not need it and learns on; its page, while there is no agent:")
    show_page(agent, url, after_epoch=epoch)
    began = time.monotonic()
    show_command("gpu-agent serve --config config.toml")
    agent.start()
    took = time.monotonic() - began
    after = look_at_container(engine, job)
    if after != before:
        raise StoryError(f"the container is not the same: {before}, then {after}")
    tell(
        f"ready again after {took:.1f} s, process {agent.pid}; container {after[0][:12]} is the one from before"
    )


def look_at_container(engine: Engine, job: str) -> tuple[str, str]:
    """Its id and when it was started, from the engine itself."""
    with closing(docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)) as client:
        ours = client.containers.list(all=True, filters={"label": f"gpu-agent.job={job}"})
        if len(ours) != 1:
            raise StoryError(f"the job has {len(ours)} containers")
        return str(ours[0].id), str(ours[0].attrs["State"]["StartedAt"])


def check_log(agent: RunningAgent, job: str, followed: list[str]) -> None:
    """What was followed across the kill, against the whole log read afterwards: nothing missing, nothing twice."""
    whole = agent.say("logs", job).splitlines()
    if followed != whole:
        raise StoryError(f"{len(followed)} lines were followed, the log has {len(whole)}")
    tell(
        f"{len(whole)} log lines followed across the kill; the log has the same {len(whole)}: none lost, none twice"
    )


def fetch_outputs(agent: RunningAgent, job: str, results: Path) -> None:
    shutil.rmtree(results, ignore_errors=True)
    show_command(f"gpu-agent outputs get {short(job)} --output {os.path.relpath(results)}")
    agent.say("outputs", "get", job, "--output", str(results))
    for file in agent.ask("outputs", "ls", job)["items"]:
        digest = hashlib.sha256((results / file["path"]).read_bytes()).hexdigest()
        if digest != file["sha256"]:
            raise StoryError(f"{file['path']} came with sha256 {digest}, {file['sha256']} was told")
        tell(f"{file['size']:>9,} bytes   sha256 {digest[:16]}…   {file['path']}")


def summarise(job: dict[str, Any], events: list[str], results: Path) -> None:
    facts, metrics = job["exit"], json.loads((results / "metrics.json").read_text())
    seconds = (read_time(facts["finished_at"]) - read_time(facts["started_at"])).total_seconds()
    rows = {
        "outcome": f"{job['outcome']}, exit code {facts['code']}, attempt {job['attempt']}",
        "ran for": f"{seconds:.1f} s, {metrics['epoch']} epochs",
        "accuracy": f"{metrics['accuracy']:.2%} of unseen digits",
        "peak memory": f"{facts['peak_memory'] / 2**20:.0f} MiB of 1024",
        "events": f"{len(events)}, the last: {events[-1]}",
        "picture": os.path.relpath(results / "confusion.png"),
    }
    for name, value in rows.items():
        tell(f"{name:<12} {value}")
    if job["outcome"] != "succeeded":
        raise StoryError(f"the job did not succeed: {job['reason']}")


def until(look: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - whatever `look` finds
    """Look until something is found."""
    deadline = time.monotonic() + JOB_WITHIN_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StoryError(f"waited {JOB_WITHIN_SECONDS} s in vain until {what}")
        time.sleep(0.2)
    return found


def read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def short(job: str) -> str:
    return job[:13]


if __name__ == "__main__":
    sys.exit(main())
