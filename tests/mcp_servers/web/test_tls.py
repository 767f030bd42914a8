"""TLS is checked against the name that was asked for, though the connection is made by address."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcp_servers.kit.clock import Deadline, SystemClock
from mcp_servers.kit.errors import UpstreamUnavailable
from mcp_servers.web.fetch import PageFetcher
from tests.fakes.websites import SITE, FakeInternet, running_internet


@pytest.fixture
async def fetching(tmp_path: Path) -> AsyncIterator[tuple[PageFetcher, FakeInternet]]:
    file = tmp_path / "site.pem"
    file.write_bytes(_certificate("site.example"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    async with running_internet(server) as internet:
        client = ssl.create_default_context(cafile=str(file))
        yield PageFetcher(SystemClock(), internet=internet, tls=client), internet


def _certificate(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(pem)


def deadline() -> Deadline:
    return Deadline(SystemClock(), 10)


@pytest.mark.requirement("web:tls")
async def test_the_certificate_of_the_name_is_accepted(fetching: tuple[PageFetcher, FakeInternet]) -> None:
    fetcher, internet = fetching
    internet.serve("/", "<p>safe</p>")
    page = await fetcher.fetch("https://site.example/", deadline())
    assert (page.content, internet.connected) == (b"<p>safe</p>", [(SITE, 443)])


@pytest.mark.requirement("web:tls")
async def test_the_certificate_of_another_name_is_refused(fetching: tuple[PageFetcher, FakeInternet]) -> None:
    fetcher, internet = fetching
    internet.site("other.example")
    with pytest.raises(UpstreamUnavailable, match="certificate is not valid"):
        await fetcher.fetch("https://other.example/", deadline())
    assert internet.requests == []
