"""The SDK runs in the authors' images, with any Python from 3.8 on and nothing installed: no newer syntax, no newer library, no package."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SDK = Path(__file__).parents[3] / "agent" / "sdk"
# The pytest plugin runs where pytest is.
PLUGIN = SDK / "pytest_chutes.py"
# Older Pythons run it too, to say that they are: it has no __future__, and no annotation but None.
LAUNCHER = SDK / "chutes_launch.py"
MODULES = sorted(SDK.rglob("*.py"))
OURS = {"chutes"}

# What came after 3.8 to the modules that one would use here; and to objects, under names that nothing else here has.
NEWER_MEMBERS = {
    "ast": {"unparse"},
    "asyncio": {"timeout", "timeout_at", "TaskGroup", "Runner", "to_thread", "Barrier"},
    "contextlib": {"aclosing", "chdir"},
    "dataclasses": {"KW_ONLY"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "verify"},
    "functools": {"cache"},
    "hashlib": {"file_digest"},
    "inspect": {"get_annotations", "markcoroutinefunction"},
    "itertools": {"pairwise", "batched"},
    "logging": {"getLevelNamesMapping", "getHandlerByName"},
    "math": {"lcm", "nextafter", "ulp", "cbrt", "exp2", "sumprod"},
    "os": {"pidfd_open", "waitstatus_to_exitcode", "eventfd", "unshare", "setns", "process_cpu_count"},
    "random": {"randbytes"},
    "sys": {"exception", "stdlib_module_names", "orig_argv", "monitoring"},
    "types": {"NoneType", "UnionType", "EllipsisType", "GenericAlias"},
    "typing": {
        "Annotated",
        "Concatenate",
        "LiteralString",
        "Never",
        "NotRequired",
        "ParamSpec",
        "Required",
        "Self",
        "TypeAlias",
        "TypeGuard",
        "Unpack",
        "assert_never",
        "assert_type",
        "get_overloads",
        "is_typeddict",
        "override",
        "reveal_type",
    },
}
NEWER_NAMES = {
    "removeprefix",
    "removesuffix",
    "bit_count",
    "add_note",
    "is_relative_to",
    "readlink",
    "with_stem",
    "hardlink_to",
    "cancelling",
    "uncancel",
    "shutdown_default_executor",
    "BaseExceptionGroup",
    "ExceptionGroup",
    "aiter",
    "anext",
}
NEWER_KEYWORDS = {
    ("zip", "strict"),
    ("dataclass", "slots"),
    ("dataclass", "kw_only"),
    ("shutdown", "cancel_futures"),
    ("run", "loop_factory"),
    ("Popen", "process_group"),
    ("Popen", "user"),
    ("sha256", "usedforsecurity"),
    ("signature", "eval_str"),
    ("NamedTemporaryFile", "delete_on_close"),
    ("TemporaryDirectory", "ignore_cleanup_errors"),
    ("cancel", "msg"),
    ("basicConfig", "encoding"),
}
NEWER_MODULES = {"tomllib", "zoneinfo", "graphlib", "annotationlib"}
GENERIC_SINCE_3_9 = {"list", "dict", "tuple", "set", "frozenset", "type"}
# In 3.8 and 3.9 these take the exception as three arguments.
ONE_ARGUMENT_SINCE_3_10 = {"format_exception", "print_exception", "format_exception_only"}


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(), str(module), feature_version=(3, 8))


def name_of(path: Path) -> str:
    return str(path.relative_to(SDK))


def walk_what_runs(node: ast.AST) -> Iterator[ast.AST]:
    """All but annotations, which are text, and what runs on newer interpreters alone."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not is_for_newer(child):
                yield from walk_what_runs(child)


def is_for_newer(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("sys.version_info >= ")


def find_newer(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in NEWER_NAMES:
            yield name
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NEWER_MEMBERS.get(module, ()):
            yield f"{module}.{name}"
        case ast.ImportFrom(module=str(module), names=names):
            newer = NEWER_MEMBERS.get(module, set())
            yield from (f"{module}.{alias.name}" for alias in names if alias.name in newer)
        case ast.Subscript(value=ast.Name(id=name)) if name in GENERIC_SINCE_3_9:
            yield f"{name}[…]"
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args, keywords=keywords):
            yield from (f"{name}({key.arg}=)" for key in keywords if (name, key.arg) in NEWER_KEYWORDS)
            if name in ONE_ARGUMENT_SINCE_3_10 and len(args) == 1:
                yield f"{name} of one argument"


def find_imports(tree: ast.Module) -> Iterator[str]:
    for node in walk_what_runs(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "").partition(".")[0]


def has_annotations(tree: ast.Module) -> bool:
    return any(
        getattr(node, field, None) is not None
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
    )


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_its_syntax_is_of_3_8(module: Path) -> None:
    parse(module)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_nothing_in_it_came_after_3_8(module: Path) -> None:
    assert [found for node in walk_what_runs(parse(module)) for found in find_newer(node)] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != LAUNCHER], ids=name_of)
def test_annotations_are_never_evaluated(module: Path) -> None:
    tree = parse(module)
    if has_annotations(tree):
        assert "annotations" in [
            alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        ]


@pytest.mark.parametrize("module", [module for module in MODULES if module != PLUGIN], ids=name_of)
def test_it_imports_the_standard_library_and_itself_alone(module: Path) -> None:
    assert set(find_imports(parse(module))) <= (sys.stdlib_module_names - NEWER_MODULES) | OURS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name.removeprefix('x')", ["removeprefix"]),
        ("async def f():\n async with asyncio.timeout(1): ...", ["asyncio.timeout"]),
        ("from asyncio import TaskGroup", ["asyncio.TaskGroup"]),
        ("except_this = ExceptionGroup", ["ExceptionGroup"]),
        ("zip(a, b, strict=True)", ["zip(strict=)"]),
        ("Pairs = list[int]", ["list[…]"]),
        ("def f(a: list[int]) -> list[int]: ...", []),
        ("traceback.format_exception(error)", ["format_exception of one argument"]),
        ("if sys.version_info >= (3, 9):\n 'x'.removeprefix('y')", []),
    ],
)
def test_the_search_finds_what_it_is_for(text: str, found: list[str]) -> None:
    assert [name for node in walk_what_runs(ast.parse(text)) for name in find_newer(node)] == found


@pytest.mark.parametrize("text", ["match a:\n case 1: ...", "try: ...\nexcept* OSError: ..."])
def test_newer_syntax_is_noticed(text: str) -> None:
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=(3, 8))
