"""A pipeline of function jobs: one job splits the work, a child job a part does it, and the first puts their results together.

gpu-agent chute run examples/pipeline/main.py:pipeline --local --payload '{"texts": {"a": "to be or", "b": "not to be"}}'
"""

import asyncio
import re
from collections import Counter
from pathlib import Path

from chutes import PermanentError
from chutes.chute import Chute

chute = Chute(username="examples", name="pipeline", image="python:3.12-slim")

SECONDS_BETWEEN_LOOKS = 0.5


@chute.job(name="pipeline", timeout=3600, retry_count=1)
async def pipeline(self: Chute, texts: dict) -> dict:
    """Count the words of several texts, a child job each."""
    # The same calls after a crash lead to the same children: what is done already is not done again.
    children = {name: await self.start_job("count_words", {"text": text}) for name, text in texts.items()}
    total = Counter()
    for done, (name, job_id) in enumerate(children.items(), start=1):
        total.update(await result_of(self, job_id))
        await self.update_job_progress(
            job_id=self.current_job_id, progress=100 * done / len(children), message=f"{name} is counted"
        )
    report = {"words": sum(total.values()), "most_common": total.most_common(3)}
    await self.start_job("write_report", {"report": report})
    return report


@chute.job(name="count_words", timeout=600, retry_count=3)
async def count_words(self: Chute, text: str) -> dict:
    """The words of one text, and how often each is there."""
    words = re.findall(r"[a-z']+", text.lower())
    await self.record_metric("words", len(words))
    return Counter(words)


@chute.job(name="write_report", timeout=60)
async def write_report(self: Chute, report: dict, output_dir: str) -> None:
    """The report as a file among this job's outputs."""
    lines = [f"{report['words']} words", *(f"{count:6} {word}" for word, count in report["most_common"])]
    write_lines(Path(output_dir) / "report.txt", lines)
    self.logger.info("%d words are reported", report["words"])


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


async def result_of(self: Chute, job_id: str) -> dict:
    """What a child returned, once it has ended. A failure of it is this job's, and trying again would not mend it."""
    while True:
        status = await self.get_job_status(job_id)
        if status["phase"] == "finished":
            break
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    if status["outcome"] != "succeeded":
        raise PermanentError(f"child {job_id} has {status['outcome']}")
    return status["result"]
