"""Supervisord's service, as systemd has it."""

from tasks.host import programs, systemd
from tasks.host.errors import HostError

_START = 120.0  # seconds; a stop waits for every program


class ServiceError(HostError):
    """Systemd does not do what supervisord's service needs."""


class Daemon:
    """The service; `unit` is its name in full."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    @property
    def drop_in(self) -> str:
        """The file with what the migration adds to the unit."""
        return "%s/%s.d/misp-workers.conf" % (systemd.OWN, self.unit)

    def reload_units(self) -> None:
        """Have systemd know what was changed in its files."""
        systemd.reload_daemon()

    def main_pid(self) -> int:
        """PID of the supervisord that the service runs, 0 while it does not."""
        return systemd.main_pid(self.unit)

    def is_enabled(self) -> bool:
        """Whether it starts at boot."""
        return systemd.show([self.unit])[0].enabled.startswith("enabled")

    def enable(self) -> None:
        """Have it start at boot.

        Raises:
            ServiceError: systemd refuses, as for a masked unit.
        """
        # Not the init script that Debian has beside the unit: systemd does not run it.
        self._run("enable", "--no-reload", skips_sysv=True)

    def disable(self) -> None:
        """Have it not start at boot."""
        self._run("disable", "--no-reload", skips_sysv=True)

    def start(self) -> None:
        """Start it; failures of before do not count."""
        programs.run("systemctl", "reset-failed", self.unit)
        self._run("start")

    def restart(self) -> None:
        """Stop it with all its programs and start it anew."""
        self._run("restart")

    def stop(self) -> None:
        """Stop it with all its programs."""
        self._run("stop")

    def journal(self) -> str:
        """The end of its journal, for an error's text."""
        try:
            words = ("-u", self.unit, "-n", "5", "--no-pager", "-o", "cat")
            return " / ".join(programs.run("journalctl", *words, timeout=10.0).lines)
        except HostError:
            return ""

    def _run(self, *words: str, skips_sysv: bool = False) -> None:
        environment = {"SYSTEMCTL_SKIP_SYSV": "1"} if skips_sysv else None
        words += (self.unit,)
        done = programs.run("systemctl", *words, timeout=_START, environment=environment)
        if done.status != 0:
            raise ServiceError(
                "systemctl %s: %s. See systemctl status %s"
                % (" ".join(words), done.complaint or "status %d" % done.status, self.unit)
            )
