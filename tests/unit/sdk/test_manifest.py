"""The manifest of a chute: every field of it, as strict JSON, and what it says of things that have no effect."""

import functools
import json
import sys
from typing import Any

from chutes import Chute, Image, NodeSelector, Port
from chutes._manifest import MAX_DOC_CHARACTERS, MAX_README_CHARACTERS, describe
from chutes._signature import MAX_ANNOTATION_CHARACTERS


def describe_as_json(chute: Chute) -> Any:
    return json.loads(json.dumps(describe(chute, "app"), allow_nan=False))


def test_a_manifest_has_everything_that_a_file_declares() -> None:
    chute = Chute(
        username="me",
        name="text",
        tagline="t",
        readme="r",
        concurrency=2,
        image=Image("me", "torch", "2"),
        node_selector=NodeSelector(gpu_count=2, include=("h100",)),
    )

    @chute.job(
        ports=[Port(name="web", port=8080, proto="http")],
        timeout=60,
        upload=False,
        ssh=True,
        name="nightly",
        schedule="@daily",
        retry_count=2,
        queue="slow",
        priority=-5,
    )
    async def train(self, days: int = 7, /, *more: float, output_dir: "str" = "", **rest: dict[str, int]):
        """Train it.

        Long.
        """

    @chute.cord(public_api_path="/x/{y}", method="GET")
    def look(self, y): ...

    assert describe_as_json(chute) == {
        "manifest": 1,
        "sdk": "1",
        "python": sys.version.split()[0].rstrip("+"),
        "chute": {
            "attribute": "app",
            "name": "text",
            "username": "me",
            "tagline": "t",
            "readme": "r",
            "concurrency": 2,
            "image": "me/torch:2",
            "node_selector": {
                "gpu_count": 2,
                "min_vram_gb_per_gpu": 16,
                "include": ["h100"],
                "exclude": None,
            },
        },
        "jobs": [
            {
                "name": "nightly",
                "function": "train",
                "doc": "Train it.\n\nLong.",
                "is_async": True,
                "ports": [{"name": "web", "port": 8080, "proto": "http"}],
                "timeout": 60,
                "upload": False,
                "ssh": True,
                "schedule": "@daily",
                "retry_count": 2,
                "queue": "slow",
                "priority": -5,
                "parameters": [
                    parameter("days", "positional_only", "int"),
                    parameter("more", "var_positional", "float"),
                    parameter("output_dir", "keyword_only", "str"),
                    parameter("rest", "var_keyword", "dict[str, int]"),
                ],
            }
        ],
        "cords": [
            {
                "function": "look",
                "public_api_path": "/x/{y}",
                "method": "GET",
                "doc": None,
                "is_async": False,
                "parameters": [{**parameter("y", "positional_or_keyword", None), "required": True}],
            }
        ],
        "refused": [],
        "notes": [],
    }


def parameter(name: str, kind: str, annotation: str | None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "required": False, "annotation": annotation}


def test_an_image_may_be_a_text_or_nothing() -> None:
    images = [describe(Chute("me", "n", image))["chute"]["image"] for image in ("a/b:1", None)]
    assert images == ["a/b:1", None]


def test_what_has_no_effect_is_noted() -> None:
    chute = Chute(
        "me", "n", Image("me", "x", "1").set_user("u"), node_selector=NodeSelector(price=1), tee=True
    )

    @chute.cord("/x", stream=True)
    async def logger(self): ...

    @chute.cord("/y", stream=True, output_content_type="text/event-stream")
    async def heeded(self):
        yield "data: 1"

    @chute.cord("/z", minimal_input_schema=None, output_content_type="no type")
    async def odd(self): ...

    @chute.job()
    async def jobs(self): ...

    assert describe_as_json(chute)["notes"] == [
        "Chute: without effect here: tee",
        "NodeSelector: without effect here: price",
        "Image me/x:1: its steps are not run, since the deploy names the image: set_user",
        "cord logger: without effect here: stream",
        "cord odd: without effect here: minimal_input_schema, output_content_type",
        "self.jobs is the chute's own, and not the function of that name",
        "self.logger is the chute's own, and not the function of that name",
    ]


def test_long_texts_are_cut() -> None:
    chute = Chute("me", "n", readme="r" * 100_000)

    async def work(self, x: "a" * 1000): ...  # noqa: F821

    work.__doc__ = "d" * 1_000_000
    chute.job()(work)
    described = describe_as_json(chute)
    assert len(described["jobs"][0]["doc"]) == MAX_DOC_CHARACTERS
    assert len(described["jobs"][0]["parameters"][0]["annotation"]) == MAX_ANNOTATION_CHARACTERS
    assert len(described["chute"]["readme"]) == MAX_README_CHARACTERS


def test_a_wrapped_function_is_described_by_what_it_wraps() -> None:
    def wrap(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    chute = Chute("me", "n")

    @chute.job()
    @wrap
    async def work(self, table: str): ...

    (job,) = describe_as_json(chute)["jobs"]
    assert (job["function"], [each["name"] for each in job["parameters"]]) == ("work", ["table"])
