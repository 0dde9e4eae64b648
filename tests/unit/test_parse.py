"""Typed parts against what is wanted. What the web user's code says may be of any type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import parse
from tasks.host.parts import View, Worker
from tasks.host.versions import version_of
from tests import hosts
from tests.hosts import BLOCK, worker

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.2.5", (4, 2, 5)),
        ("8.3", (8, 3, 0)),
        ("8.2.26-1~deb12u1", (8, 2, 26)),
        ("supervisor 3.10.12 or so", (3, 10, 12)),
        ("none", (0, 0, 0)),
        ("8", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_version_is_the_first_dotted_number(text: str, version: tuple[int, int, int]) -> None:
    assert version_of(text) == version


@given(st.text(alphabet="0123456789.") | st.text())
def test_no_text_breaks_a_version(text: str) -> None:
    assert len(version_of(text)) == 3


def test_a_version_of_many_digits_costs_no_time() -> None:
    assert parse.dotted(version_of("9" * 40_000 + ".1"))


def group(**states: str) -> list[Worker]:
    """Workers by the end of their names: `a_00="FATAL"`."""
    return [worker(f"misp-workers:{name}", state) for name, state in states.items()]


A_B = ["misp-workers:b_00", "misp-workers:a_00"]


@pytest.mark.parametrize(
    ("workers", "faults"),
    [
        (group(a_00="RUNNING", b_00="RUNNING"), []),
        ([*group(a_00="RUNNING", b_00="RUNNING"), worker("nginx", "STOPPED")], []),
        (group(a_00="RUNNING"), ["misp-workers:b_00 is missing"]),
        ([], ["misp-workers:a_00, misp-workers:b_00 are missing"]),
        (
            group(a_00="FATAL", b_00="STARTING"),
            ["misp-workers:a_00 is FATAL", "misp-workers:b_00 is STARTING"],
        ),
        (
            [worker(name, "FATAL", "Exited too quickly") for name in A_B],
            ["misp-workers:a_00, misp-workers:b_00 are FATAL (Exited too quickly)"],
        ),
        (
            [worker(name, "EXITED", f"Nov 24 03:3{n} AM") for n, name in enumerate(A_B)],
            ["misp-workers:a_00, misp-workers:b_00 are EXITED"],
        ),
        (
            group(a_00="RUNNING", b_00="RUNNING", c_00="STOPPED"),
            ["misp-workers:c_00 is not wanted"],
        ),
        (
            [worker("a_00"), worker("misp-workers-old:b_00"), worker("misp-workers")],
            ["misp-workers:a_00, misp-workers:b_00 are missing"],
        ),
    ],
)
def test_the_group_is_right_only_as_exactly_the_wanted_set_running(
    workers: list[Worker], faults: list[str]
) -> None:
    assert parse.wrong_workers(workers, A_B) == faults


def test_many_workers_are_counted_by_program() -> None:
    names = [one.name for one in hosts.running()]
    assert parse.wrong_workers([], names) == [
        "21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are missing"
    ]


def test_programs_outside_the_group_are_foreign() -> None:
    names = ["web", "misp-workers:a_00", "misp-workersX:a", "app", "misp-workers"]
    foreign = ["app", "misp-workers", "misp-workersX:a", "web"]
    assert parse.foreign_programs(map(worker, names)) == foreign


class TestSettings:
    STORED = hosts.converged()["settings"]
    WANTED = hosts.target().misp_settings()

    def wrong(self, strict: bool = True, **changes: Any) -> list[str]:
        stored = self.STORED._replace(**changes)
        return parse.wrong_settings(stored, self.WANTED, strict=strict)

    def test_the_block_as_the_deploy_leaves_it_is_right(self) -> None:
        assert self.wrong() == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("enabled", 1),
            ("enabled", False),
            ("redis_port", "6379"),
            ("redis_database", True),
            ("redis_database", "1"),
            ("redis_host", "elsewhere"),
            ("max_job_history_ttl", None),
            ("supervisor_port", 9002),
            ("supervisor_port", 9001.0),
        ],
    )
    def test_another_value_or_type_is_wrong(self, key: str, value: object) -> None:
        assert self.wrong(block={**BLOCK, key: value}) == [f"SimpleBackgroundJobs.{key}"]

    @pytest.mark.parametrize("secret", ["supervisor_password", "redis_password"])
    def test_another_password_is_wrong(self, secret: str) -> None:
        assert self.wrong(**{f"is_{secret}_right": False}) == [f"SimpleBackgroundJobs.{secret}"]

    def test_an_empty_block_is_all_wrong_and_enabled_comes_last(self) -> None:
        nothing = hosts.migrating()["settings"]
        wrong = parse.wrong_settings(nothing, self.WANTED, strict=True)
        assert len(wrong) == 11
        assert wrong[-1] == "SimpleBackgroundJobs.enabled"

    def test_the_database_may_hold_text(self) -> None:
        text = {key: str(value) for key, value in BLOCK.items()} | {"enabled": "1"}
        assert self.wrong(strict=False, block=text) == []
        assert self.wrong(strict=False, block={**text, "enabled": "0"}) != []
        assert self.wrong(strict=False, block={**text, "redis_port": [6379]}) != []

    @given(st.dictionaries(st.sampled_from(sorted(BLOCK)), JSON), st.booleans())
    def test_no_block_breaks_the_comparison(self, block: dict[str, Any], strict: bool) -> None:
        assert set(self.wrong(strict=strict, block=block)) <= set(self.WANTED)

    @pytest.mark.parametrize(
        ("limit", "seconds"),
        [(20.0, "20"), (30.0, "30"), (0.5, "0.5"), (60.0, ""), (-1.0, ""), (0.0, "")],
    )
    def test_php_that_gives_up_on_redis_before_a_worker_does(
        self, limit: float, seconds: str
    ) -> None:
        said = parse.impatience(self.STORED._replace(read_timeout=limit))
        assert bool(said) == bool(seconds)
        assert not seconds or f"gives up on Redis after {seconds} s" in said


def _worker(**changes: Any) -> dict[str, Any]:
    return {"pid": 1, "user": "www-data", "alive": True, "correct_user": True, "ok": True} | changes


def _view(queue: Any, **changes: Any) -> View:
    whole = {"default": queue, "proc_accessible": True, "controls": 1, "supervisord_status": True}
    return View(error="", workers=whole | changes)


def _queue(*workers: Any) -> dict[str, Any]:
    return {"ok": True, "workers": list(workers), "jobCount": 0}


UNREACHABLE = "MISP cannot reach supervisord (supervisord_status is not true)"
NOT_SEEN = "MISP does not see the wanted workers as good: default"


@pytest.mark.parametrize(
    ("view", "faults"),
    [
        (_view(_queue(_worker(), _worker())), []),
        (_view(_queue(_worker())), [f"{NOT_SEEN} 1 of 2"]),
        (_view(_queue(_worker(), _worker(), _worker())), [f"{NOT_SEEN} 3 of 2"]),
        (_view(_queue(_worker(), _worker(), _worker(ok=False))), [f"{NOT_SEEN} 2 of 2, 3 seen"]),
        (_view(_queue(_worker(), _worker(ok="yes"))), [f"{NOT_SEEN} 1 of 2, 2 seen"]),
        (_view({"ok": False, "jobCount": 0}), [f"{NOT_SEEN} 0 of 2"]),
        (_view([]), [f"{NOT_SEEN} 0 of 2"]),
        (_view(None), [f"{NOT_SEEN} 0 of 2"]),
        (_view(_queue(_worker(), _worker()), supervisord_status=False), [UNREACHABLE]),
        (_view(_queue(_worker(), _worker()), supervisord_status=1), [UNREACHABLE]),
        (_view(_queue(), supervisord_status=False), [UNREACHABLE]),  # one cause, one fault
        (
            View("", {"default": _queue(_worker(), _worker()), "controls": 1}),
            ["getWorkers speaks of the old backend"],
        ),
        (View("no answer", {}), ["getWorkers: no answer"]),
    ],
)
def test_misps_view_is_right_only_with_the_wanted_counts_and_supervisord_reached(
    view: View, faults: list[str]
) -> None:
    assert parse.wrong_misp_view(view, {"default": 2}) == faults


def test_queues_with_one_fault_share_a_sentence() -> None:
    (fault,) = parse.wrong_misp_view(_view(_queue()), {"default": 2, "prio": 1})
    assert fault == f"{NOT_SEEN} 0 of 2; prio 0 of 1"


@pytest.mark.parametrize(
    ("view", "cause"),
    [
        (_view(_queue(_worker(ok=False)), proc_accessible=False), "sees no /proc: add it to PHP's"),
        (
            _view(_queue(_worker(user="", correct_user=False, ok=False), _worker(user="x"))),
            "takes '' for the workers' user: MISP runs as another user itself",
        ),
    ],
)
def test_a_view_without_proc_is_called_so(view: View, cause: str) -> None:
    *_, last = parse.wrong_misp_view(view, {"default": 2})
    assert cause in last


def test_names_that_the_view_invents_do_not_fill_the_screen() -> None:
    lies = [_worker(user=f"{number}" * 500, correct_user=False) for number in range(500)]
    assert len("".join(parse.wrong_misp_view(_view(_queue(*lies)), {"default": 2}))) < 400


@pytest.mark.parametrize(
    "queue",
    ["text", ["text"], 5, {"workers": ["text"]}, {"workers": 5}, {"workers": {"0": _worker()}}],
)
def test_a_view_of_an_unknown_shape_is_a_fault_and_no_crash(queue: object) -> None:
    (fault,) = parse.wrong_misp_view(_view(queue), {"default": 2})
    assert fault.startswith(NOT_SEEN)


@given(st.dictionaries(st.sampled_from(["default", "proc_accessible", "x"]), JSON))
def test_no_view_breaks_the_comparison(view: dict[str, Any]) -> None:
    assert parse.wrong_misp_view(View("", view), {"default": 2})


@given(st.lists(JSON))
def test_no_lies_about_a_queues_workers_break_the_comparison(workers: list[Any]) -> None:
    assert parse.wrong_misp_view(_view(_queue(*workers)), {"default": 99})
