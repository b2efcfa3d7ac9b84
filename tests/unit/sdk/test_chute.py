"""The chute itself, its hooks, its cords, its machine and its image: what they take, and what they refuse."""

from types import SimpleNamespace
from typing import Any

import pytest

from chutes import Chute, Image, NodeSelector
from chutes.errors import RegistrationError


@pytest.fixture
def chute() -> Chute:
    return Chute(username="me", name="chute")


def fields_of(error: RegistrationError) -> list[str]:
    return [fault.field for fault in error.faults]


# ---- hooks


def test_hooks_are_in_the_order_of_their_priority_and_then_of_the_file(chute: Chute) -> None:
    @chute.on_startup()
    def second(self): ...

    @chute.on_startup(priority=90)
    async def last(self): ...

    @chute.on_startup(priority=1)
    async def first(self): ...

    @chute.on_startup(priority=50)
    def third(self): ...

    @chute.on_shutdown()
    def stop(self): ...

    assert chute.startup_hooks == [first, second, third, last]
    assert chute.shutdown_hooks == [stop]


def test_a_hook_is_no_member_of_the_chute(chute: Chute) -> None:
    @chute.on_startup()
    def load_model(self): ...

    assert not hasattr(chute, "load_model")


def test_a_hook_that_takes_no_chute_or_has_no_number_is_refused(chute: Chute) -> None:
    with pytest.raises(RegistrationError, match="on_startup 'hook' has 2 faults") as refused:

        @chute.on_startup(priority="high")
        def hook(): ...

    assert fields_of(refused.value) == ["function", "priority"]
    assert chute.startup_hooks == []


# ---- cords


def test_a_cord_is_kept_with_its_path_and_method(chute: Chute) -> None:
    @chute.cord(public_api_path="/items/{item_id}", method="DELETE")
    async def remove(self, item_id): ...

    @chute.cord()
    async def generate(self): ...

    @chute.cord(path="/old", public_api_method="GET", stream=True)
    async def stream(self):
        yield 1

    assert [(cord.public_api_path, cord.method) for cord in chute.cords] == [
        ("/items/{item_id}", "DELETE"),
        ("/generate", "POST"),
        ("/old", "GET"),
    ]
    assert chute.cords[2].options == {"stream": True}


@pytest.mark.parametrize(
    "path", ["", "items", "/items/", "//", "/a b", "/{}", "/{a", "/..", "/a?b=c", "/" + "a" * 512, 5]
)
def test_what_is_no_path_is_refused(chute: Chute, path: Any) -> None:
    with pytest.raises(ValueError, match="public_api_path: must be a path"):
        chute.cord(path)(lambda self, **names: None)
    assert chute.cords == []


def test_a_cord_answers_a_path_and_method_alone(chute: Chute) -> None:
    @chute.cord("/one", method="GET")
    async def one(self): ...

    chute.cord("/one", method="POST")(one)
    with pytest.raises(ValueError, match="POST /one is another cord's"):
        chute.cord("/one")(one)


def test_paths_that_differ_in_the_names_of_their_parameters_alone_are_one(chute: Chute) -> None:
    @chute.cord("/items/{item_id}/parts")
    async def parts(self, item_id): ...

    with pytest.raises(
        ValueError, match=r"POST /items/\{other\}/parts is another cord's, /items/\{item_id\}/parts"
    ):

        @chute.cord("/items/{other}/parts")
        async def others(self, other): ...

    chute.cord("/items/{item_id}/parts", method="GET")(parts)
    chute.cord("/items/{item_id}")(parts)
    chute.cord("/items/all/{item_id}")(parts)


def test_a_parameter_stands_in_a_path_once(chute: Chute) -> None:
    with pytest.raises(ValueError, match=r"public_api_path: \{a\} is in it twice"):
        chute.cord("/{a}/{a}")(lambda self, a: None)


def test_the_chute_itself_is_no_parameter_of_a_path(chute: Chute) -> None:
    for function in (lambda self: None, lambda self, **rest: None):
        with pytest.raises(ValueError, match=r"\{self\} is no parameter"):
            chute.cord("/{self}")(function)


def test_every_fault_of_a_cord_comes_at_once(chute: Chute) -> None:
    with pytest.raises(RegistrationError, match="cord 'status' has 3 faults") as refused:

        @chute.cord("/status/{job_id}", method="get")
        async def status(): ...

    assert fields_of(refused.value) == ["function", "method", "public_api_path"]


def test_a_name_in_a_path_must_be_a_parameter(chute: Chute) -> None:
    with pytest.raises(ValueError, match=r"\{job_id\} is no parameter of status"):

        @chute.cord("/status/{job_id}")
        async def status(self, job): ...


# ---- the chute


def test_every_fault_of_a_chute_comes_at_once() -> None:
    with pytest.raises(RegistrationError, match="Chute 'a/b' has 6 faults") as refused:
        Chute(username=None, name="a/b", image=5, readme=b"x", node_selector={"gpu_count": 1}, concurrency=0)
    assert sorted(fields_of(refused.value)) == [
        "concurrency",
        "image",
        "name",
        "node_selector",
        "readme",
        "username",
    ]


def test_settings_of_the_published_sdk_are_taken_and_remembered_as_unused() -> None:
    chute = Chute("me", "n", "me/image:1", max_instances=3, tee=True, title="T")
    assert chute.unused == ("max_instances", "tee", "title")


def test_a_chute_has_a_place_for_state_and_for_anything_else(chute: Chute) -> None:
    assert chute.state == SimpleNamespace()
    chute.model = "m"
    assert chute.model == "m"


# ---- the machine and the image


def test_a_machine_is_within_the_published_bounds() -> None:
    selector = NodeSelector(
        gpu_count=8, min_vram_gb_per_gpu=140, include=["h100"], max_hourly_price_per_gpu=2
    )
    assert (selector.gpu_count, selector.include, selector.exclude) == (8, ["h100"], None)
    assert selector.unused == ("max_hourly_price_per_gpu",)
    assert (NodeSelector().gpu_count, NodeSelector().min_vram_gb_per_gpu) == (1, 16)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        *[({"gpu_count": bad}, "gpu_count") for bad in (0, 9, True, "1", 1.0)],
        *[({"min_vram_gb_per_gpu": bad}, "min_vram_gb_per_gpu") for bad in (15, 141, "80")],
        *[({"include": bad}, "include") for bad in ("h100", {"h100"})],
        ({"include": ["h100", ""]}, "include[1]"),
        ({"exclude": [5]}, "exclude[0]"),
    ],
)
def test_a_machine_beyond_them_is_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(RegistrationError) as refused:
        NodeSelector(**settings)
    assert fields_of(refused.value) == [field]


def test_an_image_remembers_its_steps_and_every_builder_gives_it_back() -> None:
    image = Image(username="me", name="torch", tag="2.4")
    built = (
        image.from_base("ubuntu:22.04")
        .with_python("3.11")
        .apt_install(["git", "curl"])
        .apt_remove("vim")
        .run_command("pip install torch")
        .with_env("A", "1")
        .set_user("worker")
        .set_workdir("/app")
        .add("model.bin", "/app/model.bin", chown="worker")
        .with_maintainer("me")
        .with_entrypoint(["python3"])
    )
    assert built is image
    assert [step.name for step in image.steps] == [
        "from_base",
        "with_python",
        "apt_install",
        "apt_remove",
        "run_command",
        "with_env",
        "set_user",
        "set_workdir",
        "add",
        "with_maintainer",
        "with_entrypoint",
    ]
    assert image.steps[5] == ("with_env", ("A", "1"))
    assert str(image) == "me/torch:2.4"


def test_an_image_needs_a_name_and_a_tag() -> None:
    with pytest.raises(RegistrationError) as refused:
        Image("me", "a b", "")
    assert fields_of(refused.value) == ["name", "tag"]


def test_the_published_templates_are_refused_with_the_way_out() -> None:
    with pytest.raises(ImportError, match=r"not offered here\. Write a job"):
        from chutes.chute.template.vllm import build_vllm_chute  # noqa: F401, PLC0415
