"""Secrets: where they come from, and a type that does not show them.

An inventory holds references only. `resolve` turns one into a `Secret` on the operator's machine,
in memory; it leaves that machine on a command's standard input and in no other way.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyinfra.api.hiddenvalue import HiddenValue

from tasks.errors import MigrationError

_PROXY = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<user>(?:[A-Za-z0-9._~!$&()*+,;=:-]|%[0-9A-Fa-f]{2})+@)?"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
FORMS = '{"env": "NAME"}, {"file": "PATH"} or {"command": ["PROGRAM", ...]}'
COMMAND_TIMEOUT = 60  # seconds: a secret store that asks a person is not fit for a deploy


class SecretError(MigrationError):
    """A reference cannot be resolved, or its value is not fit for use; never holds the value."""


class Secret(HiddenValue):
    """A value that prints as `*MASKED*`; `unmask()` gives the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[no-untyped-call]

    def to_json(self) -> str:
        """What `pyinfra debug-inventory --json` may show of it."""
        return str(self)


class SecretRef(BaseModel):
    """Exactly one of `env` (a variable's name), `file` (a path), `command` (an argument list)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: Annotated[str, Field(min_length=1)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_a_plain_value(cls, value: object) -> object:
        if isinstance(value, str | int | float):
            # The text must not stand in the message: it may be the secret itself.
            raise ValueError(f"a secret is given as a reference, not as a value: {FORMS}")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if sum(source is not None for source in (self.env, self.file, self.command)) != 1:
            raise ValueError("give exactly one of env, file and command")
        return self

    def resolve(self) -> Secret:
        """Fetch the value; one trailing newline is dropped.

        Raises:
            SecretError: saying which reference failed and why.
        """
        if self.env is not None:
            text = _from_env(self.env)
        elif self.file is not None:
            text = _from_file(self.file)
        else:
            text = _from_command(self.command or ())
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise SecretError(f"{self.describe()} is empty")
        return Secret(text)

    def shown(self) -> dict[str, str]:
        """The reference, without a command's arguments: one of them may be a secret."""
        if self.command:
            return {"command": self.command[0]}
        return {"env": self.env} if self.env is not None else {"file": self.file or ""}

    def describe(self) -> str:
        """The reference in words, fit for a message."""
        if self.env is not None:
            return f"the environment variable {self.env}"
        if self.file is not None:
            return f"the file {self.file}"
        return f"the command {(self.command or ('',))[0]}"


def _from_env(name: str) -> str:
    if name not in os.environ:
        raise SecretError(f"the environment variable {name} is not set")
    return os.environ[name]


def _from_file(name: str) -> str:
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise SecretError(f"cannot find the file {name}: {error}") from None
    try:
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SecretError(f"{path} can be read by others: chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretError(f"cannot read the file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretError(f"the file {path} is not UTF-8 text") from None


def _from_command(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=COMMAND_TIMEOUT, encoding="utf-8"
        )
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        # Not the exception's text: it repeats the arguments.
        raise SecretError(f"the command {command[0]} failed: {type(error).__name__}") from None
    if done.returncode != 0:
        raise SecretError(f"the command {command[0]} ended with status {done.returncode}")
    return done.stdout


def check_supervisor_password(secret: Secret) -> None:
    """Refuse a password that supervisor's parser, MISP or a guesser would break.

    `%` keeps supervisord from starting and ` ;` or ` #` cut the rest off silently (measured,
    supervisor 4.2.5), so only letters and digits are let through; 32 of them hold 190 bits.

    Raises:
        SecretError: with the reason, without the password.
    """
    text = secret.unmask()
    if not text.isascii():
        raise SecretError("it has characters outside ASCII: use letters and digits only")
    if bad := sorted(set(re.sub(r"[A-Za-z0-9]", "", text))):
        names = {" ": "a space", '"': "a double quote", "'": "a single quote"}
        listed = ", ".join(names.get(character, character) for character in bad)
        raise SecretError(f"it contains {listed}: use letters and digits only")
    if len(text) < 32:
        raise SecretError(f"it has {len(text)} characters: use 32 or more")


def proxy_url(text: str) -> str:
    """The URL of a proxy, checked, with its port: without one curl would take 1080, others 80.

    Raises:
        SecretError: with the reason, without the URL, which may hold a password.
    """
    found = _PROXY.fullmatch(text)
    if not found:
        raise SecretError(
            "must be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before HOST if the "
            "proxy asks for them, %-encoded where they have other characters than letters and "
            "digits, and without a path"
        )
    user = found["user"] or ""
    if re.search(r"%([01][0-9A-Fa-f]|7[Ff])", user):
        raise SecretError("its user or its password contains a control character")
    port = int(found["port"] or {"http": 80, "https": 443}[found["scheme"]])
    if not 1 <= port <= 65535:
        raise SecretError("its port must be 1 to 65535")
    return f"{found['scheme']}://{user}{found['host']}:{port}"
