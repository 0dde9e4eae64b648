"""What will be done to hosts, as a document that is kept, approved and compared.

    {"host": "misp1", "deploy": "deploy", "project": {"version": "0.1.0", "commit": "4f1d..."},
     "steps": [{"step": "Packages: supervisor", "limit": 1800, "changes": [
         {"kind": "package", "name": "supervisor", "before": "", "after": "4.2.5-1",
          "diff": [], "volatile": false}]}],
     "rests_on": {"MISP": "2.5.18"}}

A step that will do nothing is left out. Of a file, `before` and `after` are SHA-256 (empty: there
is none) or words, and `diff` is a unified diff without secrets. What is volatile changes by itself,
as a count of jobs does.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import MigrationError
from tasks.untrusted import printable

LIMIT = 64 << 20  # bytes of a file with plans
Kind = Literal["package", "library", "file", "setting", "unit", "process", "jobs", "task", "note"]


class PlanError(MigrationError):
    """A file is no plan, or cannot be read or written."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Change(_Part):
    """One thing that will be another."""

    kind: Kind
    name: str
    before: str = ""
    after: str = ""
    diff: list[str] = []
    volatile: bool = False


class Step(_Part):
    """One operation that will do something."""

    step: str  # the operation's name
    limit: int  # seconds that it may take
    changes: list[Change]


class Project(_Part):
    """Which version of this project made the plan."""

    version: str
    commit: str  # empty: not known


class Document(_Part):
    """The plan of one host."""

    host: str
    deploy: Literal["deploy", "rollback"]
    project: Project
    steps: list[Step]
    rests_on: dict[str, str]  # what the plan was made from, in words or as a digest


class _File(_Part):
    format: Literal[1]
    made: str  # when, ISO, UTC
    inventory: str
    documents: dict[str, Document]  # by host


def save(path: Path, documents: Mapping[str, Any], inventory: str) -> None:
    """Write the plans of hosts into a file for its owner's eyes, whole or not at all.

    Args:
        documents: by host, as JSON has them.

    Raises:
        PlanError: it cannot be written, or a document is none.
    """
    made = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = {"format": 1, "made": made, "inventory": inventory, "documents": {**documents}}
    try:
        text = _File.model_validate(content).model_dump_json(indent=1)
    except ValidationError as error:
        raise PlanError(f"the plan is not kept, since it is none: {_why(error)}") from None
    new = ""
    try:
        number, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        Path(new).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(new).unlink()
        raise PlanError(f"the plan cannot be written to {path}: {error.strerror}") from None


def load(path: Path) -> tuple[str, dict[str, Document]]:
    """Read a file's inventory, and its plans by host.

    Raises:
        PlanError: it is no such file; an operator may have edited it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read: {error.strerror}") from None
    if len(data) > LIMIT:
        raise PlanError(f"the plan {path} is bigger than {LIMIT >> 20} MiB. {_ANEW}")
    try:
        found = _File.model_validate_json(data)
    except ValidationError as error:
        raise PlanError(f"{path} is no plan of this version: {_why(error)}. {_ANEW}") from None
    if odd := [name for name, one in found.documents.items() if name != one.host]:
        raise PlanError(f"the plan {path} has {printable(odd[0])} for another host. {_ANEW}")
    return found.inventory, found.documents


_ANEW = "Make the plan again"


def _why(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return printable(f"{where}: {fault['msg']}" if where else str(fault["msg"]))[:200]
