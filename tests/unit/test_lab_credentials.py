"""The lab's own keys: what OpenSSH and TLS clients want of them."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lab.credentials import Authority, SshKey, password
from lab.directory import LabDirectory


def test_ssh_keys_are_in_openssh_formats() -> None:
    key = SshKey.generate()
    assert key.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert key.public.startswith("ssh-ed25519 ")


def test_a_host_certificate_is_for_the_loopback_address_and_signed_by_the_authority() -> None:
    authority = Authority("lab-1")
    issuer = x509.load_pem_x509_certificate(authority.pem.encode())
    leaf = x509.load_pem_x509_certificate(authority.issue("misp-debian").certificate.encode())
    leaf.verify_directly_issued_by(issuer)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.IPv4Address("127.0.0.1")]
    now = datetime.datetime.now(datetime.timezone.utc)
    assert leaf.not_valid_before_utc < now < leaf.not_valid_after_utc
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_passwords_are_letters_and_digits() -> None:
    assert len(password()) == 40
    assert password().isalnum()
    assert password() != password()


def test_secrets_of_a_lab_are_readable_by_their_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISP_LAB_DIR", str(tmp_path))
    directory = LabDirectory("lab-1")
    value, path = directory.make_secret("misp-debian/api_key")
    directory.write_inventory([{"name": "misp-debian", "data": {}}])
    assert path.read_text() == value
    assert value in directory.secrets
    for file in (path, directory.ssh_key_file, directory.redis_password_file, directory.inventory):
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "inventory.json").resolve() == directory.inventory
    directory.remove()
    assert not (tmp_path / "inventory.json").is_symlink()
