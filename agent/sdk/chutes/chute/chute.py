"""chutes/chute/chute — the object that an author decorates functions with, and that a job's function gets as `self`. Runs none of them."""

from __future__ import annotations

from functools import partial
from types import MethodType, SimpleNamespace
from typing import Any, Callable, Sequence, Tuple, TypeVar

from chutes._chute_rules import find_chute_faults
from chutes._cord_rules import find_cord_faults
from chutes._field_rules import find_number_fault
from chutes._function_rules import find_function_faults
from chutes._job_rules import find_job_faults
from chutes._port_rules import as_ports
from chutes._refusing import raise_all, raise_or_note
from chutes.chute.cord import Cord
from chutes.chute.job import Job
from chutes.chute.node_selector import NodeSelector
from chutes.errors import Fault, RegistrationError
from chutes.platform import MEMBERS, Platform, Recorder

Function = TypeVar("Function", bound=Callable[..., Any])
MAX_HOOK_PRIORITY = 1_000_000
Hook = Tuple[int, Callable[..., Any]]


class Chute:
    """A name, and the functions under it. Look-up on it: what the author set, then the platform's, then decorated functions."""

    def __init__(  # noqa: PLR0913, PLR0917 — the signature is the published SDK's
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
        raise_all("Chute", name, find_chute_faults(vars(self)))
        self.state = SimpleNamespace()
        self.__jobs: dict[str, Job] = {}
        self.__cords: list[Cord] = []
        self.__hooks: dict[str, list[Hook]] = {"startup": [], "shutdown": []}
        self.__functions: dict[str, Callable[..., Any]] = {}
        self.__refused: list[RegistrationError] = []
        self.__platform: Platform = Recorder(self.__jobs)

    @property
    def jobs(self) -> dict[str, Job]:
        """By registered name."""
        return self.__jobs

    @property
    def cords(self) -> list[Cord]:
        return self.__cords

    @property
    def refused_functions(self) -> list[RegistrationError]:
        return self.__refused

    @property
    def startup_hooks(self) -> list[Callable[..., Any]]:
        return [hook for _, hook in self.__hooks["startup"]]

    @property
    def shutdown_hooks(self) -> list[Callable[..., Any]]:
        return [hook for _, hook in self.__hooks["shutdown"]]

    def attach(self, platform: Platform) -> None:
        """Say where the platform's members lead. Until then they are a Recorder's."""
        self.__platform = platform

    def job(  # noqa: PLR0913 — the signature is the decorator reference's
        self,
        ports: Sequence[Any] = (),
        *,
        timeout: int | None = None,
        upload: bool = True,
        ssh: bool = False,
        name: str | None = None,
        schedule: str | None = None,
        retry_count: int = 0,
        queue: str = "default",
        priority: int = 0,
        **unknown: Any,
    ) -> Callable[[Function], Function]:
        """Register a function as a job. Raises one ValueError with every fault of it; the function itself stays as it is."""
        refuse_bare("job", ports)

        def register(function: Function) -> Function:
            job = Job(
                name=name_of(function) if name is None else name,
                function=function,
                ports=as_ports(ports),
                timeout=timeout,
                upload=upload,
                ssh=ssh,
                schedule=schedule,
                retry_count=retry_count,
                queue=queue,
                priority=priority,
            )
            faults = list(find_job_faults(job, ports, self.__jobs, unknown))
            if not self.__refuses("job", function, faults):
                self.__jobs[job.name] = job
                self.__functions[name_of(function)] = function
            return function

        return register

    def cord(
        self,
        public_api_path: str | None = None,
        *,
        method: str = "POST",
        path: str | None = None,
        public_api_method: str | None = None,
        **options: Any,
    ) -> Callable[[Function], Function]:
        """Register a function as what answers requests at a path; its own name is the path where none is given."""
        refuse_bare("cord", public_api_path)
        written = path if public_api_path is None else public_api_path

        def register(function: Function) -> Function:
            cord = Cord(
                function=function,
                public_api_path=f"/{name_of(function)}" if written is None else written,
                method=method if public_api_method is None else public_api_method,
                options=options,
            )
            faults = list(find_cord_faults(cord, self.__cords))
            if not self.__refuses("cord", function, faults):
                self.__cords.append(cord)
                self.__functions[name_of(function)] = function
            return function

        return register

    def on_startup(self, priority: int = 50) -> Callable[[Function], Function]:
        """Run a function before the job, with the chute as its argument; lower priorities first."""
        refuse_bare("on_startup", priority)
        return partial(self.__hook, "startup", priority)

    def on_shutdown(self, priority: int = 50) -> Callable[[Function], Function]:
        """Run a function after the job, however that ended, with the chute as its argument; lower priorities first."""
        refuse_bare("on_shutdown", priority)
        return partial(self.__hook, "shutdown", priority)

    def __refuses(self, kind: str, function: Any, faults: list[Fault]) -> bool:
        if faults:
            raise_or_note(RegistrationError(kind, name_of(function), faults), self.__refused)
        return bool(faults)

    def __hook(self, when: str, priority: int, function: Function) -> Function:
        faults = [
            *find_function_faults(function),
            *find_number_fault("priority", priority, -MAX_HOOK_PRIORITY, MAX_HOOK_PRIORITY),
        ]
        raise_all(f"on_{when}", name_of(function), faults)
        self.__hooks[when].append((priority, function))
        self.__hooks[when].sort(key=lambda hook: hook[0])
        return function

    def __getattr__(self, name: str) -> Any:
        # Called only for what is neither set on the object nor a member of its class.
        if name in MEMBERS:
            return getattr(self.__platform, name)
        # Not by `self.`: a copy that has no attributes yet is asked for some, and would ask itself for ever.
        function = vars(self).get("_Chute__functions", {}).get(name)
        if function is not None:
            return MethodType(function, self)
        raise AttributeError(
            f"the chute has no {name!r}: it was not set on it, is none of the platform's, and no decorated function"
        )


def refuse_bare(decorator: str, given: Any) -> None:
    if callable(given):
        raise TypeError(f"write @chute.{decorator}() with parentheses")


def name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
