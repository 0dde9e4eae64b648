"""Hosts whose only way out is a proxy that asks for a user and a password (proxy_server.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import ExecWaitStrategy

from lab import proxy_server
from lab.directory import LabDirectory
from lab.hosts import LabHost
from lab.images import Image
from lab.topology import HostSpec

ALIAS = "proxy"
USER = "misp"
NAMES = ("packages.lab", "packagist.lab")
CA = "/etc/ssl/misp/lab-ca.pem"
PACKAGES = "/usr/share/misp-stub/packages"
SCRIPT = "/usr/local/bin/lab-proxy"
# What a deploy lets Composer bring; the old backend's packages stay on the host.
_FETCHED = ("guzzlehttp-*", "lstrojny-*", "php-http-*", "supervisorphp-*")


class LabProxy:
    """The proxy of a lab, and what an operator has to know to use it.

    Attributes:
        url_file: the file with its URL, user and password in it.
    """

    def __init__(self, name: str, directory: LabDirectory) -> None:
        self.name = name
        self._directory = directory
        secret = directory.make_secret("proxy_password")[0]
        self._password = f"{secret}@:/%"  # a URL has these encoded only
        self.url_file = directory.write("proxy_url", url(self._password))
        self._container: DockerContainer | None = None

    def create(self, image: Image, network: Network, labels: Mapping[str, str]) -> DockerContainer:
        """Return its container, to be started; the image is that of one of the hosts."""
        container = DockerContainer(
            image.tag,
            name=self.name,
            network=network,
            network_aliases=[ALIAS],
            labels=dict(labels),
            extra_hosts=dict.fromkeys(NAMES, "127.0.0.1"),
        )
        certificate = self._directory.certificate("packagist.lab")
        for path, content, mode in (
            (SCRIPT, Path(proxy_server.__file__).read_text(), 0o755),
            (str(proxy_server.ACCOUNT), f"{USER}:{self._password}", 0o600),
            ("/etc/ssl/misp/cert.pem", certificate.certificate, 0o644),
            ("/etc/ssl/misp/key.pem", certificate.key, 0o600),
        ):
            container.with_copy_into_container(content.encode(), path, mode)
        container.with_command(["python3", SCRIPT])
        listens = ExecWaitStrategy(["sh", "-c", f"ss -Hltn | grep -q :{proxy_server.PORT}"])
        container.waiting_for(listens.with_poll_interval(0.1).with_startup_timeout(30))
        self._container = container
        return container

    def log(self) -> list[str]:
        """List its requests so far: status, method, target and the client's name."""
        assert self._container is not None  # noqa: S101 # it was started
        return self._container.get_logs()[0].decode().splitlines()

    def confine(self, host: LabHost) -> None:
        """Take every other way out from a host, and have its packages come from outside."""
        host.put(CA, self._directory.ca_bundle.read_text())
        _use_packagist(host)
        if host.family == "rhel":
            _use_repositories(host)
        host.lose_route()
        # A name that nobody can look up any more is to be known for it at once.
        host.exec("echo 'options timeout:1 attempts:1' >>/etc/resolv.conf")


def url(password: str) -> str:
    """Return the proxy's URL for that password."""
    return f"http://{USER}:{quote(password, safe='')}@{ALIAS}:{proxy_server.PORT}"


def image_for(specs: Sequence[HostSpec], images: Mapping[str, Image]) -> Image | None:
    """Return the image that a proxy for SPECS runs on, if one of them needs a proxy."""
    confined = [spec for spec in specs if spec.way_out == "proxy"]
    # One of the RHEL family has RPM repositories to serve.
    confined.sort(key=lambda spec: spec.family != "rhel")
    return images[confined[0].name] if confined else None


def _use_packagist(host: LabHost) -> None:
    user = host.spec.web_user
    home = host.exec(f"getent passwd {user} | cut -d: -f6").stdout.strip()
    path = f"{home}/.composer/config.json"
    config = json.loads(host.read(path))
    config["repositories"].insert(1, {"type": "composer", "url": f"https://{NAMES[1]}"})
    config["config"] = {"cafile": CA}
    host.put(path, json.dumps(config), owner=f"{user}:{user}")
    host.exec(f"cd {PACKAGES} && rm -r {' '.join(_FETCHED)}")
    host.exec(f"rm -rf {home}/.composer/cache/*")


def _use_repositories(host: LabHost) -> None:
    """EPEL is enabled before, as on most hosts behind a proxy, so that supervisor is fetched."""
    if host.exec("test -d /srv/repos", check=False).exit_code:
        return  # a real distribution, with repositories of its own
    host.exec("rpm --install /srv/repos/base/epel-release-*.rpm")
    host.exec(f"sed -i 's,file:///srv/,http://{NAMES[0]}/,' /etc/yum.repos.d/*.repo")
    host.exec("rm -r /srv/repos; rm -rf /var/cache/dnf/*")
