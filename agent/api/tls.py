"""api/tls — from the files that [api] names to a context for TLS, or to all that is wrong with them. Listens nowhere."""

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.errors import AgentError, Blame

CERTIFICATE, KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"


class TlsUnusableError(AgentError):
    """A file of [api] tls_cert, tls_key or client_ca that TLS can't be made of. Plain text is no way out of it."""

    code, blame = "tls_unusable", Blame.HOST
    remedy = "Mend what is named: PEM files that the agent's user can read, the key without a passphrase. Then start the agent again."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))


class _PassphraseWantedError(Exception):
    """Ends OpenSSL's own question for it."""


def make_tls(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """A context for TLS 1.2 and later. With `client_ca`, a connection without a certificate signed by it is refused.

    Raises TlsUnusableError with all that is wrong with the files.
    """
    faults = [*_read("tls_cert", certificate, CERTIFICATE), *_read("tls_key", key, KEY)]
    faults += [] if client_ca is None else _read("client_ca", client_ca, CERTIFICATE)
    if faults:
        raise TlsUnusableError(faults)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    faults += _load_pair(context, certificate, key)
    if client_ca is not None:
        faults += _load_client_ca(context, client_ca)
    if faults:
        raise TlsUnusableError(faults)
    return context


def _read(name: str, path: Path, wanted: bytes) -> Iterator[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        yield f"{name} = {path} can't be read: {error.strerror}"
        return
    if wanted not in content:
        kind = "private key" if wanted is KEY else "certificate"
        yield f"{name} = {path} holds no {kind} in PEM"


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> Iterator[str]:
    try:
        context.load_cert_chain(certificate, key, password=_refuse_to_answer)
    except _PassphraseWantedError:
        yield f"tls_key = {key} has a passphrase, and nobody is there to type it"
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            yield f"tls_key = {key} is not the key of tls_cert = {certificate}"
        else:
            yield f"tls_cert = {certificate} and tls_key = {key} can't be used ({_words(error)})"


def _load_client_ca(context: ssl.SSLContext, client_ca: Path) -> Iterator[str]:
    try:
        context.load_verify_locations(client_ca)
    except (ssl.SSLError, OSError) as error:
        yield f"client_ca = {client_ca} holds no certificate that can be read ({_words(error)})"
    context.verify_mode = ssl.CERT_REQUIRED


def _refuse_to_answer() -> str:
    # Without this OpenSSL would ask at the terminal, and find none below systemd.
    raise _PassphraseWantedError


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or str(error)).replace("_", " ").lower()
