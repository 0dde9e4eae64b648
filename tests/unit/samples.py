"""What several test modules start from: os-release texts and a target ready to be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.host.parts import Place
from tasks.platforms import Platform, detect, parse_os_release
from tasks.secret import Secret
from tasks.settings import Secrets, from_host_data
from tasks.target import Target

OS_RELEASES = Path(__file__).parent / "os-release"

SUPERVISOR_PASSWORD = "SupervisorPassword0123456789abcdefGHIJ"
REDIS_PASSWORD = """it's "50%" \\ of $HOME; `id` #ü"""
API_KEY = "ApiKeyOf40Characters" * 2
SECRETS = Secrets(
    supervisor_password=Secret(SUPERVISOR_PASSWORD),
    redis_password=Secret(REDIS_PASSWORD),
    api_key=Secret(API_KEY),
)

REDIS = Place(
    host="127.0.0.1",
    port=6379,
    database=1,
    namespace="background_jobs",
    max_job_history_ttl=86400,
)


def os_release(name: str) -> dict[str, str]:
    return parse_os_release((OS_RELEASES / name).read_text(encoding="utf-8").splitlines())


def platform(name: str = "debian-12") -> Platform:
    return detect(os_release(name))


def target(
    data: Mapping[str, Any] | None = None,
    *,
    system: str = "debian-12",
    secrets: Secrets = SECRETS,
    **facts: Any,
) -> Target:
    """A target as preflight leaves it: the inventory's `data`, the host's answers as `facts`."""
    found = {"web_user": "www-data", "web_group": "www-data", "redis": REDIS, **facts}
    settings = from_host_data(data or {})
    return Target(settings=settings, secrets=secrets, platform=platform(system), **found)
