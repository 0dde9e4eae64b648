"""Why a host does not go back."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import rollback
from tasks.checks.seen import SeenToReturn
from tasks.host import parts
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import OLD_UNIT, converged

CHANGES = dict[str, dict[str, Any]]
NEIGHBOUR = {"workers": [*hosts.running(), hosts.worker("gunicorn")]}
RESTART = {"daemon_before": "active enabled", "has_rpc_file": True}


def problems(changes: CHANGES, **data: Any) -> list[str]:
    seen = hosts.seen(SeenToReturn, converged(**changes))
    return list(rollback.of(with_answers(hosts.target(**data), seen), seen))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tree": {"root_exists": False}}, "is no directory"),
        ({"tree": {"error": "the web user is root"}}, "the web user is root"),
        ({"system": {"busy": "ann@desk is at work"}}, "ann@desk is at work: wait"),
        ({"system": {"is_writable": False}}, "no file can be written in /var/lib"),
        ({"old_backend": {"is_installed": False}}, "MISP 2.5.1 here has no CakeResque any more"),
        ({"old_backend": {"error": "gone"}}, "the old workers' Redis cannot be used: gone"),
        ({"originals": {"is_kept": False}}, "holds no record of this host's old state"),
        (
            {"supervisor": {"group_elsewhere": {"/etc/50-workers.conf": "/srv/misp2"}}},
            "/etc/50-workers.conf has the worker group of the MISP in /srv/misp2",
        ),
        (
            {"originals": {"is_kept": False}, "settings": {"error": "odd"}},
            "whether there is one to take back cannot be told: odd",
        ),
        ({"tree": {"is_savable": False}}, "may not write /var/www/MISP/app/Config or exchange"),
        ({"supervisor": NEIGHBOUR, "originals": RESTART}, "supervisord also runs gunicorn"),
        ({"supervisor": {"error": "x"}, "originals": RESTART}, "supervisord runs are not known: x"),
    ],
)
def test_each_reason(changes: CHANGES, sentence: str) -> None:
    (problem,) = problems(changes)
    assert sentence in problem


@pytest.mark.parametrize(
    ("originals", "consent"),
    [
        (RESTART, True),
        ({**RESTART, "daemon_before": "inactive disabled"}, False),
        ({**RESTART, "has_rpc_file": False}, False),
        ({**RESTART, "daemon_before": ""}, False),
    ],
)
def test_no_restart_or_consent_to_it(originals: dict[str, Any], consent: bool) -> None:
    changes = {"supervisor": NEIGHBOUR, "originals": originals}
    assert problems(changes, allow_foreign_restart=consent) == []


NEVER = {"was_on": True, "units_before": []}


@pytest.mark.parametrize(
    ("originals", "old_workers", "is_refused"),
    [
        (NEVER, {}, True),
        ({**NEVER, "was_on": False}, {}, False),
        ({**NEVER, "units_before": [OLD_UNIT]}, {}, False),
        ({**NEVER, "launchers": ["ran"]}, {}, False),
        (NEVER, {"processes": [parts.OldWorker(77, 76, ["*"], 33)]}, False),
    ],
)
def test_who_never_had_old_workers_does_not_go_back_to_them(
    originals: dict[str, Any], old_workers: dict[str, Any], is_refused: bool
) -> None:
    found = problems({"originals": originals, "old_workers": old_workers})
    assert ["there is nothing to go back to" in one for one in found] == [True] * is_refused
