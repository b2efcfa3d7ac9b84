"""chutes/image/image — the steps of an image, recorded in their order. Runs none of them."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, NamedTuple, Sequence

from chutes._field_rules import WORD, Form, find_text_fault
from chutes._refusing import raise_all

NAME = Form(re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), 128, WORD, 'Image("me", "cuda", "12.4")')


class Step(NamedTuple):
    """One builder's call: its name, and what it was given."""

    name: str
    args: tuple[Any, ...]


class Image:
    """What an author would like the image to be. The deploy names the image that is used, and shows what was asked for here."""

    def __init__(self, username: str, name: str, tag: str, readme: str = "") -> None:
        faults = chain(find_text_fault("name", name, NAME), find_text_fault("tag", tag, NAME))
        raise_all("Image", name, faults)
        self.username = username
        self.name = name
        self.tag = tag
        self.readme = readme
        self.steps: list[Step] = []

    def __str__(self) -> str:
        return f"{self.username}/{self.name}:{self.tag}"

    def from_base(self, reference: str) -> Image:
        return self.__record("from_base", reference)

    def with_python(self, version: str) -> Image:
        return self.__record("with_python", version)

    def apt_install(self, packages: str | Sequence[str]) -> Image:
        return self.__record("apt_install", packages)

    def apt_remove(self, packages: str | Sequence[str]) -> Image:
        return self.__record("apt_remove", packages)

    def run_command(self, command: str) -> Image:
        return self.__record("run_command", command)

    def with_env(self, key: str, value: str) -> Image:
        return self.__record("with_env", key, value)

    def set_user(self, user: str) -> Image:
        return self.__record("set_user", user)

    def set_workdir(self, folder: str) -> Image:
        return self.__record("set_workdir", folder)

    def add(self, source: str, dest: str, *options: Any, **named: Any) -> Image:
        return self.__record("add", source, dest, *options, *named.items())

    def with_maintainer(self, maintainer: str) -> Image:
        return self.__record("with_maintainer", maintainer)

    def with_entrypoint(self, command: str | Sequence[str]) -> Image:
        return self.__record("with_entrypoint", command)

    def __record(self, name: str, *args: Any) -> Image:
        self.steps.append(Step(name, args))
        return self
