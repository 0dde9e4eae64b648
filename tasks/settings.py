"""The operator's data, checked once, before anything else is done to a host.

Keys, defaults and ranges are here and nowhere else. Defaults are the migration guide's; `None`
means "keep what MISP has, else what MISP itself uses, else the guide's value".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from tasks.errors import RefusedError
from tasks.host import proxy
from tasks.host.queues import QUEUES
from tasks.secret import (
    FORMS,
    Secret,
    SecretError,
    SecretRef,
    check_supervisor_password,
    proxy_url,
)

DEFAULT_WORKERS: Mapping[str, int] = {"default": 5, "prio": 5, "email": 5, "cache": 5, "update": 1}

# A key of ours that is misspelt must not pass for somebody else's data (ssh_user, _sudo, ...).
_PREFIXES = (
    "misp_",
    "supervisor_",
    "legacy_",
    "drain_",
    "on_leftover",
    "selinux",
    "epel",
    "scheduled_",
    "allow_foreign",
    "rotate_",
    "take_over",
    "approved_",
    "show_calls",
)
# pyinfra's own that decide how a host is reached, and who works there; it takes any other silently.
PYINFRA_KEYS = (
    *("ssh_hostname", "ssh_port", "ssh_user", "ssh_password", "ssh_key", "ssh_key_password"),
    *("ssh_allow_agent", "ssh_look_for_keys", "ssh_forward_agent", "ssh_config_file"),
    *("ssh_known_hosts_file", "ssh_strict_host_key_checking", "ssh_paramiko_connect_kwargs"),
    *("ssh_connect_retries", "ssh_connect_retry_min_delay", "ssh_connect_retry_max_delay"),
    *("ssh_file_transfer_protocol", "_sudo", "_sudo_user", "_use_sudo_login", "_sudo_password"),
    *("_preserve_sudo_env", "_su_user", "_use_su_login", "_preserve_su_env", "_su_shell"),
    *("_su_password", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_shell_executable"),
)
_LIKENESS = 0.85  # difflib ratio from which a key without such a prefix counts as a misspelling


def _plain_path(value: str) -> str:
    # The path goes into supervisor's file, where % and ; are syntax, and into MISP's own scripts.
    if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+/?", value) or ".." in PurePosixPath(value).parts:
        raise ValueError("must be an absolute path of letters, digits and . _ + - without ..")
    return value.rstrip("/")


def _whole_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {value!r}")
    return value


def _workers(value: object) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ValueError(f'must map queues to counts, as in {{"default": 5}}, not {value!r}')
    problems = []
    for queue, count in value.items():
        if queue not in QUEUES:
            near = difflib.get_close_matches(str(queue), QUEUES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known queues: {', '.join(QUEUES)}"
            problems.append(f"unknown queue {queue!r} ({hint})")
        elif isinstance(count, bool) or not isinstance(count, int):
            problems.append(f"{queue}: must be a whole number, not {count!r}")
        elif queue == "update" and count != 1:
            # AppModel.php: schema updates hold a lock that two runners would fight over.
            problems.append(f"update: must be 1, not {count}: MISP runs one update at a time")
        elif not 1 <= count <= 99:
            problems.append(f"{queue}: must be 1 to 99, not {count}: every queue needs a worker")
    if problems:
        raise ValueError("; ".join(problems))
    return {**DEFAULT_WORKERS, **value}


def _loopback(value: str) -> str:
    if value not in ("127.0.0.1", "localhost"):
        # supervisor's manual: clear text and no limits on what a client may do.
        raise ValueError(
            "must be 127.0.0.1 or localhost: supervisord's RPC must not leave the host"
        )
    return value


def _plain_proxy(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT, or a reference to it")
    if not value:
        return ""
    try:
        url = proxy_url(value)
    except SecretError as error:
        raise ValueError(str(error)) from None
    if proxy.secrets_of(url):
        raise ValueError(
            f"a URL with a user or a password is a secret: give it as a reference, {FORMS}"
        )
    return url


def _kind_of_proxy(value: object) -> str:
    return "a reference" if isinstance(value, dict | SecretRef) else "a URL"


def _matching(pattern: str, words: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {words}, not {value!r}")
        return value

    return AfterValidator(check)


WholeNumber = BeforeValidator(_whole_number)
Port = Annotated[int, WholeNumber, Field(ge=1, le=65535)]
Name = Annotated[str, _matching(r"[A-Za-z0-9_.-]+", "letters, digits and _ . -")]
UserName = Annotated[str, _matching(r"[a-z_][a-z0-9_-]*", "a user name")]
Proxy = Annotated[
    Annotated[str, BeforeValidator(_plain_proxy), Tag("a URL")]
    | Annotated[SecretRef, Tag("a reference")],
    Discriminator(_kind_of_proxy),
]
Host = Annotated[str, _matching(r"(tls://|/)?[A-Za-z0-9_.:/\[\]-]+", "a host name or address")]


class Settings(BaseModel):
    """One host's data after checking; docs/settings.md has the meaning of each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    misp_root: Annotated[str, AfterValidator(_plain_path)] = "/var/www/MISP"
    misp_web_user: UserName | None = None
    misp_workers: Annotated[dict[str, int], BeforeValidator(_workers)] = dict(DEFAULT_WORKERS)
    misp_scheduler: bool | None = None
    misp_redis_host: Host | None = None
    misp_redis_port: Port | None = None
    misp_redis_database: Annotated[int, WholeNumber, Field(ge=0, le=65535)] | None = None
    misp_redis_password: SecretRef | None = None
    misp_redis_namespace: Name | None = None
    misp_max_job_history_ttl: Annotated[int, WholeNumber, Field(ge=60)] | None = None
    misp_url: Annotated[str, _matching(r"https?://[^\s]+", "an http(s) URL")] | None = None
    misp_api_key: SecretRef | None = None
    misp_ca_bundle: str | None = None
    supervisor_transport: Literal["tcp", "unix"] = "tcp"
    supervisor_host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"
    supervisor_port: Port = 9001
    supervisor_user: Annotated[str, _matching(r"[A-Za-z0-9]+", "letters and digits")] = "supervisor"
    supervisor_password: SecretRef | None = None
    legacy_service: (
        Annotated[str, _matching(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", "a unit name")] | None
    ) = None
    drain_timeout: Annotated[int, WholeNumber, Field(ge=1)] = 1800
    on_leftover_jobs: Literal["stop", "wait", "convert"] = "stop"
    scheduled_tasks: Literal["cron", "native", "leave"] | None = None
    selinux: Literal["auto", "off", "build"] = "auto"
    epel: bool = True
    http_proxy: Proxy | None = None
    allow_foreign_restart: bool = False
    rotate_password: bool = False
    approved_plan: str | None = None
    take_over: bool = False
    show_calls: bool = False
    expect: Literal["migrated", "old"] | None = None

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
        if (message := _unknown_key(key) or _not_pyinfras(key, value))
    ]
    try:
        settings = Settings(**{key: value for key, value in data.items() if key in known_keys()})
    except ValidationError as error:
        problems += [_sentence(fault) for fault in error.errors(include_url=False)]
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


@cache  # hosts have the same keys, and likeness takes long
def _unknown_key(key: str) -> str | None:
    if key in known_keys():
        return None
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    is_misspelt = bool(difflib.get_close_matches(key, known_keys(), n=1, cutoff=_LIKENESS))
    if not key.startswith(_PREFIXES) and not is_misspelt:
        return None
    return f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")


def _not_pyinfras(key: str, value: object) -> str | None:
    """Say that a key is a misspelling of pyinfra's; none of these has a list or a map as value."""
    near = "" if isinstance(value, list | tuple | set | Mapping) else _near_pyinfras(key)
    return f"unknown key {key!r}: did you mean pyinfra's {near!r}?" if near else None


@cache
def _near_pyinfras(key: str) -> str:
    near = difflib.get_close_matches(key, PYINFRA_KEYS, n=1, cutoff=_LIKENESS)
    return near[0] if near and near[0] != key else ""


_WORDS: Mapping[str, str] = {  # for pydantic's own, by the type of its fault
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "tuple_type": 'must be a list of words, as in ["PROGRAM", "ARGUMENT"]',
    "model_type": f"must be a reference: {FORMS}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "extra_forbidden": f"there is no such reference: give {FORMS}",
}


def _sentence(fault: Any) -> str:
    """One pydantic fault in words. Its `input` is left out on purpose: it may be a secret."""
    kinds = ("function-before", "int", "a URL", "a reference")  # pydantic's, no part of the data
    where = ".".join(str(part) for part in fault["loc"] if part not in kinds)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if words := _WORDS.get(fault["type"]):
        for name, value in fault.get("ctx", {}).items():
            words = words.replace(f"{{{name}}}", str(value))
        message = words
    return f"{where}: {message}" if where else message
