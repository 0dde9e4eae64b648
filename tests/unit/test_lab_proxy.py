"""The lab's proxy: who is let in, what comes through, and which image it runs on."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab import proxy
from lab.images import Image
from lab.proxy_server import Proxy
from lab.topology import HostSpec

ACCOUNT = {"Proxy-Authorization": "Basic " + base64.b64encode(b"misp:a:@/%").decode()}


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Those of the proxy, and of a server with a file that is called `here`."""
    (tmp_path / "here").write_text("found")
    monkeypatch.setattr(Proxy, "allowed", ACCOUNT["Proxy-Authorization"])
    monkeypatch.setattr(BaseHTTPRequestHandler, "log_message", lambda *_: None)
    files = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), one) for one in (Proxy, files)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield servers[0].server_port, servers[1].server_port
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("headers", [{}, {"Proxy-Authorization": "Basic bWlzcDp3cm9uZw=="}])
@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_who_does_not_know_the_account_is_not_let_in(
    ports: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
    headers: dict[str, str],
    method: str,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    target = f"http://127.0.0.1:{ports[1]}/here" if method == "GET" else f"127.0.0.1:{ports[1]}"
    connection.request(method, target, headers={**headers, "User-Agent": "test/1"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (407, b"")
    connection.close()
    assert capsys.readouterr().out == f"407 {method} {target} test/1\n"


def test_several_requests_of_a_connection_come_through(ports: tuple[int, int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    for path, status in (("here", 200), ("gone", 404), ("here", 200)):
        connection.request("GET", f"http://127.0.0.1:{ports[1]}/{path}", headers=ACCOUNT)
        answer = connection.getresponse()
        assert answer.status == status
        assert (answer.read() == b"found") is (status == 200)
    connection.close()


def test_a_tunnel_is_made(ports: tuple[int, int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    connection.set_tunnel("127.0.0.1", ports[1], headers=ACCOUNT)
    connection.request("GET", "/here")
    assert connection.getresponse().read() == b"found"
    connection.close()


def test_a_server_that_is_not_there_is_the_proxys_answer(ports: tuple[int, int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    connection.request("GET", "http://127.0.0.1:1/", headers=ACCOUNT)
    assert connection.getresponse().status == 502
    connection.close()


def test_the_url_has_the_password_encoded() -> None:
    assert proxy.url("a:@/%") == "http://misp:a%3A%40%2F%25@proxy:3128"


def test_the_image_is_one_with_repositories_where_a_host_needs_them() -> None:
    specs = [
        HostSpec("a", "el-like"),
        HostSpec("b", "debian-12", way_out="proxy"),
        HostSpec("c", "el-like", way_out="proxy"),
    ]
    images = {spec.name: Image(spec.name, "id", "origin") for spec in specs}
    assert proxy.image_for(specs, images) == images["c"]
    assert proxy.image_for(specs[:2], images) == images["b"]
    assert proxy.image_for(specs[:1], images) is None
