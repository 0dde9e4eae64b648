"""The lab reads supervisord's answers by itself."""

from __future__ import annotations

from lab.verify import parse_status

STATUS = """\
misp-workers:default_00          RUNNING   pid 812, uptime 0:00:31
misp-workers:default_01          STARTING
misp-workers:update_00           FATAL     Exited too quickly (process log may have details)
other:thing_00                   RUNNING   pid 99, uptime 1 day, 0:00:31
misp-workers:scheduler           RUNNING   pid 900, uptime 0:00:30
"""


def test_only_misps_group_is_read() -> None:
    found = parse_status(STATUS)
    assert [(worker.queue, worker.state, worker.pid) for worker in found] == [
        ("default", "RUNNING", 812),
        ("default", "STARTING", 0),
        ("update", "FATAL", 0),
        ("scheduler", "RUNNING", 900),
    ]


def test_an_answer_without_workers_has_none() -> None:
    assert parse_status("unix:///var/run/supervisor.sock no such file\n") == []
