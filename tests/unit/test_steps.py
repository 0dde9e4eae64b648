"""The decisions inside the steps: what they take for wrong, stale, alive or missing."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import pytest

from tasks import misp, parse, proof, render, selinux, workers
from tasks.parse import Answer
from tasks.platforms import detect
from tasks.settings import Secrets, from_host_data
from tasks.target import Target
from tests.fake.answers import BLOCK, RUNNING, WANTED, get_workers, lines, settings


def target(**changes: Any) -> Target:
    options: dict[str, Any] = {
        "settings": from_host_data({}),
        "secrets": Secrets(),
        "platform": detect({"ID": "debian", "VERSION_ID": "12"}),
        "web_user": "www-data",
        "web_group": "www-data",
        "redis": WANTED,
    }
    return Target(**{**options, **changes})


def answer(**values: Any) -> Answer:
    return Answer(lines(**values))


class TestSettings:
    def test_the_block_as_the_deploy_leaves_it_is_right(self) -> None:
        assert misp._wrong(target(), answer(settings=settings(BLOCK))) == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("enabled", 1),
            ("enabled", False),
            ("redis_port", "6379"),
            ("redis_database", "1"),
            ("redis_host", "elsewhere"),
            ("max_job_history_ttl", None),
            ("supervisor_port", 9002),
        ],
    )
    def test_another_value_or_type_is_wrong(self, key: str, value: object) -> None:
        stored = settings({**BLOCK, key: value})
        assert misp._wrong(target(), answer(settings=stored)) == [f"SimpleBackgroundJobs.{key}"]

    @pytest.mark.parametrize("secret", ["supervisor_password", "redis_password"])
    def test_another_password_is_wrong(self, secret: str) -> None:
        stored = settings(BLOCK, **{f"{secret}_matches": False})
        assert misp._wrong(target(), answer(settings=stored)) == [f"SimpleBackgroundJobs.{secret}"]

    def test_no_answer_means_that_everything_is_wrong_and_enabled_comes_last(self) -> None:
        wrong = misp._wrong(target(), Answer([]))
        assert len(wrong) == 11
        assert wrong[-1] == "SimpleBackgroundJobs.enabled"

    def test_the_database_may_hold_text(self) -> None:
        text = {key: str(value) for key, value in BLOCK.items()} | {"enabled": "1"}
        assert misp._wrong(target(database_mode=True), answer(settings=settings(text))) == []
        off = settings({**text, "enabled": "0"})
        assert misp._wrong(target(database_mode=True), answer(settings=off)) != []


class TestWebTier:
    WEB = ("root 40 php-fpm.service", "www-data 100 php-fpm.service")

    @pytest.mark.parametrize(
        ("changed", "reloaded", "stale"),
        [
            ([], [], False),
            ("b 99", [], True),
            ("b 99", "b 98", True),
            ("b 99", "b 99", False),
            ("b unfinished", "b 99", True),
            ("other-boot 500", [], False),
            ("nonsense", [], False),
        ],
    )
    def test_it_is_stale_until_it_was_reloaded_for_the_last_change(
        self, changed: object, reloaded: object, stale: bool
    ) -> None:
        seen = answer(web=list(self.WEB), boot="b", settings_changed=changed, web_reloaded=reloaded)
        assert misp._is_stale(seen) is stale

    def test_without_a_web_tier_nothing_is_stale(self) -> None:
        assert not misp._is_stale(answer(boot="b", settings_changed="b 99"))


class TestWorkers:
    def good(self, **changes: Any) -> Answer:
        digest = hashlib.sha256(target().group_text().encode()).hexdigest()
        values = {
            "file": f"root:root 644 {digest}",
            "log_dir": "root:www-data 750",
            "applied": digest,
            "status": RUNNING,
        }
        return answer(**{**values, **changes})

    def test_the_file_loaded_and_all_running_is_no_fault(self) -> None:
        assert workers._faults(target(), self.good()) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"file": []},
            {"file": "www-data:www-data 644 x"},
            {"log_dir": "www-data:www-data 755"},
            {"applied": ""},
            {"status": RUNNING[1:]},
            {"status": [*RUNNING, "misp-workers:default_05   RUNNING   pid 9, uptime 0:00:09"]},
            {"status": []},
        ],
    )
    def test_anything_else_is_one(self, change: dict[str, Any]) -> None:
        assert workers._faults(target(), self.good(**change)) != []


class TestProof:
    def test_the_exact_set_in_misps_view_is_no_fault(self) -> None:
        assert proof._faults(target(), answer(status=RUNNING, get_workers=get_workers())) == []

    @pytest.mark.parametrize(
        "seen",
        [
            {"status": RUNNING[1:], "get_workers": get_workers()},
            {"status": RUNNING, "get_workers": get_workers(supervisord_status=False)},
            {"status": RUNNING, "get_workers": get_workers(prio={"ok": False})},
            {"status": RUNNING},
            {},
        ],
    )
    def test_less_is_one(self, seen: dict[str, Any]) -> None:
        assert proof._faults(target(), answer(**seen)) != []


class TestSelinux:
    LOADED: ClassVar = {
        "built": "d",
        "module": "loaded",
        "cake_label": selinux.CAKE_TYPE,
        "cake_rule": selinux.CAKE_TYPE,
        "network": "on",
    }

    def test_all_in_place(self) -> None:
        assert selinux._faults(target(selinux="load"), answer(**self.LOADED), "d") == []

    @pytest.mark.parametrize("missing", list(LOADED))
    def test_one_thing_missing(self, missing: str) -> None:
        seen = {key: value for key, value in self.LOADED.items() if key != missing}
        assert len(selinux._faults(target(selinux="load"), answer(**seen), "d")) == 1

    def test_building_only_looks_at_what_was_built(self) -> None:
        assert selinux._faults(target(selinux="build"), answer(built="d"), "d") == []
        assert selinux._faults(target(selinux="build"), answer(built="old"), "d") != []


class TestOldWorkers:
    @pytest.mark.parametrize(
        ("seen", "alive"),
        [
            ({"process": "7 1"}, True),
            ({"stopping": "misp-workers.service"}, True),
            ({"hidden_process": "7"}, True),
            ({"launcher": "/etc/rc.local"}, True),
            ({"unit": "misp-workers.service active enabled"}, True),
            ({"unit": "misp-workers.service activating disabled"}, True),
            ({"unit": "misp-workers.service inactive enabled"}, True),
            ({"unit": "misp-workers.service inactive disabled"}, False),
            ({"unit": "misp-workers.service failed masked"}, False),
            ({"unit": "misp-workers.service inactive"}, False),
            ({}, False),
        ],
    )
    def test_whether_they_live_or_would_come_back(self, seen: dict[str, Any], alive: bool) -> None:
        assert parse.old_workers_live(answer(**seen)) is alive


def test_the_names_of_the_guides_set() -> None:
    assert len(render.process_names(target().programs)) == 21
