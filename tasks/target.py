"""What a run does to one host: the operator's data and the host's own answers, joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks import render
from tasks.host.parts import Place
from tasks.host.site import CRON, NATIVE, SCHEDULER_SINCE, Desired, Site, SupervisorIdentity
from tasks.platforms import Platform
from tasks.settings import Secrets, Settings

JOB_TIMEOUT = 180  # seconds for one test job on a queue, unless all of its workers have long jobs
_NOWHERE = Place("", 0, 0, "", 0)


@dataclass(frozen=True, repr=False)
class Target:
    """One host and everything decided about it before the first operation.

    Created in two stages: from the operator's data, then completed with the first look's answers.
    """

    settings: Settings
    secrets: Secrets
    platform: Platform
    python: str = "/usr/bin/python3"  # the host's own, 3.6 or newer
    web_user: str = ""
    web_group: str = ""
    composer: str = ""
    supervisor: SupervisorIdentity | None = None  # none: the platform's, as far as is known
    version: tuple[int, int, int] = (0, 0, 0)
    rpc_port: int = 9001
    rpc_user: str = "supervisor"
    rpc_socket: str = ""  # path; empty with the tcp transport
    rpc_elsewhere: str = ""  # the operator's own file with an [inet_http_server], respected
    selinux: Literal["load", "build", "none"] = "none"
    selinux_reason: str = ""
    redis: Place = _NOWHERE  # wanted
    database_mode: bool = False
    is_on: bool = False  # whether MISP uses the new backend when the run begins
    is_proven: bool = False  # a proof holds when the run begins, and nothing speaks against it

    def __repr__(self) -> str:
        # pyinfra prints an operation's arguments at --json and --debug-operations.
        return f"Target({self.settings.misp_root})"

    def site(self) -> Site:
        """What every host function is told."""
        settings, system = self.settings, self.platform
        site = Site(
            misp_root=settings.misp_root,
            web_user=settings.misp_web_user or "",
            legacy_service=settings.legacy_service or "",
            drain_timeout=settings.drain_timeout,
            leftovers=settings.on_leftover_jobs,
            scheduled_tasks=settings.scheduled_tasks or "",
            transport=settings.supervisor_transport,
            rpc_port=self.rpc_port,
            rpc_user=self.rpc_user,
            rpc_socket=self.rpc_socket,
            supervisor_package=system.supervisor_package,
            supervisor_unit=system.supervisor_unit,
            supervisor_conf=system.supervisor_conf,
            include_dir=system.supervisor_include_dir,
            include_suffix=system.supervisor_include_suffix,
            package_query=system.package_query,
            is_on=self.is_on,
            packages=" ".join((system.supervisor_package, *system.selinux_packages)),
        )
        return site.with_supervisor(self.supervisor) if self.supervisor else site

    def desired(self) -> Desired:
        """What the operator said of Redis and the RPC's password, in clear: for a call only."""
        settings, secrets = self.settings, self.secrets
        redis_password, rpc_password = secrets.redis_password, secrets.supervisor_password
        return Desired(
            redis_host=settings.misp_redis_host,
            redis_port=settings.misp_redis_port,
            redis_database=settings.misp_redis_database,
            redis_namespace=settings.misp_redis_namespace,
            redis_password=redis_password.unmask() if redis_password else None,
            max_job_history_ttl=settings.misp_max_job_history_ttl,
            supervisor_password=rpc_password.unmask() if rpc_password else "",
        )

    @property
    def programs(self) -> tuple[render.Program, ...]:
        """The worker set. The scheduler is MISP's own since 2.5.18."""
        return render.programs(self.settings.misp_workers, scheduler=self.has_scheduler)

    @property
    def has_scheduler(self) -> bool:
        """Whether the worker set has MISP's own scheduler."""
        wanted = self.settings.misp_scheduler
        return self.version >= SCHEDULER_SINCE if wanted is None else wanted

    @property
    def scheduled_tasks(self) -> str:
        """Who gets the scheduled tasks that the old backend has."""
        own = NATIVE if self.version >= SCHEDULER_SINCE else CRON
        return self.settings.scheduled_tasks or own

    @property
    def process_names(self) -> tuple[str, ...]:
        """Names of the worker set as `supervisorctl status` prints them."""
        return render.process_names(self.programs)

    @property
    def worker_counts(self) -> dict[str, int]:
        """How many workers each queue has; MISP's scheduler takes no jobs from one."""
        return {one.name: one.count for one in self.programs if one.name != render.SCHEDULER}

    def packages(self) -> tuple[str, ...]:
        """Packages that the host needs; SELinux's tools only where there is use for them."""
        tools = self.platform.selinux_packages if self.selinux != "none" else ()
        return (self.platform.supervisor_package, *tools)

    def rpc_text(self) -> str:
        """The RPC include file, with a token where the host puts the password's hash."""
        if self.settings.supervisor_transport == "unix":
            return render.rpc_over_socket(self.rpc_socket, self.web_group)
        return render.rpc_over_tcp(self.rpc_port, self.rpc_user)

    def group_text(self) -> str:
        """The worker group's include file."""
        return render.worker_group(self.programs, self.settings.misp_root, self.web_user)

    def misp_settings(self) -> dict[str, str | int | bool | dict[str, str]]:
        """MISP's settings by full name, in the order they are set: `enabled` comes last.

        The code has no defaults (BackgroundJobsTool.php), so every key must really be stored, and
        with its type: strict_types refuses a port that is text. A dict stands for a secret that
        only the host knows.
        """
        socket = f"unix:{self.rpc_socket}" if self.rpc_socket else ""
        block: dict[str, str | int | bool | dict[str, str]] = {
            "redis_host": self.redis.host,
            "redis_port": self.redis.port,
            "redis_database": self.redis.database,
            "redis_password": {"secret": "redis_password"},
            "redis_namespace": self.redis.namespace,
            "max_job_history_ttl": self.redis.max_job_history_ttl,
            "supervisor_host": socket or self.settings.supervisor_host,
            "supervisor_port": self.rpc_port,
            "supervisor_user": self.rpc_user,
            "supervisor_password": {"secret": "supervisor_password"},
            "enabled": True,
        }
        return {f"SimpleBackgroundJobs.{key}": value for key, value in block.items()}
