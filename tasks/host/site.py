"""What a host function is told about its host: the operator's data and the platform's names."""

import os
from typing import Any, List, Mapping, NamedTuple, Optional

STATE_DIR = "/var/lib/misp-workers-migration"  # 0700 root
LOG_DIR = "/var/log/misp-workers"
# Stands in the text of the RPC's file for the hash of a password that only the host knows.
PASSWORD_SHA1_TOKEN = "@PASSWORD_SHA1@"  # noqa: S105 - a placeholder
# Who gets MISP's scheduled tasks: cron, MISP's own scheduler, or nobody.
CRON, NATIVE, LEAVE = "cron", "native", "leave"
SCHEDULER_SINCE = (2, 5, 18)  # MISP's own scheduler, as a worker
GROUP = "misp-workers"  # MISP's code has the group's name as a constant (BackgroundJobsTool.php)


def is_on(block: Mapping[str, Any], is_in_database: bool) -> bool:
    """Whether MISP uses its new backend: THE meaning of "on".

    MISP compares with `=== true` (BackgroundJobsTool.php); the database gives text.
    """
    value = block.get("enabled")
    return value is True or (is_in_database and value in (1, "1", "true"))


class SupervisorIdentity(NamedTuple):
    """Which supervisord is the host's; the fields are those of a `Site`."""

    supervisor_unit: str  # without .service
    supervisor_program: str  # path; empty: not known, as before the package is installed
    supervisor_conf: str
    include_dir: str
    include_suffix: str


class Site(NamedTuple):
    """One MISP on one host. Times in seconds; an empty text means "not given"."""

    misp_root: str
    web_user: str  # the operator's misp_web_user; empty: who owns config.php
    legacy_service: str  # the operator's name for the old workers' unit
    drain_timeout: int
    leftovers: str  # on_leftover_jobs: stop, wait or convert
    transport: str  # of the RPC: tcp or unix
    rpc_port: int
    rpc_user: str
    rpc_socket: str  # path, with transport unix
    supervisor_package: str
    supervisor_unit: str  # without .service
    supervisor_conf: str
    include_dir: str
    include_suffix: str
    package_query: str  # program and arguments; prints NAME<TAB>installed<TAB>VERSION
    is_on: bool  # MISP used the new backend when this run began
    packages: str  # names, separated by blanks, that any host of this platform may need
    scheduled_tasks: str = LEAVE  # who gets them; empty: as MISP's version is
    state_dir: str = STATE_DIR
    log_dir: str = LOG_DIR
    supervisor_program: str = ""  # empty: not known

    @property
    def supervisor(self) -> SupervisorIdentity:
        """Which supervisord is the host's."""
        return SupervisorIdentity(
            self.supervisor_unit,
            self.supervisor_program,
            self.supervisor_conf,
            self.include_dir,
            self.include_suffix,
        )

    def with_supervisor(self, identity: SupervisorIdentity) -> "Site":
        """The site with that supervisord."""
        return self._replace(**identity._asdict())

    @property
    def unit(self) -> str:
        """Supervisord's unit, in full."""
        return self.supervisor_unit + ".service"

    @property
    def group_file(self) -> str:
        """Supervisor's include file with MISP's worker group."""
        return self.include_dir + "/" + GROUP + self.include_suffix

    @property
    def group_aside(self) -> str:
        """Where a rollback puts a group from before the migration; supervisor does not read it."""
        return self.group_file + ".before-migration"

    @property
    def rpc_file(self) -> str:
        """Supervisor's include file that opens the RPC."""
        return self.include_dir + "/misp-rpc" + self.include_suffix

    @property
    def proven_file(self) -> str:
        """What the workers were proven with: see proof.py. Whatever starts others removes it."""
        return self.state_dir + "/proven"

    @property
    def roots(self) -> List[str]:
        """MISP's folder as the operator names it, and without links, each once."""
        return list(dict.fromkeys([self.misp_root, os.path.realpath(self.misp_root)]))

    @property
    def app(self) -> str:
        """MISP's application folder."""
        return self.misp_root + "/app"

    @property
    def config_php(self) -> str:
        """MISP's settings file."""
        return self.app + "/Config/config.php"


class Desired(NamedTuple):
    """What the operator's data says of Redis, by MISP's names, and of the RPC's password."""

    redis_host: Optional[str] = None
    redis_port: Optional[int] = None
    redis_database: Optional[int] = None
    redis_namespace: Optional[str] = None
    redis_password: Optional[str] = None
    max_job_history_ttl: Optional[int] = None
    supervisor_password: str = ""  # empty: none is given
