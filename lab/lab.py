"""Starts and destroys labs: networks, the shared Redis, and MISP hosts as containers."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from docker.errors import APIError, ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import ExecWaitStrategy

from lab import directory, kept, labs, misp, owner, privileges, proxy
from lab.console import step
from lab.credentials import SshKey
from lab.directory import LabDirectory
from lab.engine import LABEL, OWNER_LABEL, Engine, require
from lab.errors import LabError
from lab.hosts import LabHost
from lab.images import Image, Images
from lab.proxy import LabProxy
from lab.topology import HostSpec

REDIS_ALIAS = "redis"
HTTPS_PORT = 443
SSH_PORT = 22
PORT_TRIES = 5


class Lab:
    """A running lab. Use it as a context manager; it is destroyed at the end unless kept.

    Example:
        with Lab.start([HostSpec("misp-debian", "debian-12")]) as lab:
            lab["misp-debian"].exec("systemctl is-active misp-workers")
    """

    def __init__(self, engine: Engine, keep: bool) -> None:
        self.engine = engine
        self.id = f"lab-{secrets.token_hex(3)}"
        self.keep = keep
        self.directory = LabDirectory(self.id)
        self.directory.write(labs.ENGINE_FILE, engine.url)
        self.directory.write(labs.OWNER_FILE, self._labels()[OWNER_LABEL])
        self.hosts: dict[str, LabHost] = {}
        self.printed: list[str] = []  # by every pyinfra that ran on this lab
        self._containers: list[DockerContainer] = []
        self._network: Network | None = None
        self._proxy: LabProxy | None = None

    @classmethod
    def start(cls, specs: Iterable[HostSpec], keep: bool = False) -> Lab:
        """Build what SPECS need, start it, and return when every host is ready.

        Args:
            specs: the hosts; names must differ.
            keep: leave everything running at the end (``./noxw -s lab -- destroy ID`` removes it).

        Raises:
            LabError: no engine, no base, or a host that does not come up.
        """
        wanted = list(specs)
        _check_names(wanted)
        engine = require()
        labs.sweep(engine)
        _configure_ryuk(engine, keep)
        lab = cls(engine, keep)
        try:
            lab._bring_up(wanted)
        except BaseException:
            lab.destroy()
            raise
        return lab

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Destroy the lab or, when it is to be kept, say how to use it."""
        if self.keep:
            kept.explain(self.id)
        else:
            self.destroy()

    def __getitem__(self, name: str) -> LabHost:
        return self.hosts[name]

    def __iter__(self) -> Iterator[LabHost]:
        return iter(self.hosts.values())

    @property
    def environment(self) -> dict[str, str]:
        """The environment under which ``inventories/lab.py`` means this lab."""
        return directory.environment(self.id)

    @property
    def secrets(self) -> list[str]:
        """List every secret that the lab gave out; no output may contain one."""
        return self.directory.secrets

    def redis(self) -> DockerContainer:
        """Return the shared Redis's container.

        Raises:
            LabError: when no host of this lab uses it.
        """
        for container in self._containers:
            if container._name == f"{self.id}-{REDIS_ALIAS}":
                return container
        raise LabError(f"{self.id} has no shared Redis.", 'give a host redis="shared".')

    def proxy(self) -> LabProxy:
        """Return the proxy.

        Raises:
            LabError: when no host of this lab needs it.
        """
        if self._proxy is None:
            raise LabError(f"{self.id} has no proxy.", 'give a host way_out="proxy".')
        return self._proxy

    def destroy(self) -> None:
        """Remove the lab's containers, networks and directory."""
        with step(f"destroying {self.id}"):
            labs.remove(self.engine, self.id)
        directory.remove(self.directory.path)

    # --- starting ---------------------------------------------------------------------------

    def _bring_up(self, specs: list[HostSpec]) -> None:
        images = Images(self.engine).prepare(specs)
        first = images[specs[0].name]
        chosen = privileges.choose(self.engine, first.tag)
        self._network = Network(docker_network_kw={"labels": self._labels()})
        self._network.create()
        if any(spec.redis == "shared" for spec in specs):
            self._start_redis(first)
        if image := proxy.image_for(specs, images):
            self._start_proxy(image)
        with ThreadPoolExecutor(max_workers=len(specs)) as pool:
            started = pool.map(
                lambda spec: self._start_host(spec, images[spec.name], chosen), specs
            )
            self.hosts = {host.name: host for host in started}
        self.directory.write_inventory(
            [{"name": host.name, "data": host.data} for host in self.hosts.values()]
        )

    def _labels(self) -> dict[str, str]:
        return {LABEL: self.id, OWNER_LABEL: owner.KEPT if self.keep else owner.current()}

    def _start_redis(self, image: Image) -> None:
        configuration = (
            f"bind 0.0.0.0\nport 6379\nappendonly yes\ndir /var/lib/redis\n"
            f"requirepass {self.directory.redis_password}\n"
        )
        container = DockerContainer(
            image.tag,
            name=f"{self.id}-{REDIS_ALIAS}",
            network=self._network,
            network_aliases=[REDIS_ALIAS],
            labels=self._labels(),
            stop_signal="SIGTERM",  # the image's own signal is systemd's
        )
        container.with_command(["redis-server", "/etc/redis/lab.conf"])
        container.with_copy_into_container(configuration.encode(), "/etc/redis/lab.conf", 0o600)
        # Redis answers -NOAUTH to strangers as soon as it serves.
        answers = ExecWaitStrategy(["sh", "-c", "redis-cli ping | grep -q -e NOAUTH -e PONG"])
        container.waiting_for(answers.with_poll_interval(0.1).with_startup_timeout(30))
        with step(f"shared Redis ({self.id}-{REDIS_ALIAS})"):
            self._containers.append(container)
            container.start()

    def _start_proxy(self, image: Image) -> None:
        assert self._network is not None  # noqa: S101 # it was made first
        self._proxy = LabProxy(f"{self.id}-{proxy.ALIAS}", self.directory)
        with step(f"proxy ({self._proxy.name})"):
            container = self._proxy.create(image, self._network, self._labels())
            self._containers.append(container)
            container.start()

    def _start_host(self, spec: HostSpec, image: Image, chosen: privileges.Privileges) -> LabHost:
        with step(f"host {spec.name} on {image.origin}") as detail:
            host = self._boot(spec, image, chosen)
            detail("MISP and its old workers")
            misp.set_up(host, self.directory)
            if spec.way_out == "proxy":
                self.proxy().confine(host)
        return host

    def _boot(self, spec: HostSpec, image: Image, chosen: privileges.Privileges) -> LabHost:
        host_key = SshKey.generate()
        api_key_file = self.directory.make_secret(f"{spec.name}/api_key")[1]
        for attempt in range(1, PORT_TRIES + 1):
            ssh_port, https_port = _free_ports(2)
            container = self._container(spec, image, chosen, host_key)
            # Fixed ports, because an engine gives a restarted container others than before.
            for inside, outside in ((SSH_PORT, ssh_port), (HTTPS_PORT, https_port)):
                # docker-py takes an address with the port; testcontainers' type does not say so.
                container.ports[f"{inside}/tcp"] = ("127.0.0.1", outside)  # type: ignore[assignment]
            self._containers.append(container)
            try:
                container.start()
                break
            except APIError as error:
                container.stop()
                if attempt == PORT_TRIES or "port is already allocated" not in str(error):
                    raise LabError(f"{spec.name}: the container does not start: {error}") from error
            except TimeoutError as error:
                privileges.forget()
                raise LabError(
                    f"{spec.name}: systemd does not start with {chosen.name!r}: {error}",
                    "run again: another way to run systemd is tried then.",
                ) from error
        self.directory.trust_host(ssh_port, host_key.public)
        data = self._data(spec, ssh_port, https_port, api_key_file)
        host = LabHost(spec, container, data, image.origin)
        host.wait_until_ready()
        return host

    def _container(
        self, spec: HostSpec, image: Image, chosen: privileges.Privileges, host_key: SshKey
    ) -> DockerContainer:
        container = DockerContainer(
            image.tag,
            name=f"{self.id}-{spec.name}",
            network=self._network,
            network_aliases=[spec.name],
        )
        capabilities = ["NET_ADMIN"] if spec.way_out == "proxy" else []  # to lose its route
        labels = self._labels()
        chosen.apply(container, self.engine, capabilities, labels=labels, hostname=spec.name)
        certificate = self.directory.certificate(spec.name)
        for path, content, mode in (
            ("/etc/ssh/ssh_host_ed25519_key", host_key.private, 0o600),
            ("/etc/ssh/ssh_host_ed25519_key.pub", host_key.public, 0o644),
            ("/home/deploy/.ssh/authorized_keys", self.directory.ssh_key.public, 0o644),
            ("/etc/ssl/misp/cert.pem", certificate.certificate, 0o644),
            ("/etc/ssl/misp/key.pem", certificate.key, 0o600),
        ):
            container.with_copy_into_container(content.encode(), path, mode)
        return container.waiting_for(privileges.SystemdUp())

    def _data(
        self, spec: HostSpec, ssh_port: int, https_port: int, api_key_file: Path
    ) -> dict[str, Any]:
        data: dict[str, Any] = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": ssh_port,
            "ssh_user": "deploy",
            "ssh_key": str(self.directory.ssh_key_file),
            "ssh_known_hosts_file": str(self.directory.known_hosts),
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
            "ssh_connect_retries": 3,
            "_sudo": True,
            "misp_url": f"https://127.0.0.1:{https_port}",
            "misp_api_key": {"file": str(api_key_file)},
            "misp_ca_bundle": str(self.directory.ca_bundle),
        }
        return {**data, **misp.settings(spec, self.directory), **spec.data}


def _check_names(specs: Sequence[HostSpec]) -> None:
    names = [spec.name for spec in specs]
    if not names:
        raise LabError("A lab needs at least one host.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LabError(f"Two hosts are called {', '.join(twice)}.", "give each its own name.")


def _free_ports(count: int) -> list[int]:
    """Return free loopback ports; all are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _configure_ryuk(engine: Engine, keep: bool) -> None:
    """Use testcontainers' reaper only where its image is, and never on a lab that is to stay."""
    with contextlib.closing(engine.client()) as client:
        try:
            client.images.get(testcontainers_config.ryuk_image)
        except ImageNotFound:
            testcontainers_config.ryuk_disabled = True
        else:
            testcontainers_config.ryuk_disabled = keep
