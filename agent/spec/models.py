"""spec/models — GPUs named by words of their model, as `h100` or `a100_sxm`, found among a host's. Asks no host."""

import re
from collections.abc import Iterable, Sequence

PARTS = re.compile(r"[^a-z0-9]+")
SPECIAL = re.compile(r"([*?[])")


def match_models(models: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Patterns for `gpus.models` that fit just those of the models that are included, or where nothing is, not excluded.

    Where there is none, the wishes themselves: they fit no model, and whoever reads of the refusal sees what was wanted.
    """
    found = sorted(
        model
        for model in set(models)
        if (not include or any(is_named(model, name) for name in include))
        and not any(is_named(model, name) for name in exclude)
    )
    return [SPECIAL.sub(r"[\1]", model) for model in found] or [
        *include,
        *(f"not {name}" for name in exclude),
    ]


def is_named(model: str, name: str) -> bool:
    """Whether each word of the name is a word of the model, which may have digits more: `sxm` is SXM5, and `a10` is no A100."""
    words = {word for word in PARTS.split(model.lower()) if word}
    wanted = [word for word in PARTS.split(name.lower()) if word]
    return bool(wanted) and all(any(_is_word(word, one) for word in words) for one in wanted)


def _is_word(word: str, wanted: str) -> bool:
    more = word.removeprefix(wanted)
    return word == wanted or (wanted.isalpha() and more != word and more.isdigit())
