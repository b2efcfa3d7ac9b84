"""What `make test-page` takes out of a page: its sections, and every function that a chute decorates, also in a list; nothing else."""

from tests.page.blocks import find_blocks, find_decorated, find_sections, is_python

PAGE = '''
# A page

## `a: int = 1`

```python
# A comment
@chute.job(
    ports=[Port] = []
)
```

```python
from somewhere import something

# First
@chute.job(timeout=60)
@something
async def first(self, **data):
    """A ``quoted`` text."""
    await self.work(self.model.name)

    def inner(self):
        return self.deeper

@chute.cord(public_api_path="/x")
async def second(self):
    pass

@other.job()
async def not_ours(self): ...
```

1. **In a list**

   ```python
   @chute.job()
   async def third(self):
       pass
   ```

```bash
python -m something
```
'''


def test_each_decorated_function_is_found_in_the_order_of_the_page() -> None:
    assert [(each.name, each.kind) for each in find_decorated(PAGE)] == [
        ("first", "job"),
        ("second", "cord"),
        ("third", "job"),
    ]


def test_a_function_comes_with_its_decorators_and_without_its_neighbours() -> None:
    first, _, third = find_decorated(PAGE)
    assert first.source.startswith("@chute.job(timeout=60)\n@something\nasync def first")
    assert first.source.endswith("return self.deeper")
    assert third.source == "@chute.job()\nasync def third(self):\n    pass"


def test_what_it_needs_of_its_chute_is_known() -> None:
    assert find_decorated(PAGE)[0].methods == {"work", "model", "deeper"}


def test_a_block_that_is_no_python_is_told_apart() -> None:
    assert [is_python(block) for block in find_blocks(PAGE)] == [False, True, True]


def test_a_section_is_a_heading_or_a_point_of_a_list_and_no_comment() -> None:
    assert find_sections(PAGE) == ["A page", "a: int = 1", "In a list"]
