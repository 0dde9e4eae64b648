"""The types of the operator's data: what a value may be, and in which words another one is refused.

docs/settings.md has the same words, by `Means` and `Values`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tasks.host import proxy
from tasks.host.queues import QUEUES
from tasks.secret import FORMS, SecretError, SecretRef, proxy_url

DEFAULT_WORKERS: Mapping[str, int] = {"default": 5, "prio": 5, "email": 5, "cache": 5, "update": 1}
MOST_WORKERS = 99  # of one queue


@dataclass(frozen=True)
class Means:
    """What a setting is for.

    Attributes:
        text: sentences in Markdown.
        unset: what counts where the operator gives no value and the default is `None`.
    """

    text: str
    unset: str = "none"


@dataclass(frozen=True)
class Values:
    """What values of a type there are, where pydantic's own schema does not say it."""

    words: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "values": self.words}


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
        elif not 1 <= count <= MOST_WORKERS:
            problems.append(
                f"{queue}: must be 1 to {MOST_WORKERS}, not {count}: every queue needs a worker"
            )
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


@dataclass(frozen=True)
class _Matching(Values):
    """A text that the whole pattern fits; the words say which these are."""

    pattern: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be {self.words}, not {value!r}")
        return value


WholeNumber = BeforeValidator(_whole_number)
Port = Annotated[int, Field(ge=1, le=65535), WholeNumber]
Number = Annotated[int, Field(ge=0, le=65535), WholeNumber]
Seconds = Annotated[int, Field(ge=1), WholeNumber]
Lifetime = Annotated[int, Field(ge=60), WholeNumber]
Workers = Annotated[
    dict[str, int], BeforeValidator(_workers), Values(f"counts by queue, 1 to {MOST_WORKERS}")
]
PlainPath = Annotated[
    str,
    AfterValidator(_plain_path),
    Values("an absolute path of letters, digits and . _ + -"),
]
LocalPath = Annotated[str, Values("a path on your machine")]
Name = Annotated[str, _Matching("letters, digits and _ . -", r"[A-Za-z0-9_.-]+")]
UserName = Annotated[str, _Matching("a user name", r"[a-z_][a-z0-9_-]*")]
RpcUser = Annotated[str, _Matching("letters and digits", r"[A-Za-z0-9]+")]
UnitName = Annotated[str, _Matching("a unit name", r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")]
Url = Annotated[str, _Matching("an http(s) URL", r"https?://[^\s]+")]
Host = Annotated[str, _Matching("a host name or address", r"(tls://|/)?[A-Za-z0-9_.:/\[\]-]+")]
Loopback = Annotated[str, AfterValidator(_loopback), Values("127.0.0.1 or localhost")]
Proxy = Annotated[
    Annotated[str, BeforeValidator(_plain_proxy), Tag("a URL")]
    | Annotated[SecretRef, Tag("a reference")],
    Discriminator(_kind_of_proxy),
    Values("`http(s)://HOST:PORT`, an empty text, or a [secret](#secrets)"),
]


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


def sentence(fault: Any) -> str:
    """One pydantic fault in words. Its `input` is left out on purpose: it may be a secret."""
    kinds = ("function-before", "int", "a URL", "a reference")  # pydantic's, no part of the data
    where = ".".join(str(part) for part in fault["loc"] if part not in kinds)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if words := _WORDS.get(fault["type"]):
        for name, value in fault.get("ctx", {}).items():
            words = words.replace(f"{{{name}}}", str(value))
        message = words
    return f"{where}: {message}" if where else message
