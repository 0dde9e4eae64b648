"""MISP's REST view, asked of a real server on the loopback that answers as MISP does, or not."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks import misp_rest
from tasks.secret import Secret
from tasks.setting_types import DEFAULT_WORKERS
from tasks.settings import Secrets
from tasks.target import Target
from tests.unit.samples import API_KEY, target

WORKER = {"pid": 1, "user": "www-data", "alive": True, "correct_user": True, "ok": True}
GOOD = {
    **{
        queue: {"ok": True, "workers": [WORKER] * count, "jobCount": 0}
        for queue, count in DEFAULT_WORKERS.items()
    },
    "proc_accessible": True,
    "controls": 1,
    "supervisord_status": True,
}
NO_KEY = (
    "Authentication failed. Please make sure you pass the API key of an API enabled user along in "
    "the Authorization header."
)


@dataclass
class Site:
    """A web server that gives one answer to the right key and remembers every request."""

    url: str
    status: int = 200
    body: object = field(default_factory=lambda: GOOD)
    location: str = ""
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        key = request.headers["Authorization"]
        self.requests.append((request.path, key, request.headers["Accept"]))
        status, body = self.status, self.body
        if key != API_KEY:
            status, body = 403, {"name": NO_KEY, "message": NO_KEY, "url": request.path}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        if self.location:
            request.send_header("Location", self.location)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def access_problem(self, *, key: str = API_KEY, **data: Any) -> str | None:
        """What preflight says of this site; the key itself is never in it."""
        problem = misp_rest.access_problem(misp_rest.view(_target(self.url, key=key, **data)))
        assert key not in (problem or "")
        return problem

    def faults(self, *, key: str = API_KEY, path: str = "", **data: Any) -> list[str]:
        """What the deploy says of this site; the key itself is never in it."""
        faults = _faults(self.url + path, key=key, **data)
        assert key not in "".join(faults)
        return faults


def _target(url: str, *, key: str = API_KEY, **data: Any) -> Target:
    return target(
        {"misp_url": url, "misp_api_key": {"env": "KEY"}, **data},
        secrets=Secrets(api_key=Secret(key)),
    )


def _faults(url: str, **data: Any) -> list[str]:
    wanted = _target(url, **data)
    return misp_rest.faults(wanted, misp_rest.view(wanted))


Opener = Callable[..., Site]


@pytest.fixture
def open_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Opens sites, with or without TLS, and closes them after the test."""
    monkeypatch.setenv("NO_PROXY", "*")
    servers: list[http.server.ThreadingHTTPServer] = []

    def open_one(context: ssl.SSLContext | None = None) -> Site:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                opened.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        opened = Site(f"http{'s' if context else ''}://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return opened

    yield open_one
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(open_site: Opener) -> Site:
    """A site without TLS."""
    return open_site()


def test_a_view_with_the_wanted_counts_has_no_fault(site: Site) -> None:
    assert site.faults() == []
    assert site.requests == [("/servers/getWorkers", API_KEY, "application/json")]


@pytest.mark.parametrize("base", ["/", "/misp", "/misp/"])
def test_a_path_in_the_url_is_kept(site: Site, base: str) -> None:
    assert site.faults(path=base) == []
    assert site.requests[0][0] == f"{base.rstrip('/')}/servers/getWorkers"


def test_nothing_is_asked_without_url_and_key() -> None:
    assert misp_rest.view(target()) is None
    assert misp_rest.faults(target(), None) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"prio": {"ok": True, "workers": [WORKER] * 4, "jobCount": 0}},
            "over REST, MISP does not see the wanted workers as good: prio 4 of 5",
        ),
        (
            {"email": {"ok": False, "jobCount": 0}},
            "over REST, MISP does not see the wanted workers as good: email 0 of 5",
        ),
        (
            {"update": {"ok": True, "workers": [{**WORKER, "ok": False}]}},
            "over REST, MISP does not see the wanted workers as good: update 0 of 1",
        ),
        ({"supervisord_status": False}, "over REST, MISP cannot reach supervisord"),
    ],
)
def test_a_view_that_differs_is_a_fault(site: Site, change: dict[str, Any], fault: str) -> None:
    site.body = GOOD | change
    (found,) = site.faults()
    assert found.startswith(fault)


def test_the_view_of_the_old_backend_is_a_fault(site: Site) -> None:
    site.body = {key: value for key, value in GOOD.items() if key != "supervisord_status"}
    assert site.faults() == ["over REST, getWorkers speaks of the old backend"]


def test_the_counts_are_those_of_the_data_and_the_scheduler_is_not_counted(site: Site) -> None:
    site.body = GOOD | {"default": {"ok": True, "workers": [WORKER] * 2, "jobCount": 0}}
    assert site.faults(misp_workers={"default": 2}, misp_scheduler=True) == []


def test_a_wrong_key_is_told_in_misps_words(site: Site) -> None:
    assert site.faults(key="B" * 40) == [f"{site.url}/servers/getWorkers answers 403: {NO_KEY}"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"<html>An Internal Error Has Occurred.</html>", "500: Internal Server Error"),
        (502, {"error": "no upstream"}, "502: Bad Gateway"),
        (404, ["gone"], "404: ['gone']"),
        (405, {"message": "POST only"}, "405: POST only"),
        (204, b"", "204: No Content"),
    ],
)
def test_a_status_that_is_not_200_is_told_with_its_reason(
    site: Site, status: int, body: object, reason: str
) -> None:
    site.status, site.body = status, body
    assert site.faults() == [f"{site.url}/servers/getWorkers answers {reason}"]


def test_a_redirect_is_not_followed_so_that_the_key_stays(site: Site, open_site: Opener) -> None:
    other = open_site()
    site.status, site.location, site.body = 302, f"{other.url}/servers/getWorkers", b""
    assert site.faults() == [f"{site.url}/servers/getWorkers answers 302: Found"]
    assert (len(site.requests), other.requests) == (1, [])


def test_an_answer_that_is_no_json_is_a_fault(site: Site) -> None:
    site.body = b"<html>a login page</html>"
    assert site.faults() == [f"{site.url}/servers/getWorkers does not answer with JSON"]


def test_a_list_is_what_misp_answers_when_jobs_are_off(site: Site) -> None:
    site.body = ["Background jobs not enabled"]
    (fault,) = site.faults()
    assert fault.endswith("answers: ['Background jobs not enabled']")


def test_misps_words_are_no_command_of_ours(site: Site) -> None:
    site.body = ["run `id`"]
    assert site.faults() == [f"{site.url}/servers/getWorkers answers: ['run 'id'']"]
    site.status, site.body = 403, {"message": "run `id`"}
    assert site.faults() == [f"{site.url}/servers/getWorkers answers 403: run 'id'"]


@pytest.mark.parametrize("queue", ["text", {"workers": ["text"]}, {"workers": 5}])
def test_a_view_of_an_unknown_shape_is_a_fault(site: Site, queue: object) -> None:
    site.body = GOOD | {"default": queue}
    (fault,) = site.faults()
    assert fault.startswith(
        "over REST, MISP does not see the wanted workers as good: default 0 of 5"
    )


def test_access_is_no_problem_without_url_and_key() -> None:
    assert misp_rest.access_problem(None) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, GOOD),
        (200, {"controls": 1}),  # the old backend's view: access is all that is asked for
        (500, b"a class is missing"),
        (503, b"later"),
    ],
)
def test_an_unfinished_migration_is_no_problem_of_access(
    site: Site, status: int, body: object
) -> None:
    site.status, site.body = status, body
    assert site.access_problem() is None
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("key", "status", "body", "reason"),
    [
        ("B" * 40, 200, GOOD, f"answers 403: {NO_KEY}."),
        (API_KEY, 404, b"", "answers 404: Not Found."),
        (API_KEY, 301, b"", "answers 301: Moved Permanently."),
        (API_KEY, 200, b"<html>", "does not answer with JSON."),
        (
            API_KEY,
            200,
            ["Background jobs not enabled"],
            "answers: ['Background jobs not enabled'].",
        ),
    ],
)
def test_a_url_or_key_that_will_not_do_is_told_with_the_keys_to_check(
    site: Site, key: str, status: int, body: object, reason: str
) -> None:
    site.status, site.body = status, body
    problem = f"{site.url}/servers/getWorkers {reason} Check misp_url and misp_api_key"
    assert site.access_problem(key=key) == problem


def test_a_site_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as unused:  # bound and not listening: nobody else can take the port
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        (fault,) = _faults(url)
    assert fault.startswith(f"{url}/servers/getWorkers cannot be reached: ")


def test_a_site_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(misp_rest, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (fault,) = _faults(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "cannot be reached: " in fault
    assert "no answer within 0.1 s" in fault


def test_a_web_server_that_is_stopped_behind_a_port_is_no_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as closing:

        def close() -> None:
            closing.accept()[0].close()

        threading.Thread(target=close, daemon=True).start()
        (fault,) = _faults(f"https://127.0.0.1:{closing.getsockname()[1]}")
    assert fault.endswith("the connection is closed at once, so start the web server there")


def test_a_proxy_that_is_not_there_is_told_from_misp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    (fault,) = _faults("https://misp.invalid")
    assert fault.endswith("through the proxy that the environment names: Connection refused")


def test_a_port_without_tls_is_told(site: Site) -> None:
    (fault,) = _faults(site.url.replace("http:", "https:"))
    assert "does not speak TLS (" in fault


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (fault,) = _faults("https://misp.invalid")
    assert re.search(r"cannot be reached: [A-Z][a-z ]+$", fault)


def test_a_netrc_of_the_operator_does_not_take_the_keys_place(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert site.faults() == []


class Authority:
    """A throw-away CA: its certificate as a bundle, and server contexts signed by it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        certificate = self._signed(self._name, self._key, x509.BasicConstraints(True, None))
        self.bundle = directory / "ca.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder(self._name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        for extension in (*extensions, usage):
            builder = builder.add_extension(extension, critical=extension is usage)
        for identifier in (
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
        ):
            builder = builder.add_extension(identifier, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def context(self, address: str) -> ssl.SSLContext:
        """What a server needs to speak for an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._signed(name, key, names, x509.BasicConstraints(False, None))
        path = self._directory / f"{address}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA that nobody trusts but by its bundle."""
    return Authority(tmp_path)


def test_a_certificate_of_the_given_ca_is_trusted(open_site: Opener, authority: Authority) -> None:
    site = open_site(authority.context("127.0.0.1"))
    assert site.faults(misp_ca_bundle=str(authority.bundle)) == []
    assert len(site.requests) == 1


def test_a_certificate_of_an_unknown_ca_is_not_trusted_and_gets_no_key(
    open_site: Opener, authority: Authority
) -> None:
    site = open_site(authority.context("127.0.0.1"))
    (fault,) = site.faults()
    assert "shows a certificate that is not trusted (" in fault
    assert fault.endswith("): see misp_ca_bundle")
    assert site.requests == []


def test_a_certificate_for_another_name_is_not_trusted_and_gets_no_key(
    open_site: Opener, authority: Authority
) -> None:
    site = open_site(authority.context("127.0.0.2"))
    (fault,) = site.faults(misp_ca_bundle=str(authority.bundle))
    assert "shows a certificate that is not trusted (" in fault
    assert site.requests == []


def test_a_ca_bundle_that_is_missing_is_told(open_site: Opener, authority: Authority) -> None:
    site = open_site(authority.context("127.0.0.1"))
    (fault,) = site.faults(misp_ca_bundle="/no/such/bundle.pem")
    assert "cannot be reached: " in fault
    assert "/no/such/bundle.pem" in fault
    assert site.requests == []


@pytest.mark.parametrize(
    ("address", "bundle", "cause"),
    [
        ("127.0.0.1", False, "unable to get local issuer certificate"),
        ("127.0.0.2", True, "IP address mismatch"),
        (None, False, "Connection refused"),
    ],
)
def test_the_cause_of_a_failure_is_told(
    open_site: Opener, authority: Authority, address: str | None, bundle: bool, cause: str
) -> None:
    site = open_site(authority.context(address) if address else None)
    if address is None:
        site.url = "http://127.0.0.1:1"  # nothing listens there
    (fault,) = site.faults(misp_ca_bundle=str(authority.bundle) if bundle else None)
    assert cause in fault
