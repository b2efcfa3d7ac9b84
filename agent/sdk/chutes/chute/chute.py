"""chutes/chute/chute — the object that an author decorates functions with, and that a job's function gets as `self`. Runs none of them."""

from __future__ import annotations

from functools import partial
from types import MethodType, SimpleNamespace
from typing import Any, Callable, Dict, List, Sequence, Tuple, TypeVar

from chutes._recording import raise_or_note
from chutes._rules import check_cord, check_job
from chutes.chute.cord import Cord
from chutes.chute.job import Job
from chutes.chute.node_selector import NodeSelector
from chutes.errors import RegistrationError
from chutes.platform import MEMBERS, Platform, Recorder

Function = TypeVar("Function", bound=Callable[..., Any])
Hook = Tuple[int, Callable[..., Any]]


class Chute:
    """A name, and the functions under it. Look-up on it: what the author set, then the platform's, then decorated functions."""

    def __init__(
        self,
        username: str,
        name: str,
        image: Any = None,
        tagline: str = "",
        readme: str = "",
        node_selector: NodeSelector | None = None,
        concurrency: int = 1,
        **unused: Any,
    ) -> None:
        self.username = username
        self.name = name
        self.image = image
        self.tagline = tagline
        self.readme = readme
        self.node_selector = node_selector
        self.concurrency = concurrency
        self.unused = tuple(unused)
        self.state = SimpleNamespace()
        self.__jobs: Dict[str, Job] = {}
        self.__cords: List[Cord] = []
        self.__hooks: Dict[str, List[Hook]] = {"startup": [], "shutdown": []}
        self.__functions: Dict[str, Callable[..., Any]] = {}
        self.__refused: List[RegistrationError] = []
        self.__platform: Platform = Recorder(self.__jobs)

    @property
    def jobs(self) -> Dict[str, Job]:
        """By registered name."""
        return self.__jobs

    @property
    def cords(self) -> List[Cord]:
        return self.__cords

    @property
    def refused(self) -> List[RegistrationError]:
        return self.__refused

    @property
    def startup_hooks(self) -> List[Callable[..., Any]]:
        return [hook for _, hook in self.__hooks["startup"]]

    @property
    def shutdown_hooks(self) -> List[Callable[..., Any]]:
        return [hook for _, hook in self.__hooks["shutdown"]]

    def attach(self, platform: Platform) -> None:
        """Say where the platform's members lead. Until then they are a Recorder's."""
        self.__platform = platform

    def job(
        self,
        ports: Sequence[Any] = (),
        timeout: int | None = None,
        upload: bool = True,  # noqa: FBT001, FBT002 — the signature is the decorator reference's
        ssh: bool = False,  # noqa: FBT001, FBT002
        name: str | None = None,
        schedule: str | None = None,
        retry_count: int = 0,
        queue: str = "default",
        priority: int = 0,
        **unknown: Any,
    ) -> Callable[[Function], Function]:
        raise NotImplementedError

    def cord(
        self,
        public_api_path: str | None = None,
        method: str = "POST",
        **options: Any,
    ) -> Callable[[Function], Function]:
        raise NotImplementedError

    def on_startup(self, priority: int = 50) -> Callable[[Function], Function]:
        """Run it before a job, with the chute as its argument; lower priorities first."""
        return partial(self.__hook, "startup", priority)

    def on_shutdown(self, priority: int = 50) -> Callable[[Function], Function]:
        """Run it after a job, however that ended, with the chute as its argument; lower priorities first."""
        return partial(self.__hook, "shutdown", priority)

    def __hook(self, when: str, priority: int, function: Function) -> Function:
        self.__hooks[when].append((priority, function))
        self.__hooks[when].sort(key=lambda hook: hook[0])
        return function

    def __getattr__(self, name: str) -> Any:
        # Called only for what is neither set on the object nor a member of its class.
        own = vars(self)
        if name in MEMBERS and "_Chute__platform" in own:
            return getattr(self.__platform, name)
        function = own.get("_Chute__functions", {}).get(name)
        if function is not None:
            return MethodType(function, self)
        raise AttributeError(f"the chute has no {name!r}: not set on it, not the platform's, not decorated")
