"""A proxy that asks for user and password, and two servers that are reached through it only.

It runs in a container with a lab host's image, on Python's standard library; each request is one
line of its output. /etc/hosts has to name the container itself packages.lab and packagist.lab:

    http://packages.lab/repos    the RPM repositories of an el-like host
    https://packagist.lab        the stub's packages, in the place of Packagist
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import shutil
import socket
import ssl
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PORT = 3128
ACCOUNT = Path("/etc/lab-proxy-account")  # USER:PASSWORD
PACKAGES = Path("/usr/share/misp-stub/packages")
PACKAGIST = Path("/srv/packagist")
LIMIT = 60  # seconds of silence
HOP_BY_HOP = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")


class Proxy(BaseHTTPRequestHandler):
    """Lets through who knows the account."""

    protocol_version = "HTTP/1.1"
    allowed = ""

    def do_GET(self) -> None:
        """Fetch a URL for the client."""
        if not self._is_let_in():
            return
        url = urlsplit(self.path)
        there = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=LIMIT)
        path = url._replace(scheme="", netloc="").geturl() or "/"
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in HOP_BY_HOP and not name.lower().startswith("proxy-")
        }
        try:
            there.request(self.command, path, headers=headers)
            self._pass_on(there.getresponse())
        except (OSError, http.client.HTTPException) as error:
            self.close_connection = True
            self.send_error(502, type(error).__name__)
        finally:
            there.close()

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self.do_GET()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self._note(answer.status)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        shutil.copyfileobj(answer, self.wfile)

    def do_CONNECT(self) -> None:
        """Connect the client with a server."""
        if not self._is_let_in():
            return
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        try:
            there = socket.create_connection((host, int(port)), timeout=LIMIT)
        except OSError as error:
            self.send_error(502, type(error).__name__)
            return
        with there:
            self._note(200)
            self.send_response_only(200, "Connection established")
            self.end_headers()
            self._join(there)

    def _join(self, there: socket.socket) -> None:
        others = {self.connection: there, there: self.connection}
        while ready := select.select(list(others), [], [], LIMIT)[0]:
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                others[one].sendall(data)

    def _is_let_in(self) -> bool:
        if self.headers.get("Proxy-Authorization") == self.allowed:
            return True
        self._note(407)
        self.close_connection = True
        self.send_response_only(407, "Proxy Authentication Required")
        self.send_header("Proxy-Authenticate", 'Basic realm="lab"')
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        return False

    def _note(self, status: int) -> None:
        print(status, self.command, self.path, self.headers.get("User-Agent", ""), flush=True)

    def log_message(self, *_: object) -> None:
        """Say nothing: `_note` does."""


def fill_packagist() -> None:
    """Make Composer's repository of the stub's packages."""
    PACKAGIST.mkdir()
    packages: dict[str, dict[str, object]] = {}
    for folder in sorted(PACKAGES.iterdir()):
        package = json.loads((folder / "composer.json").read_text())
        shutil.make_archive(str(PACKAGIST / folder.name), "zip", folder)
        package["dist"] = {"type": "zip", "url": f"https://packagist.lab/{folder.name}.zip"}
        packages.setdefault(package["name"], {})[package["version"]] = package
    (PACKAGIST / "packages.json").write_text(json.dumps({"packages": packages}))


def serve(server: ThreadingHTTPServer) -> None:
    """Serve in a thread of its own."""
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Serve until the container ends."""
    fill_packagist()
    files = partial(SimpleHTTPRequestHandler, directory="/srv")
    serve(ThreadingHTTPServer(("127.0.0.1", 80), files))
    packagist = ThreadingHTTPServer(
        ("127.0.0.1", 443), partial(SimpleHTTPRequestHandler, directory=str(PACKAGIST))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/etc/ssl/misp/cert.pem", "/etc/ssl/misp/key.pem")
    packagist.socket = context.wrap_socket(packagist.socket, server_side=True)
    serve(packagist)
    account = base64.b64encode(ACCOUNT.read_bytes()).decode()
    Proxy.allowed = f"Basic {account}"
    ThreadingHTTPServer(("0.0.0.0", PORT), Proxy).serve_forever()  # noqa: S104 - the lab's network


if __name__ == "__main__":
    main()
