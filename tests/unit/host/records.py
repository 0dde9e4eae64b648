"""Records of jobs as each backend writes them."""

from __future__ import annotations

import json
from typing import Any

from tasks.host.queues import Backend


def old_record(number: int, *args: Any, class_: str = "EventShell") -> str:
    arguments = list(args) or ["publish", str(number), None, 5, "1"]
    return json.dumps({"class": class_, "args": [arguments], "id": f"{number:032x}"})


def delayed_record(number: int, action: str = "publish", queue: str = "default") -> str:
    arguments = {"0": action, "1": str(number), "id": f"{number:032x}", "s_time": 1}
    return json.dumps({"class": "ServerShell", "args": [arguments], "queue": queue, "track": True})


def new_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def new_record(number: int, *args: Any, command: str = "event") -> str:
    arguments = list(args) or ["publish", str(number), None, 5, "1"]
    return json.dumps(
        {
            "id": new_id(number),
            "command": command,
            "args": arguments,
            "createdAt": 1,
            "updatedAt": None,
            "status": 1,
            "output": None,
            "error": None,
            "metadata": [],
        }
    )


def jobs_in(backend: Backend, name: str) -> list[Any]:
    """A list's records, parsed."""
    reply = backend.redis.command("LRANGE", backend.key(name), 0, -1)
    assert isinstance(reply, list)
    return [json.loads(record) for record in reply]
