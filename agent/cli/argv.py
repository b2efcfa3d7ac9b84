"""cli/argv — which words of `run …` are ours and which are the command's. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Our options by every way to write them: those that take a value, and those that stand alone."""

    valued: Collection[str]
    alone: Collection[str]


def split_words(argv: Sequence[str], known: Known) -> list[str]:
    """The same words in an order that any parser understands: our options, `--`, image, command.

    Our options may stand anywhere before `--`, also behind image and command. What behind the image is none of ours belongs to
    the command, so that `run IMAGE sh -c '…'` needs no `--`; a command whose options look like ours does.
    """
    ours: list[str] = []
    words: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            return [*ours, "--", *words, *argv[at:]]
        if word in known.valued:
            ours += [word, *argv[at : at + 1]]
            at += 1
        elif word in known.alone or (word.startswith("--") and word.partition("=")[0] in known.valued):
            ours.append(word)
        elif words or not word.startswith("-") or word == "-":
            words.append(word)
        else:
            # Before the image: -eK=V, or a slip that the parser names.
            ours.append(word)
    return [*ours, "--", *words]


def behind_dashes(words: Sequence[str]) -> list[str]:
    """The words of a command that takes all behind its first argument as it is; -- may stand before them."""
    return list(words[1:] if words[:1] == ["--"] else words)
