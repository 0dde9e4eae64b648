"""Every file that lands on a host, from templates/ and plain values. Pure: no host, no facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks import places
from tasks.host import check
from tasks.host.queues import QUEUES
from tasks.host.site import GROUP, LOG_DIR, PASSWORD_SHA1_TOKEN

TEMPLATES = places.FILES / "templates"
STARTSECS = 5  # seconds alive before supervisord calls a worker RUNNING
STARTRETRIES = 100  # the waits 1 + 2 + ... + 100 s make 84 minutes
SCHEDULER = "scheduler"


@dataclass(frozen=True)
class Program:
    """One `[program:...]`: its name is the queue's, as MISP demands."""

    name: str
    arguments: str
    count: int


def programs(workers: Mapping[str, int], *, scheduler: bool) -> tuple[Program, ...]:
    """The worker set, in the guide's order of queues; `scheduler` adds the native one."""
    queues = [Program(queue, f"start_worker {queue}", workers[queue]) for queue in QUEUES]
    if scheduler:
        queues.append(Program(SCHEDULER, "scheduler_worker", 1))
    return tuple(queues)


def process_names(wanted: tuple[Program, ...]) -> tuple[str, ...]:
    """Names as `supervisorctl status` prints them: `misp-workers:default_00`, sorted."""
    return tuple(
        sorted(
            f"{GROUP}:{program.name}_{number:02d}"
            for program in wanted
            for number in range(program.count)
        )
    )


def worker_group(wanted: tuple[Program, ...], misp_root: str, web_user: str) -> str:
    """Text of supervisor's include file with the group and its programs."""
    return _rendered(
        "misp-workers.conf.j2",
        programs=wanted,
        misp_root=misp_root,
        web_user=web_user,
        log_dir=LOG_DIR,
        startsecs=STARTSECS,
        startretries=STARTRETRIES,
    )


def rpc_over_tcp(port: int, user: str, password_sha1: str = PASSWORD_SHA1_TOKEN) -> str:
    """Text of supervisor's include file that opens the RPC on 127.0.0.1:`port`."""
    return _rendered(
        "supervisor-rpc.conf.j2", transport="tcp", port=port, user=user, password_sha1=password_sha1
    )


def rpc_over_socket(socket: str, web_group: str) -> str:
    """Text of supervisor's include file that opens the packaged socket to `web_group`."""
    return _rendered("supervisor-rpc.conf.j2", transport="unix", socket=socket, web_group=web_group)


def selinux_module() -> str:
    """Source of the SELinux module `misp-workers-httpd`."""
    return (TEMPLATES / "misp-workers-httpd.te").read_text(encoding="utf-8")


def health_check(python: str, host: check.Host) -> str:
    """Text of the program that is left on a host to be asked how its workers are.

    Args:
        python: path of the host's own.
    """
    source = Path(check.__file__).read_text(encoding="utf-8")
    start = f"import sys\n\n    sys.exit(main({host!r}, sys.argv[1:]))"
    return f'#!{python} -IS\n{source}\n\nif __name__ == "__main__":\n    {start}\n'


@cache
def _environment() -> Environment:
    return Environment(  # noqa: S701 - configuration files, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _rendered(name: str, **values: object) -> str:
    return str(_environment().get_template(name).render(values))
