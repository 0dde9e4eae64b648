"""The operator's data, checked once, before anything else is done to a host.

Keys, defaults and meanings are here and nowhere else, and ranges in setting_types.py: the tables of
docs/settings.md are made of them. Defaults are the migration guide's; `None` means "keep what MISP
has, else what MISP itself uses, else the guide's value".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tasks import setting_keys
from tasks.errors import RefusedError
from tasks.host import proxy
from tasks.secret import Secret, SecretError, SecretRef, check_supervisor_password, proxy_url
from tasks.setting_types import (
    DEFAULT_WORKERS,
    Host,
    Lifetime,
    LocalPath,
    Loopback,
    Means,
    Name,
    Number,
    PlainPath,
    Port,
    Proxy,
    RpcUser,
    Seconds,
    UnitName,
    Url,
    UserName,
    Workers,
    sentence,
)


class Settings(BaseModel):
    """One host's data after checking; docs/settings.md has the meaning of each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # MISP
    misp_root: Annotated[PlainPath, Means("Where MISP is installed.")] = "/var/www/MISP"
    misp_web_user: Annotated[
        UserName | None,
        Means(
            "May not be root, the login user or in a privileged group. An account with a login "
            "shell counts only when it is named here.",
            unset="owner of `config.php`",
        ),
    ] = None
    misp_workers: Annotated[
        Workers, Means("A queue that is left out keeps its default. update is always 1.")
    ] = dict(DEFAULT_WORKERS)
    misp_scheduler: Annotated[
        bool | None,
        Means("Runs MISP's own scheduler as one more process.", unset="true from MISP 2.5.18 on"),
    ] = None
    misp_url: Annotated[
        Url | None,
        Means(
            "MISP as your machine reaches it. Makes MISP's web view part of the proof. Needs "
            "`misp_api_key`."
        ),
    ] = None
    misp_api_key: Annotated[
        SecretRef | None,
        Means("Key of a site admin: 40 letters and digits. Needs `misp_url`."),
    ] = None
    misp_ca_bundle: Annotated[
        LocalPath | None, Means("File with the CA of `misp_url`.", unset="the system's")
    ] = None
    misp_max_job_history_ttl: Annotated[
        Lifetime | None,
        Means("Seconds for which MISP keeps a job's state.", unset="MISP's value, else 86400"),
    ] = None

    # Redis of the new queues
    misp_redis_host: Annotated[
        Host | None,
        Means(
            "The Redis server, also by a `tls://` address or a socket's path.",
            unset="SimpleBackgroundJobs' value, else MISP's own Redis",
        ),
    ] = None
    misp_redis_port: Annotated[Port | None, Means("Its port.", unset="as above")] = None
    misp_redis_password: Annotated[SecretRef | None, Means("Its password.", unset="as above")] = (
        None
    )
    misp_redis_database: Annotated[
        Number | None,
        Means("Number of the database.", unset="SimpleBackgroundJobs' value, else 1"),
    ] = None
    misp_redis_namespace: Annotated[
        Name | None,
        Means("Prefix of the keys.", unset="SimpleBackgroundJobs' value, else `background_jobs`"),
    ] = None

    # supervisord
    supervisor_transport: Annotated[
        Literal["tcp", "unix"],
        Means("`unix`: the packaged socket, 0770 for the web group, with no password and no port."),
    ] = "tcp"
    supervisor_host: Annotated[Loopback, Means("supervisord's RPC never leaves the host.")] = (
        "127.0.0.1"
    )
    supervisor_port: Annotated[Port, Means("Port of supervisord's RPC.")] = 9001
    supervisor_user: Annotated[RpcUser, Means("User of supervisord's RPC.")] = "supervisor"
    supervisor_password: Annotated[
        SecretRef | None,
        Means(
            "32 or more letters and digits. Not with `unix`.",
            unset="48 letters and digits, made on the host and kept",
        ),
    ] = None
    rotate_password: Annotated[
        bool,
        Means(
            "true makes a new password; give it for one run: `--data rotate_password=true`. Not "
            "with `unix` or `supervisor_password`."
        ),
    ] = False
    allow_foreign_restart: Annotated[
        bool,
        Means("true lets the deploy restart a supervisord that runs other programs too."),
    ] = False

    # Old workers
    legacy_service: Annotated[
        UnitName | None, Means("Unit of the old workers.", unset="found by its command")
    ] = None
    drain_timeout: Annotated[
        Seconds, Means("Seconds: the limit for old jobs, and for a job at each later stop.")
    ] = 1800
    on_leftover_jobs: Annotated[
        Literal["stop", "wait", "convert"],
        Means(
            "At the limit: `stop` leaves both backends running and fails the host, `wait` goes on "
            "for up to a day, `convert` makes new jobs of the old ones "
            "([how](operating.md#old-jobs-at-the-drain-limit))."
        ),
    ] = "stop"
    scheduled_tasks: Annotated[
        Literal["cron", "native", "leave"] | None,
        Means(
            "Who gets the scheduled tasks that the old backend has "
            "([how](operating.md#scheduled-tasks)). `native` is MISP's own scheduler, which needs "
            "`misp_scheduler`. With `leave` they are yours to move: the drain waits for them, or "
            "`convert` leaves them behind.",
            unset="`cron`; from MISP 2.5.18 on `native`",
        ),
    ] = None

    # Host and run
    selinux: Annotated[
        Literal["auto", "off", "build"],
        Means(
            "`auto`: the module is built and loaded where SELinux is on. `build`: it is not loaded."
        ),
    ] = "auto"
    epel: Annotated[
        bool, Means("false: EPEL is not added where nothing else offers supervisor.")
    ] = True
    http_proxy: Annotated[
        Proxy | None,
        Means(
            "Proxy of apt or dnf and of Composer; a secret if there is a user or a password in it "
            "([behind a proxy](operating.md#behind-a-proxy)). An empty text means none.",
            unset="the host's own configuration",
        ),
    ] = None
    approved_plan: Annotated[
        LocalPath | None,
        Means(
            "The file of `plan --out`: a host on which something else would be done is refused "
            "([plan](operating.md#plan))."
        ),
    ] = None
    take_over: Annotated[
        bool,
        Means(
            "true makes a step ignore that another run has the host. It still waits for a step "
            "that is at work."
        ),
    ] = False
    expect: Annotated[
        Literal["migrated", "old"] | None,
        Means("`status` counts the other state of the host as a fault. Nothing else looks at it."),
    ] = None
    show_calls: Annotated[
        bool, Means("true prints each call to the host before it is made, secrets masked.")
    ] = False

    @model_validator(mode="after")
    def _pairs(self) -> Settings:
        if (self.misp_url is None) != (self.misp_api_key is None):
            raise ValueError("misp_url and misp_api_key go together: give both or neither")
        if self.supervisor_transport == "unix" and self.supervisor_password is not None:
            raise ValueError(
                "supervisor_password goes with supervisor_transport tcp: a socket has its mode"
            )
        if self.rotate_password and self.supervisor_transport == "unix":
            raise ValueError(
                "rotate_password goes with supervisor_transport tcp: a socket has no password"
            )
        if self.rotate_password and self.supervisor_password is not None:
            raise ValueError(
                "rotate_password makes a password on the host, but supervisor_password gives one: "
                "change what that refers to and run without rotate_password"
            )
        return self

    def shown(self) -> dict[str, Any]:
        """The data in effect as a report may have it: of a secret the reference alone.

        A key without a value is left out: MISP's own value counts.
        """
        return {
            key: value.shown() if isinstance(value, SecretRef) else value
            for key, value in self
            if value is not None
        }


class Secrets(BaseModel):
    """The resolved secrets of one host; `None` where the operator gave no reference."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    supervisor_password: Secret | None = None
    redis_password: Secret | None = None
    api_key: Secret | None = None
    http_proxy: Secret | None = None

    def texts(self) -> list[str]:
        """Every text that no report may have."""
        found = [secret.unmask() for _, secret in self if secret]
        return found + proxy.secrets_of(self.proxy_url)

    @property
    def proxy_url(self) -> str:
        """The proxy's URL, with its password; empty: none is given."""
        return self.http_proxy.unmask() if self.http_proxy else ""


def known_keys() -> tuple[str, ...]:
    """Every key that an inventory may set for this deploy."""
    return tuple(Settings.model_fields)


def from_host_data(data: Mapping[str, Any]) -> Settings:
    """Check one host's data; keys that belong to pyinfra or to the operator are left alone.

    Raises:
        RefusedError: with every fault, not just the first.
    """
    problems = [
        message
        for key, value in data.items()
        if (message := setting_keys.misspelt(key, value, known_keys()))
    ]
    try:
        settings = Settings(**{key: value for key, value in data.items() if key in known_keys()})
    except ValidationError as error:
        problems += [sentence(fault) for fault in error.errors(include_url=False)]
        raise RefusedError(*problems) from None
    if problems:
        raise RefusedError(*problems)
    return settings


def resolve_secrets(settings: Settings) -> Secrets:
    """Fetch every secret that the settings refer to.

    Raises:
        RefusedError: naming the key and the reference, never the value.
    """
    problems: list[str] = []
    values: dict[str, Secret | None] = {}
    for key in ("supervisor_password", "misp_redis_password", "misp_api_key", "http_proxy"):
        try:
            values[key] = _resolved(key, getattr(settings, key))
        except SecretError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise RefusedError(*problems)
    return Secrets(**{key.removeprefix("misp_"): value for key, value in values.items()})


def _resolved(key: str, given: SecretRef | str | None) -> Secret | None:
    if not given:
        return None
    secret = Secret(given) if isinstance(given, str) else given.resolve()
    if key == "http_proxy":
        return Secret(proxy_url(secret.unmask()))
    _check_secret(key, secret)
    return secret


def _check_secret(key: str, secret: Secret) -> None:
    if key == "supervisor_password":
        check_supervisor_password(secret)
    elif key == "misp_api_key" and not re.fullmatch(r"[A-Za-z0-9]{40}", secret.unmask()):
        raise SecretError("a MISP API key has 40 letters and digits")
    elif re.search(r"[\x00-\x1f]", secret.unmask()):
        raise SecretError("it contains a control character")
    elif secret.unmask().startswith("-"):
        raise SecretError("it begins with -, which MISP's command line takes for an option")
