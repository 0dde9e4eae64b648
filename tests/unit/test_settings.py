"""The operator's data: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import ConnectorData

from tasks.errors import RefusedError
from tasks.host.queues import QUEUES
from tasks.setting_keys import PYINFRA_KEYS
from tasks.setting_types import DEFAULT_WORKERS
from tasks.settings import from_host_data, known_keys, resolve_secrets

GUIDE = {
    "misp_root": "/var/www/MISP",
    "misp_workers": {"default": 5, "prio": 5, "email": 5, "cache": 5, "update": 1},
    "supervisor_transport": "tcp",
    "supervisor_host": "127.0.0.1",
    "supervisor_port": 9001,
    "supervisor_user": "supervisor",
}
KEPT = (  # None: what the host has already
    "misp_web_user",
    "misp_scheduler",
    "misp_redis_host",
    "misp_redis_port",
    "misp_redis_database",
    "misp_redis_password",
    "misp_redis_namespace",
    "misp_max_job_history_ttl",
    "misp_url",
    "misp_api_key",
    "misp_ca_bundle",
    "supervisor_password",
    "legacy_service",
    "scheduled_tasks",
    "http_proxy",
    "approved_plan",
)
OWN = {
    "drain_timeout": 1800,
    "on_leftover_jobs": "stop",
    "selinux": "auto",
    "epel": True,
    "allow_foreign_restart": False,
    "rotate_password": False,
    "take_over": False,
    "show_calls": False,
    "expect": None,
}
PLAIN_SECRET = "do-not-show-me"
SECRET_KEYS = ("supervisor_password", "misp_redis_password", "misp_api_key")


def _problems(**data: Any) -> list[str]:
    with pytest.raises(RefusedError) as refusal:
        from_host_data(data)
    assert str(refusal.value) == "; ".join(refusal.value.problems)
    return refusal.value.problems


def test_without_data_everything_is_as_the_guide_has_it() -> None:
    assert from_host_data({}).model_dump() == {**GUIDE, **OWN, **dict.fromkeys(KEPT)}


def test_every_fault_in_the_operators_data_is_named() -> None:
    assert len(_problems(misp_wrokers={}, drain_timeout="soon")) == 2


def test_known_keys_are_all_settings() -> None:
    assert set(known_keys()) == {*GUIDE, *OWN, *KEPT}


def test_data_of_pyinfra_and_of_the_operator_is_left_alone() -> None:
    others = {
        "ssh_user": "admin",
        "ssh_port": 22,
        "_sudo": True,
        "groups": ["all"],
        "worker_count": 5,
        "url": "x",
        "role": "misp",
        "redis": "shared",
    }
    assert from_host_data({**others, "supervisor_port": 9002}).supervisor_port == 9002


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("misp_worker", "unknown key 'misp_worker': did you mean 'misp_workers'?"),
        ("misp_workres", "unknown key 'misp_workres': did you mean 'misp_workers'?"),
        ("mispworkers", "unknown key 'mispworkers': did you mean 'misp_workers'?"),
        ("MISP_ROOT", None),  # not ours and not like ours: pyinfra's keys are lower case
        ("supervisor_pasword", "unknown key 'supervisor_pasword': did you mean 'supervisor_passw"),
        ("superviser_port", "unknown key 'superviser_port': did you mean 'supervisor_port'?"),
        ("drain_time", "unknown key 'drain_time': did you mean 'drain_timeout'?"),
        ("on_leftover_job", "unknown key 'on_leftover_job': did you mean 'on_leftover_jobs'?"),
        ("selinux_mode", "unknown key 'selinux_mode'"),
        ("epel_url", "unknown key 'epel_url'"),
        ("https_proxy", "unknown key 'https_proxy': did you mean 'http_proxy'?"),
        ("legacy_unit", "unknown key 'legacy_unit'"),
        ("allow_foreign", "unknown key 'allow_foreign': did you mean 'allow_foreign_restart'?"),
        ("misp_zzzzzzzzzzzzzzzzzzzzzzzzz", "unknown key 'misp_zzzzzzzzzzzzzzzzzzzzzzzzz'"),
        ("alow_foreign_restart", "unknown key 'alow_foreign_restart': did you mean 'allow_foreign"),
    ],
)
def test_a_misspelt_key_is_refused_and_the_nearest_one_named(key: str, problem: str | None) -> None:
    if problem is None:
        assert from_host_data({key: "x"}) == from_host_data({})
    else:
        (found,) = _problems(**{key: "x"})
        assert found.startswith(problem)


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("ssh_usr", "deploy", "ssh_user"),
        ("ssh_strict_host_keys_checking", "yes", "ssh_strict_host_key_checking"),
        ("sudo", True, "_sudo"),
        ("su_user", "root", "_su_user"),
        ("_sudo_usr", "root", "_sudo_user"),
        ("ssh_keys", ["a", "b"], None),  # another deploy's
        ("ssh_users", {"a": 1}, None),
        ("env", "production", None),
        ("timeout", 5, None),
        ("docker_user", "x", None),
        *((key, "x", None) for key in PYINFRA_KEYS),
    ],
)
def test_a_misspelt_key_of_pyinfras_is_refused_too(key: str, value: Any, near: str | None) -> None:
    if near is None:
        assert from_host_data({key: value}) == from_host_data({})
    else:
        assert _problems(**{key: value}) == [
            f"unknown key {key!r}: did you mean pyinfra's {near!r}?"
        ]


def test_pyinfras_keys_are_those_that_it_has() -> None:
    words = "sudo|su|doas|dzdo|shell_executable"
    own = [name for name, _ in all_global_arguments() if re.search(rf"_({words})(_|$)", name)]
    assert sorted(PYINFRA_KEYS) == sorted([*ConnectorData.__annotations__, *own])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"misp_workers": {"default": 0}}, "misp_workers: default: must be 1 to 99, not 0"),
        ({"misp_workers": {"prio": -1}}, "misp_workers: prio: must be 1 to 99, not -1"),
        ({"misp_workers": {"email": 100}}, "misp_workers: email: must be 1 to 99, not 100"),
        (
            {"misp_workers": {"cache": "five"}},
            "misp_workers: cache: must be a whole number, not 'five'",
        ),
        ({"misp_workers": {"cache": "5"}}, "misp_workers: cache: must be a whole number, not '5'"),
        ({"misp_workers": {"cache": 5.0}}, "misp_workers: cache: must be a whole number, not 5.0"),
        ({"misp_workers": {"prio": True}}, "misp_workers: prio: must be a whole number, not True"),
        ({"misp_workers": {"prio": None}}, "misp_workers: prio: must be a whole number, not None"),
        ({"misp_workers": {"update": 2}}, "misp_workers: update: must be 1, not 2"),
        ({"misp_workers": {"update": 0}}, "misp_workers: update: must be 1, not 0"),
        (
            {"misp_workers": {"defualt": 5}},
            "misp_workers: unknown queue 'defualt' (did you mean default?)",
        ),
        (
            {"misp_workers": {"zzz": 5}},
            "misp_workers: unknown queue 'zzz' (known queues: default, prio, email, cache, update)",
        ),
        ({"misp_workers": {"scheduler": 1}}, "misp_workers: unknown queue 'scheduler'"),
        ({"misp_workers": 5}, "misp_workers: must map queues to counts"),
        ({"misp_workers": ["default"]}, "misp_workers: must map queues to counts"),
        ({"misp_root": "var/www/MISP"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/var/www/my misp"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/var/www/%h"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/var/www/MISP;x"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/var/www/../MISP"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/var/www/MISP\n"}, "misp_root: must be an absolute path"),
        ({"misp_root": "/"}, "misp_root: must be an absolute path"),
        ({"misp_root": ""}, "misp_root: must be an absolute path"),
        ({"misp_root": 5}, "misp_root: "),
        ({"misp_web_user": "www data"}, "misp_web_user: must be a user name, not 'www data'"),
        ({"misp_web_user": "33"}, "misp_web_user: must be a user name"),
        ({"misp_scheduler": "yes"}, "misp_scheduler: must be true or false"),
        ({"misp_scheduler": 1}, "misp_scheduler: must be true or false"),
        ({"misp_redis_host": "a b"}, "misp_redis_host: must be a host name or address"),
        ({"misp_redis_port": "6379"}, "misp_redis_port: must be a whole number, not '6379'"),
        ({"misp_redis_port": 0}, "misp_redis_port: must be 1 or more"),
        ({"misp_redis_port": 65536}, "misp_redis_port: must be 65535 or less"),
        ({"misp_redis_database": -1}, "misp_redis_database: must be 0 or more"),
        ({"misp_redis_database": True}, "misp_redis_database: must be a whole number, not True"),
        ({"misp_redis_namespace": "a:b"}, "misp_redis_namespace: must be letters, digits"),
        ({"misp_max_job_history_ttl": 59}, "misp_max_job_history_ttl: must be 60 or more"),
        ({"supervisor_host": "0.0.0.0"}, "supervisor_host: must be 127.0.0.1 or localhost"),  # noqa: S104
        ({"supervisor_host": "*"}, "supervisor_host: must be 127.0.0.1 or localhost"),
        ({"supervisor_port": "9001"}, "supervisor_port: must be a whole number, not '9001'"),
        ({"supervisor_port": 9001.0}, "supervisor_port: must be a whole number, not 9001.0"),
        ({"supervisor_user": "a;b"}, "supervisor_user: must be letters and digits, not 'a;b'"),
        ({"supervisor_user": ""}, "supervisor_user: must be letters and digits, not ''"),
        ({"supervisor_transport": "http"}, "supervisor_transport: must be 'tcp' or 'unix'"),
        ({"on_leftover_jobs": "drop"}, "on_leftover_jobs: must be 'stop', 'wait' or 'convert'"),
        ({"selinux": "on"}, "selinux: must be 'auto', 'off' or 'build'"),
        ({"epel": "yes"}, "epel: must be true or false"),
        ({"allow_foreign_restart": 1}, "allow_foreign_restart: must be true or false"),
        ({"drain_timeout": 0}, "drain_timeout: must be 1 or more"),
        ({"drain_timeout": "1800"}, "drain_timeout: must be a whole number, not '1800'"),
        ({"legacy_service": "a b"}, "legacy_service: must be a unit name, not 'a b'"),
        ({"legacy_service": "a/b"}, "legacy_service: must be a unit name, not 'a/b'"),
        (
            {"misp_url": "misp.example", "misp_api_key": {"env": "K"}},
            "misp_url: must be an http(s) URL, not 'misp.example'",
        ),
        ({"misp_url": "https://misp.example"}, "misp_url and misp_api_key go together"),
        ({"misp_api_key": {"env": "K"}}, "misp_url and misp_api_key go together"),
        (
            {"supervisor_transport": "unix", "supervisor_password": {"env": "P"}},
            "supervisor_password goes with supervisor_transport tcp",
        ),
        ({"misp_redis_password": {}}, "misp_redis_password: give exactly one of env, file and"),
        (
            {"misp_redis_password": {"envv": "P"}},
            "misp_redis_password.envv: there is no such reference: give {",
        ),
        ({"http_proxy": "proxy:3128"}, "http_proxy: must be http://HOST:PORT or https://HOST:PORT"),
        ({"http_proxy": "socks5://proxy:3128"}, "http_proxy: must be http://HOST:PORT or https"),
        ({"http_proxy": "http://proxy:3128/path"}, "http_proxy: must be http://HOST:PORT or http"),
        ({"http_proxy": "http://proxy:3128?a=b"}, "http_proxy: must be http://HOST:PORT or https"),
        ({"http_proxy": "http://pro xy:3128"}, "http_proxy: must be http://HOST:PORT or https"),
        ({"http_proxy": "http://proxy:3128\n"}, "http_proxy: must be http://HOST:PORT or https"),
        ({"http_proxy": "http://proxy:0"}, "http_proxy: its port must be 1 to 65535"),
        ({"http_proxy": "http://proxy:65536"}, "http_proxy: its port must be 1 to 65535"),
        (
            {"http_proxy": 3128},
            "http_proxy: must be http://HOST:PORT or https://HOST:PORT, or a ref",
        ),
        ({"http_proxy": {}}, "http_proxy: give exactly one of env, file and command"),
        ({"misp_root": 5}, "misp_root: must be text"),
        (
            {"misp_redis_password": {"command": "pass x"}},
            "misp_redis_password.command: must be a l",
        ),
        (
            {"misp_redis_password": {"command": []}},
            "misp_redis_password.command: must not be empty",
        ),
        ({"misp_redis_password": {"env": ""}}, "misp_redis_password.env: must not be empty"),
        ({"misp_redis_password": ["x"]}, "misp_redis_password: must be a reference: {"),
        ({"selinux": "on"}, "selinux: must be 'auto', 'off' or 'build'"),
        ({"http_proxy": {"envv": "P"}}, "http_proxy.envv: there is no such reference: give {"),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence_that_names_the_key(
    data: dict[str, Any], problem: str
) -> None:
    (found,) = _problems(**data)
    assert found.startswith(problem)


@pytest.mark.parametrize("root", ["//", "///"])
def test_a_root_of_slashes_only_is_refused(root: str) -> None:
    (found,) = _problems(misp_root=root)
    assert found.startswith("misp_root: must be an absolute path")


@pytest.mark.parametrize("service", ["-f", "--now"])
def test_a_unit_name_that_systemctl_takes_for_an_option_is_refused(service: str) -> None:
    (found,) = _problems(legacy_service=service)
    assert found.startswith("legacy_service: must be a unit name")


@pytest.mark.parametrize(
    "prefix",
    [
        "misp_",
        "supervisor_",
        "legacy_",
        "drain_",
        "on_leftover_",
        "selinux_",
        "epel_",
        "scheduled_",
        "allow_foreign_",
    ],
)
def test_a_key_with_a_prefix_of_ours_is_never_taken_for_somebody_elses(prefix: str) -> None:
    (found,) = _problems(**{f"{prefix}qqqqq": "x"})
    assert found.startswith(f"unknown key '{prefix}qqqqq'")


def test_all_problems_are_told_at_once() -> None:
    problems = _problems(
        misp_worker={"default": 5},
        misp_workers={"default": 0, "update": 2, "x": 1},
        supervisor_port=0,
        misp_redis_password=PLAIN_SECRET,
        supervisor_host="0.0.0.0",  # noqa: S104
    )
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "misp_redis_password",
        "misp_workers",
        "supervisor_host",
        "supervisor_port",
        "unknown key 'misp_worker'",
    ]
    (workers,) = (problem for problem in problems if problem.startswith("misp_workers"))
    assert all(word in workers for word in ("default: must", "update: must", "unknown queue 'x'"))


@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("value", [PLAIN_SECRET, [PLAIN_SECRET], 424242, {"value": PLAIN_SECRET}])
def test_a_secret_given_as_a_value_is_refused_and_never_repeated(key: str, value: object) -> None:
    problems = _problems(**{"misp_url": "https://misp.example", key: value})
    assert any(problem.startswith(key) for problem in problems)
    assert not re.search(f"{PLAIN_SECRET}|424242", "; ".join(problems))


@pytest.mark.parametrize("url", ["http://u:do-not-show-me@p:3128", "http://do-not-show-me@p"])
def test_a_proxys_user_and_password_are_a_secret(url: str) -> None:
    (problem,) = _problems(http_proxy=url)
    assert problem.startswith("http_proxy: a URL with a user or a password is a secret: give it as")
    assert PLAIN_SECRET not in problem


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://proxy", "http://proxy:80"),
        ("https://proxy.example.org", "https://proxy.example.org:443"),
        ("http://proxy:3128/", "http://proxy:3128"),
        ("http://127.0.0.1:3128", "http://127.0.0.1:3128"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("http://user:p%40ss%C3%BC@proxy", "http://user:p%40ss%C3%BC@proxy:80"),
        ("http://token@proxy:8080", "http://token@proxy:8080"),
    ],
)
def test_a_proxys_url_gets_the_port_that_is_meant(tmp_path: Path, given: str, url: str) -> None:
    assert _resolve(tmp_path, http_proxy=given).proxy_url == url
    if "@" not in given:
        assert resolve_secrets(from_host_data({"http_proxy": given})).proxy_url == url


@pytest.mark.parametrize("none", ["", None])
def test_no_proxy_is_given_by_an_empty_value(none: object) -> None:
    secrets = resolve_secrets(from_host_data({"http_proxy": none}))
    assert (secrets.http_proxy, secrets.proxy_url, secrets.texts()) == (None, "", [])


def test_no_report_may_have_a_proxys_password_in_any_form(tmp_path: Path) -> None:
    secrets = _resolve(tmp_path, http_proxy="http://user:p%40ss@proxy:3128")
    assert {"http://user:p%40ss@proxy:3128", "user:p%40ss", "p%40ss", "p@ss"} <= {*secrets.texts()}
    assert "ss" not in repr(secrets).replace("password", "").replace("MASKED", "")


def test_counts_that_are_not_given_are_the_guides() -> None:
    settings = from_host_data({"misp_workers": {"default": 9, "update": 1}})
    assert settings.misp_workers == {**DEFAULT_WORKERS, "default": 9}
    assert from_host_data({}).misp_workers == DEFAULT_WORKERS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("misp_redis_host", "redis.example.org"),
        ("misp_redis_host", "/var/run/redis/redis.sock"),
        ("misp_redis_host", "tls://10.0.0.1"),
        ("misp_redis_host", "[::1]"),
        ("misp_redis_database", 0),
        ("misp_redis_port", 65535),
        ("misp_redis_namespace", "misp_2.jobs-a"),
        ("misp_url", "https://misp.example/base"),
        ("misp_web_user", "www-data"),
        ("supervisor_host", "localhost"),
        ("legacy_service", "misp-workers@1.service"),
        ("selinux", "build"),
        ("epel", False),
    ],
)
def test_a_good_value_is_kept_as_it_is(key: str, value: object) -> None:
    pair = {"misp_api_key": {"env": "KEY"}} if key == "misp_url" else {}
    assert getattr(from_host_data({key: value, **pair}), key) == value


def test_a_command_reference_may_be_a_list_as_inventories_write_it() -> None:
    settings = from_host_data({"misp_redis_password": {"command": ["sops", "-d", "x.yaml"]}})
    assert settings.misp_redis_password is not None
    assert settings.misp_redis_password.command == ("sops", "-d", "x.yaml")


PLAIN = string.ascii_letters + string.digits + "._+-"
parts = st.text(PLAIN, min_size=1, max_size=8).filter(lambda part: part not in (".", ".."))


@given(st.lists(parts, min_size=1, max_size=4), st.sampled_from(["", "/"]))
def test_any_plain_path_is_accepted_without_its_last_slash(names: list[str], end: str) -> None:
    path = "/" + "/".join(names)
    assert from_host_data({"misp_root": path + end}).misp_root == path


@given(st.dictionaries(st.sampled_from(QUEUES), st.integers(-3, 120)))
def test_counts_are_accepted_exactly_when_every_queue_may_have_them(counts: dict[str, int]) -> None:
    good = all(count == 1 if q == "update" else 1 <= count <= 99 for q, count in counts.items())
    if good:
        assert from_host_data({"misp_workers": counts}).misp_workers == {
            **DEFAULT_WORKERS,
            **counts,
        }
    else:
        assert len(_problems(misp_workers=counts)) == 1


def test_settings_cannot_be_changed_after_checking() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        from_host_data({}).misp_root = "/elsewhere"


def _resolve(tmp_path: Path, **values: str) -> Any:
    """Secrets through files, with the pair that misp_api_key needs."""
    data: dict[str, Any] = {"misp_url": "https://misp.example"} if "misp_api_key" in values else {}
    for key, value in values.items():
        path = tmp_path / key
        path.write_bytes(value.encode())
        path.chmod(0o600)
        data[key] = {"file": str(path)}
    return resolve_secrets(from_host_data(data))


def test_every_secret_is_resolved_under_its_own_name(tmp_path: Path) -> None:
    given = {
        "supervisor_password": "S" * 32,
        "misp_redis_password": "any thing; 100% \"'#ü",
        "misp_api_key": "K" * 40,
    }
    secrets = _resolve(tmp_path, **given)
    found = (secrets.supervisor_password, secrets.redis_password, secrets.api_key)
    assert tuple(secret.unmask() for secret in found) == tuple(given.values())
    assert not any(value in repr(secrets) for value in given.values())


def test_secrets_without_a_reference_are_none() -> None:
    assert set(resolve_secrets(from_host_data({})).model_dump().values()) == {None}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("supervisor_password", "short", "it has 5 characters"),
        ("supervisor_password", "p" * 32 + "%", "it contains %"),
        ("misp_redis_password", "tab\there", "it contains a control character"),
        ("misp_redis_password", "nul\0here", "it contains a control character"),
        ("misp_redis_password", "line\nbreak", "it contains a control character"),
        ("misp_api_key", "k" * 39, "a MISP API key has 40 letters and digits"),
        ("misp_api_key", "k" * 41, "a MISP API key has 40 letters and digits"),
        ("misp_api_key", "k" * 39 + "-", "a MISP API key has 40 letters and digits"),
        ("http_proxy", "http://u:p@w@proxy:3128", "must be http://HOST:PORT"),
        ("http_proxy", "http://u:p/w@proxy:3128", "must be http://HOST:PORT"),
        ("http_proxy", "http://u:p%4@proxy:3128", "must be http://HOST:PORT"),
        ("http_proxy", 'http://u:p"w@proxy:3128', "must be http://HOST:PORT"),
        ("http_proxy", "http://u:p%0Aw@proxy", "its user or its password contains a control ch"),
        ("http_proxy", "ftp://u:pw@proxy", "must be http://HOST:PORT"),
    ],
)
def test_a_secret_unfit_for_use_is_refused_without_being_shown(
    tmp_path: Path, key: str, value: str, reason: str
) -> None:
    with pytest.raises(RefusedError) as refusal:
        _resolve(tmp_path, **{key: value})
    (problem,) = refusal.value.problems
    assert problem.startswith(f"{key}: {reason}")
    assert value not in problem


def test_all_secrets_that_cannot_be_had_are_told_at_once(tmp_path: Path) -> None:
    none = {"file": str(tmp_path / "none")}
    data = {"misp_url": "https://misp.example", **dict.fromkeys(SECRET_KEYS, none)}
    with pytest.raises(RefusedError) as refusal:
        resolve_secrets(from_host_data(data))
    assert [problem.split(":")[0] for problem in refusal.value.problems] == list(SECRET_KEYS)
