"""TLS files that can't be used are told all at once, by the config's keys, and in words."""

import subprocess
from pathlib import Path

import pytest

from agent.api.tls import TlsUnusableError, make_tls
from tests.certificates import make_certificates


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    locked = "pkey -aes128 -passout pass:x -in s.key -out locked.key"
    subprocess.run(["openssl", *locked.split()], cwd=folder, check=True, capture_output=True)
    return folder


def refusal(certificate: Path, key: Path, client_ca: Path | None = None) -> str:
    with pytest.raises(TlsUnusableError) as refused:
        make_tls(certificate, key, client_ca)
    return str(refused.value)


def test_every_file_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path / "a.crt", tmp_path / "a.key", tmp_path / "ca.crt")
    assert told == "; ".join(
        f"{name} = {tmp_path / file} can't be read: No such file or directory"
        for name, file in (("tls_cert", "a.crt"), ("tls_key", "a.key"), ("client_ca", "ca.crt"))
    )


def test_certificate_and_key_in_each_others_place_are_told_apart(files: Path) -> None:
    assert refusal(files / "s.key", files / "s.pem") == (
        f"tls_cert = {files / 's.key'} holds no certificate in PEM; tls_key = {files / 's.pem'} holds no private key in PEM"
    )


def test_the_key_of_another_certificate_is_told_as_one(files: Path) -> None:
    assert (
        refusal(files / "s.pem", files / "c.key")
        == f"tls_key = {files / 'c.key'} is not the key of tls_cert = {files / 's.pem'}"
    )


def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(files: Path) -> None:
    told = refusal(files / "s.pem", files / "locked.key")
    assert told == f"tls_key = {files / 'locked.key'} has a passphrase, and nobody is there to type it"


def test_what_looks_like_pem_and_is_none_is_refused_by_name(files: Path) -> None:
    told = refusal(files / "broken.pem", files / "s.key", files / "broken.pem")
    assert told.startswith(f"tls_cert = {files / 'broken.pem'} and tls_key = {files / 's.key'} can't be used")
    assert f"client_ca = {files / 'broken.pem'} holds no certificate that can be read" in told
