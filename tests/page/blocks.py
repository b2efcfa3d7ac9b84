"""What is on a Markdown page: its sections, its blocks of Python, and the functions in them that a chute decorates. Runs none of it."""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

# A block may be part of a list, and indented with it.
FENCED = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
ANY_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
# A heading, or what a list has in bold letters as the title of a point.
SECTION = re.compile(r"^(?:#+ |\d+\. \*\*)(.*?)(?:\*\*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Decorated:
    """One function with its decorators, as the page writes it."""

    name: str
    kind: str  # job or cord
    source: str
    methods: frozenset[str]  # every NAME of its `self.NAME`

    def __str__(self) -> str:
        return self.name


def find_blocks(markdown: str) -> list[str]:
    return [textwrap.dedent(text) for _, text in FENCED.findall(markdown)]


def find_sections(markdown: str) -> list[str]:
    """In its order, without the marks of code."""
    return [title.strip("` ") for title in SECTION.findall(ANY_FENCED.sub("", markdown))]


def is_python(block: str) -> bool:
    try:
        ast.parse(block)
    except SyntaxError:
        return False
    return True


def find_decorated(markdown: str) -> list[Decorated]:
    readable = filter(is_python, find_blocks(markdown))
    return [found for block in readable for found in find_in_block(block)]


def find_in_block(block: str) -> Iterator[Decorated]:
    for node in ast.parse(block).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for kind in filter(None, map(kind_of, node.decorator_list)):
                first = min(decorator.lineno for decorator in node.decorator_list)
                lines = block.splitlines()[first - 1 : node.end_lineno]
                yield Decorated(node.name, kind, "\n".join(lines), frozenset(find_methods(node)))


def kind_of(decorator: ast.expr) -> str | None:
    match decorator:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="chute"), attr=("job" | "cord") as kind)):
            return str(kind)
    return None


def find_methods(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                yield name
