"""spec/ssh_keys — public keys as people paste them: one a line, no options, whole. Writes no file and trusts no text.

What passes here goes into a file that an SSH server reads line by line: so nothing passes that could be a second line, an option
in front of the key, or bytes that only look like one.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from agent.spec.faults import Fault, join_path
from agent.spec.forms import Body
from agent.spec.limits import (
    MAX_RSA_BITS,
    MAX_SSH_COMMENT_CHARACTERS,
    MAX_SSH_KEY_CHARACTERS,
    MAX_SSH_KEYS,
    MIN_RSA_BITS,
    SSH_PORT,
)
from agent.spec.ports import SSH_PORT_NAME
from agent.spec.text import UNPRINTABLE

_ED25519_BYTES = 32
# The curve's name, and how long a point on it is, uncompressed (RFC 5656, §3.1).
_CURVES = {
    "ecdsa-sha2-nistp256": (b"nistp256", 65),
    "ecdsa-sha2-nistp384": (b"nistp384", 97),
    "ecdsa-sha2-nistp521": (b"nistp521", 133),
    "sk-ecdsa-sha2-nistp256@openssh.com": (b"nistp256", 65),
}
TYPES = ("ssh-ed25519", "ssh-rsa", "sk-ssh-ed25519@openssh.com", *_CURVES)
_REMEDY = "Paste one line of a .pub file: its type, its base64, and a comment if you like."


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`base64` is as `ssh-keygen` writes it, padding and all."""

    type: str
    base64: str
    comment: str

    @property
    def line(self) -> str:
        return f"{self.type} {self.base64} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` and the server's log write it."""
        return fingerprint_of(base64.b64decode(self.base64))


def fingerprint_of(blob: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def read_public_key(text: str) -> PublicKey:
    """One key. Raises ValueError with words for people, none of which repeat the text."""
    if len(text) > MAX_SSH_KEY_CHARACTERS:
        raise ValueError(f"has more than {MAX_SSH_KEY_CHARACTERS} characters")
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key: keep it to yourself, and send the .pub file")
    if UNPRINTABLE.search(text):
        raise ValueError("holds a line end or another control character")
    kind, _, rest = text.strip(" ").partition(" ")
    if kind not in TYPES:
        raise ValueError(_why_not_a_type(text))
    encoded, _, comment = rest.strip(" ").partition(" ")
    blob = _decode(encoded)
    trouble = _find_trouble(kind, blob)
    if trouble is not None:
        raise ValueError(trouble)
    comment = comment.strip(" ")
    if len(comment) > MAX_SSH_COMMENT_CHARACTERS or not comment.isascii():
        raise ValueError(
            f"has a comment that is not ASCII of at most {MAX_SSH_COMMENT_CHARACTERS} characters"
        )
    return PublicKey(kind, encoded, comment)


class Keys(Enum):
    """Whether SSH needs a key in the spec, or may get its first while the job runs."""

    NEEDED = "needed"
    LATER = "later"


def find_ssh_faults(body: Body, keys: Keys) -> Iterator[Fault]:
    """Of the whole spec: its keys, and what SSH needs of the network and of the ports."""
    ssh = body.get("ssh")
    if not isinstance(ssh, dict):
        return
    named = ssh.get("authorized_keys")
    if named != [] or keys is Keys.NEEDED:
        yield from find_key_faults("ssh.authorized_keys", named)
    if body.get("network") == "none":
        yield Fault(
            "ssh",
            "ssh_without_network",
            "can't be reached in a job without a network",
            'Leave ssh out, or set network to "egress".',
        )
    ports = body.get("ports")
    for index, port in enumerate(ports if isinstance(ports, list) else ()):
        if isinstance(port, dict) and port.get("name") == SSH_PORT_NAME and port.get("port") != SSH_PORT:
            yield Fault(
                join_path("ports", index, "name"),
                "port_name_duplicate",
                f"is the name of the SSH port, {SSH_PORT}",
                "Give it another name.",
            )


def find_key_faults(field: str, keys: object) -> Iterator[Fault]:
    """Every key that is none, every one that is there twice, and too many or none of them."""
    if not isinstance(keys, list):
        return
    if not keys:
        yield Fault(
            field, "empty_list", "names no key, so nobody could log in", "Name a key, or leave ssh out."
        )
    if len(keys) > MAX_SSH_KEYS:
        yield Fault(field, "too_many", f"has more than {MAX_SSH_KEYS} keys", "Leave some out.")
        return
    seen: dict[str, int] = {}
    for index, text in enumerate(keys):
        if not isinstance(text, str):
            continue
        where = f"{field}.{index}"
        try:
            key = read_public_key(text)
        except ValueError as unread:
            yield Fault(where, "ssh_key_invalid", str(unread), _REMEDY)
            continue
        first = seen.setdefault(key.base64, index)
        if first != index:
            yield Fault(where, "ssh_key_duplicate", f"is key {first} too", "Name each key once.")


def _why_not_a_type(text: str) -> str:
    words = text.split()
    if not words or words[0].startswith("#"):
        return "is empty or a comment"
    if any(word in TYPES for word in words):
        return "has options, or something else, before its type"
    if words[0] == "ssh-dss":
        return "is a DSA key, which no server takes any more"
    if words[0].startswith("-----"):
        return "is no line of a .pub file"
    return f"does not begin with a type that is known: {', '.join(TYPES)}"


def _decode(encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        blob = b""
    # Base64 has more than one way to write the last bits: only the usual one is taken, so that one key is one text.
    if not blob or base64.b64encode(blob).decode() != encoded:
        raise ValueError("holds no base64 after its type")
    return blob


def _find_trouble(kind: str, blob: bytes) -> str | None:
    """Why the bytes are no key of that type: RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, OpenSSH's PROTOCOL.u2f."""
    fields = _split(blob)
    if fields is None or fields[0] != kind.encode():
        return "holds bytes that are no key of its type"
    rest = fields[1:-1] if kind.startswith("sk-") else fields[1:]
    if kind.startswith("sk-") and not fields[-1]:
        return "names no application"
    if kind == "ssh-rsa":
        return _find_rsa_trouble(rest)
    if kind in _CURVES:
        curve, size = _CURVES[kind]
        is_whole = len(rest) == 2 and rest[0] == curve and len(rest[1]) == size and rest[1][:1] == b"\x04"
    else:
        is_whole = len(rest) == 1 and len(rest[0]) == _ED25519_BYTES
    return None if is_whole else "holds bytes that are no key of its type"


def _find_rsa_trouble(fields: Sequence[bytes]) -> str | None:
    if len(fields) != 2 or not all(fields) or any(field[0] & 0x80 for field in fields):
        return "holds bytes that are no key of its type"
    exponent, modulus = (int.from_bytes(field) for field in fields)
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0:
        return "holds numbers that make no RSA key"
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        return f"has {modulus.bit_length()} bits; RSA keys here have {MIN_RSA_BITS} to {MAX_RSA_BITS}"
    return None


def _split(blob: bytes) -> list[bytes] | None:
    """The strings of RFC 4251 that it is made of; None: something is left over or missing."""
    fields: list[bytes] = []
    at = 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4])
        if at + 4 + size > len(blob):
            return None
        fields.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return fields if len(fields) >= 2 else None
