"""Step 7: the worker group under supervisord."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts, parse, render
from tasks.commands import guarded, run
from tasks.parse import Answer
from tasks.target import Target


@operation()
def running(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the group's file in place, loaded by supervisord, and exactly its workers started.

    `supervisorctl update` restarts the whole group when any program of it changed. The proof step
    checks that the workers stay up; it has to wait anyway.
    """
    answer = facts.ask(target, "workers", "redis")
    faults, is_cut_off = _faults(target, answer), answer.record("redis").get("aside")
    if not (faults or is_cut_off):
        host.noop(f"{len(target.process_names)} workers run")
    if is_cut_off:
        yield run("take_jobs_back", target)
    if faults:
        has_group = "yes" if answer.one("file") or answer.all("status") else "no"
        yield guarded(
            run(
                "apply_workers",
                target,
                group_text=target.group_text(),
                has_group=has_group,
            ),
            target,
        )


def _faults(target: Target, answer: Answer) -> list[str]:
    digest = hashlib.sha256(target.group_text().encode()).hexdigest()
    faults = []
    if answer.one("file") != f"root:root 644 {digest}":
        faults.append("the group's file is not current")
    if answer.one("log_dir") != f"root:{target.web_group} 750":
        faults.append(f"{render.LOG_DIR} is not as it should be")
    if answer.one("applied") != digest:
        faults.append("supervisord has not loaded the current file")
    faults += [f"PID {pid} is a worker of a killed supervisord" for pid in answer.all("stray")]
    status = parse.supervisor_status(answer.all("status"))
    return faults + parse.wrong_workers(status, target.process_names, render.GROUP)
