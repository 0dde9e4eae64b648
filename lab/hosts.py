"""A running lab host, seen from outside: what a test or a rehearsal can ask it and do to it."""

from __future__ import annotations

import contextlib
import io
import shlex
import socket
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.utils.socket import consume_socket_output, demux_adaptor, frames_iter
from testcontainers.core.container import DockerContainer

from lab.bases import Family
from lab.errors import LabError
from lab.privileges import SystemdUp
from lab.topology import HostSpec
from lab.waiting import wait_for

READY_LIMIT = 60.0


@dataclass(frozen=True)
class Result:
    """The result of a command in a host."""

    exit_code: int
    stdout: str
    stderr: str


class LabHost:
    """One MISP host of a lab.

    Commands go through the engine, not through SSH: so the lab looks at a host by other means than
    the deploy does.
    """

    def __init__(
        self,
        spec: HostSpec,
        container: DockerContainer,
        data: dict[str, Any],
        origin: str,
    ) -> None:
        self.spec = spec
        self.data = data
        self.origin = origin
        self._container = container

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self.spec.name

    @property
    def family(self) -> Family:
        """The host's distribution family."""
        return self.spec.family

    @property
    def ssh_port(self) -> int:
        """The loopback port of the host's sshd."""
        return int(self.data["ssh_port"])

    @property
    def https_url(self) -> str:
        """The address of the host's MISP."""
        return str(self.data["misp_url"])

    @property
    def api_key_file(self) -> Path:
        """The file with an API key of this MISP."""
        return Path(self.data["misp_api_key"]["file"])

    @property
    def ca_bundle(self) -> Path:
        """The authority that signed the host's certificate."""
        return Path(self.data["misp_ca_bundle"])

    @property
    def ssh_command(self) -> str:
        """The shell command that logs in as the operator would."""
        return ssh_command(self.data)

    def exec(
        self,
        cmd: str | Sequence[str],
        user: str | None = None,
        check: bool = True,
        input: str | None = None,  # as subprocess.run calls it
        timeout: float = 60,
    ) -> Result:
        """Run a command in the host: a string by ``sh``, a sequence as it is.

        Args:
            user: the account to run as, root by default.
            check: fail on a non-zero exit code.
            input: text for the command's standard input.
            timeout: seconds after which the command is killed (exit code 124).

        Raises:
            LabError: with the command's output, when CHECK is set and it failed.
        """
        argv = ["sh", "-c", cmd] if isinstance(cmd, str) else list(cmd)
        argv = ["timeout", "--kill-after=5", str(timeout), *argv]
        with self._input_file(input, user) as path:
            if path:
                argv = ["sh", "-c", 'input=$1; shift; exec "$@" <"$input"', "sh", path, *argv]
            result = self._run(argv, user)
        if check and result.exit_code:
            raise LabError(
                f"{self.name}: {shlex.join(argv[3:])[:300]} ended with exit code "
                f"{result.exit_code}\n{result.stdout[-2000:]}{result.stderr[-2000:]}".rstrip()
            )
        return result

    def _run(self, argv: list[str], user: str | None) -> Result:
        container = self._container.get_wrapped_container()
        api = container.client.api
        # docker-py reads past its HTTP client's buffer, where the first output may lie already and
        # is lost, or leaves half a frame. So the command waits until the answer's head was read.
        waiting = ["sh", "-c", 'read -r go; exec "$@" </dev/null', "sh", *argv]
        started = api.exec_create(container.id, waiting, stdin=True, user=user or "")["Id"]
        with contextlib.closing(api.exec_start(started, socket=True)) as stream:
            getattr(stream, "_sock", stream).sendall(b"go\n")
            frames = (demux_adaptor(*frame) for frame in frames_iter(stream, tty=False))
            stdout, stderr = (part or b"" for part in consume_socket_output(frames, demux=True))
        return Result(
            int(api.exec_inspect(started)["ExitCode"]),
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )

    @contextlib.contextmanager
    def _input_file(self, text: str | None, user: str | None) -> Iterator[str | None]:
        if text is None:
            yield None
            return
        path = f"/var/tmp/.lab-{uuid.uuid4().hex}"  # noqa: S108 # a random name, not on a tmpfs
        self._upload(path, text, 0o600)
        if user:
            self._run(["chown", user.split(":")[0], path], None)
        try:
            yield path
        finally:
            self._run(["rm", "-f", path], None)

    def _upload(self, path: str, text: str, mode: int) -> None:
        content = text.encode()
        info = tarfile.TarInfo(Path(path).name)
        info.size, info.mode, info.mtime = len(content), mode, int(time.time())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(info, io.BytesIO(content))
        target = self._container.get_wrapped_container()
        target.put_archive(str(Path(path).parent), buffer.getvalue())

    def put(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file in the host, also where a tmpfs is mounted."""
        user, _, group = owner.partition(":")
        command = ["install", "-o", user, "-g", group or user, "-m", f"{mode:o}"]
        self.exec([*command, "/dev/stdin", path], input=text)

    def read(self, path: str) -> str:
        """Return the content of a file in the host."""
        return self.exec(["cat", path]).stdout

    def cpu_seconds(self) -> float:
        """Return the processor time of all the host's processes since it was started."""
        container = self._container.get_wrapped_container()
        usage = container.client.api.stats(container.id, stream=False, one_shot=True)
        return int(usage["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def restart(self) -> None:
        """Restart the host as a reboot would, and wait until it is back."""
        self._container.get_wrapped_container().restart(timeout=30)
        self.wait_until_ready()

    def pause(self) -> None:
        """Freeze every process of the host.

        Raises:
            LabError: when the engine cannot.
        """
        wait_for(self._is_frozen, 30, f"{self.name}: the engine cannot freeze it")

    def _is_frozen(self) -> bool:
        try:
            self._container.get_wrapped_container().pause()
        except APIError as error:
            # runc gives up after two seconds of a machine that is busy, and undoes what it began.
            if "unable to freeze" not in str(error):
                raise
            return False
        return True

    def unpause(self) -> None:
        """Let a paused host go on."""
        self._container.get_wrapped_container().unpause()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the host frozen during a block."""
        self.pause()
        try:
            yield
        finally:
            self.unpause()

    def stop(self) -> None:
        """Switch the host off; ``start`` brings it back."""
        self._container.get_wrapped_container().stop(timeout=30)

    def lose_power(self) -> None:
        """End everything in the host at once; ``start`` brings it back."""
        self._container.get_wrapped_container().kill(signal="SIGKILL")

    def start(self) -> None:
        """Switch the host on, and wait until it is up."""
        self._container.get_wrapped_container().start()
        self.wait_until_ready()

    def lose_route(self) -> None:
        """Leave the host no way out of the lab's own network, until it is restarted.

        Raises:
            LabError: when it has none already, or it has not been given the right to do this.
        """
        self.exec(["ip", "route", "del", "default"])

    def drop_logins(self) -> None:
        """Kill sshd's processes of every login: what was begun by them is told nothing of it."""
        self.exec(["pkill", "-KILL", "-f", f"^sshd: {self.data['ssh_user']}"])

    def wait_until_ready(self) -> None:
        """Wait until systemd is up and sshd greets.

        Raises:
            LabError: when that takes too long.
        """
        try:
            SystemdUp().wait_until_ready(self._container)
        except TimeoutError as error:
            raise LabError(f"{self.name}: {error}") from error
        wait_for(
            lambda: _ssh_greets(self.ssh_port),
            READY_LIMIT,
            f"{self.name}: sshd on 127.0.0.1:{self.ssh_port}",
        )


def ssh_command(data: Mapping[str, Any]) -> str:
    """Return the shell command that logs in to the host whose inventory data this is."""
    return shlex.join(ssh_words(data))


def ssh_words(data: Mapping[str, Any]) -> list[str]:
    """Return the words of that command."""
    return [
        "ssh",
        *("-p", str(data["ssh_port"])),
        *("-i", str(data["ssh_key"])),
        *("-o", f"UserKnownHostsFile={data['ssh_known_hosts_file']}"),
        *("-o", "IdentitiesOnly=yes"),
        f"{data['ssh_user']}@{data['ssh_hostname']}",
    ]


def _ssh_greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
