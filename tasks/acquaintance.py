"""What a run is about: the operator's data and the host's answers, joined to a target."""

from __future__ import annotations

import dataclasses

from pyinfra.context import host

from tasks import connection, facts, parse
from tasks.parse import Answer
from tasks.platforms import Platform, UnsupportedPlatformError, detect, parse_os_release
from tasks.settings import Secrets, Settings, SettingsError, from_host_data, resolve_secrets
from tasks.target import Target

ROOT_IS_NO_WEB_USER = (
    "config.php belongs to root, as after a cake command that root ran, or misp_web_user is root. "
    "MISP runs as its web user alone: give app/Config and app/tmp back to that one (chown)"
)


class RefusedError(Exception):
    """This host is not fit; `problems` has one sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems


def asked_target() -> Target:
    """The host as the operator's data has it, before it was asked about itself."""
    settings, secrets = _operator_data()
    connection.send_at_once(host)
    return Target(
        settings=settings,
        secrets=secrets,
        platform=_platform(),
        web_user=settings.misp_web_user or "",
        rpc_port=settings.supervisor_port,
        rpc_user=settings.supervisor_user,
    )


def _operator_data() -> tuple[Settings, Secrets]:
    try:
        settings = from_host_data(host.data.dict())
        return settings, resolve_secrets(settings)
    except SettingsError as error:
        raise RefusedError(error.problems) from None


def _platform() -> Platform:
    try:
        identity = host.get_fact(facts.Identity, _ignore_errors=True)
    except EOFError:  # pyinfra asks for sudo's password, and there is no terminal
        identity = None
    if identity is None:
        raise RefusedError(
            [
                "no command can be run as root here: the lines above are the host's own words. "
                "Give the login user sudo (or use root), set _sudo = True in the inventory, and "
                "use --same-sudo-password or --use-sudo-password if sudo asks for one"
            ]
        )
    if identity.one("user") != "0":
        raise RefusedError(["not logged in as root: set _sudo = True in the inventory"])
    try:
        return detect(parse_os_release(identity.all("os-release")))
    except UnsupportedPlatformError as error:
        raise RefusedError([str(error)]) from None


def with_answers(asked: Target, answer: Answer) -> Target:
    """The target with what the host says of itself."""
    web_user, web_group = [*answer.words("web_user"), "", ""][:2]
    stored = answer.record("settings")
    changes: dict[str, object] = {
        "web_user": web_user,
        "web_group": web_group,
        "composer": answer.one("composer"),
        "version": parse.misp_version(answer.one("version")),
        "redis": stored.get("wanted") or {},
        "database_mode": stored.get("database_mode", False),
        "is_on": (stored.get("block") or {}).get("enabled") is True,
    }
    if asked.settings.supervisor_transport == "unix":
        # Before the package is there, its file is not either; the RPC step needs the real path.
        changes["rpc_socket"] = answer.one("socket") or asked.platform.supervisor_socket
    elif elsewhere := answer.words("inet_elsewhere"):
        changes["rpc_elsewhere"] = elsewhere[0]
        changes["rpc_port"] = _port(elsewhere)
        changes["rpc_user"] = elsewhere[2] if len(elsewhere) > 2 else ""
    changes["selinux"], changes["selinux_reason"] = _selinux(asked.settings, answer.one("mode"))
    return dataclasses.replace(asked, **changes)  # type: ignore[arg-type]


def _port(elsewhere: list[str]) -> int:
    text = elsewhere[1].rpartition(":")[2] if len(elsewhere) > 1 else ""
    return int(text) if text.isdigit() else 0


def _selinux(settings: Settings, mode: str) -> tuple[str, str]:
    if settings.selinux == "off":
        return "none", "selinux is off in the inventory"
    if settings.selinux == "build":
        return "build", f"built but not loaded, as the inventory says (SELinux here: {mode})"
    if mode in ("Enforcing", "Permissive"):
        return "load", f"SELinux is {mode}"
    return "none", f"SELinux is {mode.lower() or 'absent'} on this host"
